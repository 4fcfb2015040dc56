#include "worker.h"

#include <execinfo.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstring>
#include <new>
#include <stdexcept>

#include "reprise/kernels/threads.h"

extern "C" char __executable_start;  // of the linker
extern "C" char etext;

namespace reprise::fuzz {
namespace {

Board* the_board = nullptr;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;  // whose own handlers say more
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif
#else
constexpr bool kSanitized = false;
#endif

void note_signal(int signal) {
  the_board->signal = signal;
  the_board->frames = ::backtrace(the_board->frame, 48);
  ::_exit(3);
}

void catch_signals() {
  // On a stack of its own, as the program's may have run out.
  static char stack[1 << 16];
  stack_t alternative{};
  alternative.ss_sp = stack;
  alternative.ss_size = sizeof stack;
  ::sigaltstack(&alternative, nullptr);
  struct sigaction action {};
  action.sa_handler = note_signal;
  action.sa_flags = SA_ONSTACK;
  ::sigaction(SIGALRM, &action, nullptr);
  if (kSanitized) return;
  for (const int signal : {SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGILL}) ::sigaction(signal, &action, nullptr);
}

bool is_ours(const void* address) { return address >= &__executable_start && address < &etext; }

/// Where in this program the crash came about, as far as programs of the same build are concerned.
std::string place(const Board& board) {
  for (int i = 1; i < board.frames; ++i) {
    if (is_ours(board.frame[i]))
      return fmt::format(" at +{:x}", static_cast<const char*>(board.frame[i]) - &__executable_start);
  }
  return "";
}

}  // namespace

Worker::Worker() {
  void* memory = ::mmap(nullptr, sizeof(Board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::runtime_error("no memory to share with children");
  board_ = new (memory) Board{};
  the_board = board_;
  errors_ = ::memfd_create("errors", 0);
  void* warm[1];
  ::backtrace(warm, 1);  // loads what it needs before it may not
}

Worker::~Worker() {
  ::munmap(board_, sizeof(Board));
  ::close(errors_);
}

std::optional<Finding> Worker::run(const std::function<void()>& work) {
  board_->signal = 0;
  board_->frames = 0;
  board_->found = false;
  if (::ftruncate(errors_, 0) != 0 || ::lseek(errors_, 0, SEEK_SET) != 0)
    throw std::runtime_error("no file for errors");
  std::fflush(stdout);
  const pid_t child = ::fork();
  if (child < 0) throw std::runtime_error("fork failed");
  if (child == 0) {
    ::dup2(errors_, STDERR_FILENO);
    catch_signals();
    kernels::set_num_threads(1);
    try {
      work();
    } catch (const std::exception& e) {
      report({"harness", e.what()});
    }
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  if (board_->found) return Finding{board_->kind, board_->detail};
  if (board_->signal == SIGALRM) return Finding{"hang", "it does not end"};
  if (board_->signal != 0)
    return Finding{fmt::format("crash {}{}", ::sigabbrev_np(board_->signal), place(*board_)), said()};
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  if (WIFSIGNALED(status)) return Finding{fmt::format("crash {}", ::sigabbrev_np(WTERMSIG(status))), said()};
  // A sanitizer has ended it: what it says first is the kind.
  const std::string text = said();
  const std::size_t at = text.find("ERROR:"), race = text.find("WARNING: ThreadSanitizer"),
                    error = text.find("runtime error:");
  const std::size_t from = at != std::string::npos ? at : race != std::string::npos ? race : error;
  std::string kind = "ended";
  if (from != std::string::npos) {
    kind = text.substr(from, text.find_first_of("\n(", from) - from);
    if (const std::size_t on = kind.find(" on "); on != std::string::npos) kind.resize(on);
  }
  return Finding{kind, text};
}

void Worker::begin(std::uint64_t seed, unsigned seconds) {
  board_->seed = seed;
  ::alarm(seconds);
}

void Worker::report(const Finding& finding) {
  std::snprintf(board_->kind, sizeof board_->kind, "%s", finding.kind.c_str());
  std::snprintf(board_->detail, sizeof board_->detail, "%s", finding.detail.c_str());
  board_->found = true;
  ::_exit(1);
}

std::string Worker::said() const {
  std::string text(std::size_t{1} << 14, '\0');
  const ssize_t n = ::pread(errors_, text.data(), text.size(), 0);
  text.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
  return text;
}

std::string Worker::backtrace() const {
  std::string command = "addr2line -Cpfse /proc/" + std::to_string(::getpid()) + "/exe";
  int n = 0;
  for (int i = 1; i < board_->frames && n < 14; ++i) {
    if (!is_ours(board_->frame[i])) continue;
    command += fmt::format(" {:x}", static_cast<const char*>(board_->frame[i]) - &__executable_start - 1);
    ++n;
  }
  if (n == 0) return "";
  std::string text;
  if (FILE* pipe = ::popen((command + " 2>/dev/null").c_str(), "r")) {
    char line[512];
    while (std::fgets(line, sizeof line, pipe) != nullptr) text += std::string("    ") + line;
    ::pclose(pipe);
  }
  return text;
}

}  // namespace reprise::fuzz
