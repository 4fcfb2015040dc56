#include "cli/signals.h"

#include <unistd.h>

#include <array>
#include <atomic>
#include <climits>
#include <csignal>
#include <utility>

namespace reprise::cli {
namespace {

// What the handlers touch: they may run at any moment, on any thread.
std::atomic<int> stop_signal = 0;
std::array<char, PATH_MAX> short_lived{};  // ends in 0
std::atomic<bool> has_short_lived = false;
static_assert(std::atomic<int>::is_always_lock_free && std::atomic<bool>::is_always_lock_free);

/// As the signal would have ended the program without a handler.
void end_by(int signal) {
  if (has_short_lived.exchange(false)) ::unlink(short_lived.data());
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

void request_stop(int signal) {
  int none = 0;
  if (!stop_signal.compare_exchange_strong(none, signal)) end_by(signal);
}

void handle(int signal, void (*handler)(int)) {
  struct sigaction old {};
  if (::sigaction(signal, nullptr, &old) == 0 && old.sa_handler == SIG_IGN) return;
  struct sigaction action {};
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;
  ::sigemptyset(&action.sa_mask);
  ::sigaction(signal, &action, nullptr);
}

}  // namespace

void listen_for_signals() {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) handle(signal, request_stop);
  for (const int signal : {SIGQUIT, SIGXCPU, SIGALRM, SIGUSR1, SIGUSR2}) handle(signal, end_by);
  for (const int signal : {SIGPIPE, SIGXFSZ}) std::signal(signal, SIG_IGN);
}

bool interrupted() { return stop_signal != 0; }

int interrupted_status() { return 128 + stop_signal; }

void stop_if_interrupted() {
  if (interrupted()) throw Interrupted{};
}

ShortLivedFile::ShortLivedFile(std::string path) : path_(std::move(path)) {
  if (path_.size() >= short_lived.size()) return;  // no file can be made under such a name
  path_.copy(short_lived.data(), path_.size());
  short_lived[path_.size()] = '\0';
  has_short_lived = true;
}

ShortLivedFile::~ShortLivedFile() {
  if (path_.empty()) return;
  ::unlink(path_.c_str());
  has_short_lived = false;
}

void ShortLivedFile::keep() {
  has_short_lived = false;
  path_.clear();
}

}  // namespace reprise::cli
