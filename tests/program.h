// Runs the built program as a user would.
#pragma once

#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

/// The program `reprise`; nothing where the tests were built without it.
std::optional<std::filesystem::path> reprise_program();

/// What an ended program left.
struct Ended {
  int status = -1;  // exit status; 128 + the signal when one ended it
  std::string output, errors;
};

/// A running program, killed at the end of its scope unless it was waited for.
class Program {
 public:
  /// `environment`: variables ("NAME=value") besides those of the tests.
  explicit Program(const std::vector<std::string>& arguments,
                   const std::vector<std::string>& environment = {});
  /// A shell that runs `script`, in which "$0" is the program and "$@" are the arguments.
  Program(const std::string& script, const std::vector<std::string>& arguments);
  ~Program();
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  /// Waits until the program catches `signal`; false when it ends or 20 seconds pass before.
  bool wait_until_catches(int signal) const;
  void send(int signal) const;
  Ended wait();

 private:
  friend Ended run_command(const std::vector<std::string>& words);
  struct Command {};
  Program(Command, std::vector<std::string> words);
  void start(std::vector<std::string> words, const std::vector<std::string>& environment);

  std::filesystem::path folder_;
  int process_ = -1;
};

/// Runs the program to its end.
Ended run_program(const std::vector<std::string>& arguments,
                  const std::vector<std::string>& environment = {});

/// Runs a command, whose first word is looked for in PATH, to its end.
Ended run_command(const std::vector<std::string>& words);

/// Runs `script` in a shell, as Program does, to its end.
Ended run_shell(const std::string& script, const std::vector<std::string>& arguments = {});

nlohmann::json read_json(const std::filesystem::path& path);
