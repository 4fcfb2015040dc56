#include "program.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <thread>

namespace fs = std::filesystem;
using namespace std::chrono_literals;

namespace {

std::string read_file(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// The mask of signals that a process catches, 0 when it is gone.
std::uint64_t caught_signals(int process) {
  std::ifstream status("/proc/" + std::to_string(process) + "/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("SigCgt:")) return std::stoull(line.substr(7), nullptr, 16);
  }
  return 0;
}

/// What exec takes: the addresses of the words, and a null.
std::vector<char*> pointers_to(std::vector<std::string>& words) {
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  return pointers;
}

std::vector<std::string> with_program(const std::vector<std::string>& arguments) {
  std::vector<std::string> words{reprise_program().value().string()};
  words.insert(words.end(), arguments.begin(), arguments.end());
  return words;
}

}  // namespace

std::optional<fs::path> reprise_program() {
#ifdef REPRISE_PROGRAM
  return fs::path(REPRISE_PROGRAM);
#else
  return std::nullopt;
#endif
}

Program::Program(const std::vector<std::string>& arguments, const std::vector<std::string>& environment) {
  start(with_program(arguments), environment);
}

Program::Program(const std::string& script, const std::vector<std::string>& arguments) {
  std::vector<std::string> words{"/bin/sh", "-c", script};
  for (std::string& word : with_program(arguments)) words.push_back(std::move(word));
  start(std::move(words), {});
}

Program::Program(Command, std::vector<std::string> words) { start(std::move(words), {}); }

void Program::start(std::vector<std::string> words, const std::vector<std::string>& environment) {
  std::string folder = (fs::temp_directory_path() / "reprise-run-XXXXXX").string();
  if (::mkdtemp(folder.data()) == nullptr) throw std::runtime_error("no temporary folder can be made");
  folder_ = folder;
  std::vector<std::string> variables = environment;  // the first of a name counts
  for (char** variable = environ; *variable != nullptr; ++variable) variables.emplace_back(*variable);
  const std::vector<char*> argv = pointers_to(words), envp = pointers_to(variables);

  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  constexpr int kFlags = O_WRONLY | O_CREAT | O_TRUNC;
  ::posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, (folder_ / "output").c_str(), kFlags, 0600);
  ::posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, (folder_ / "errors").c_str(), kFlags, 0600);
  const int error = ::posix_spawnp(&process_, argv[0], &actions, nullptr, argv.data(), envp.data());
  ::posix_spawn_file_actions_destroy(&actions);
  if (error != 0) throw std::runtime_error("cannot start " + words[0]);
}

Program::~Program() {
  if (process_ > 0) {
    send(SIGKILL);
    ::waitpid(process_, nullptr, 0);
  }
  std::error_code error;
  fs::remove_all(folder_, error);
}

bool Program::wait_until_catches(int signal) const {
  const auto end = std::chrono::steady_clock::now() + 20s;
  while (std::chrono::steady_clock::now() < end) {
    if ((caught_signals(process_) >> (signal - 1) & 1u) != 0) return true;
    std::this_thread::sleep_for(5ms);
  }
  return false;
}

void Program::send(int signal) const { ::kill(process_, signal); }

Ended Program::wait() {
  int status = 0;
  while (::waitpid(process_, &status, 0) < 0) {
    if (errno != EINTR) throw std::runtime_error("waitpid failed");
  }
  process_ = -1;
  return {.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status),
          .output = read_file(folder_ / "output"),
          .errors = read_file(folder_ / "errors")};
}

Ended run_program(const std::vector<std::string>& arguments, const std::vector<std::string>& environment) {
  return Program(arguments, environment).wait();
}

Ended run_command(const std::vector<std::string>& words) { return Program(Program::Command{}, words).wait(); }

Ended run_shell(const std::string& script, const std::vector<std::string>& arguments) {
  return Program(script, arguments).wait();
}

nlohmann::json read_json(const fs::path& path) {
  std::ifstream file(path);
  return nlohmann::json::parse(file);
}
