// Checks programs in a child process, so that a crash or an endless loop is one program's finding.
#pragma once

#include <atomic>
#include <functional>
#include <string>

#include "check.h"

namespace reprise::fuzz {

/// What children tell their parent, in memory that both see.
struct Board {
  std::atomic<std::uint64_t> seed;      // of the program that runs
  std::atomic<std::uint64_t> programs;  // that ended
  std::atomic<std::uint64_t> stale;
  std::atomic<std::uint64_t> runs;
  std::atomic<std::uint64_t> instructions;
  std::atomic<std::uint64_t> replayed;  // nodes
  std::atomic<std::uint64_t> played;    // nodes
  std::atomic<std::uint64_t> errors;
  int signal;
  int frames;
  void* frame[48];
  bool found;
  char kind[128];
  char detail[1024];
};

class Worker {
 public:
  static constexpr unsigned kSeconds = 20;  // for one program

  Worker();
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  Board& board() { return *board_; }

  /// Runs `work` in a child. Returns what it found: by `report`, or by dying.
  std::optional<Finding> run(const std::function<void()>& work);

  /// In the child: the program is about to run; it has some seconds.
  void begin(std::uint64_t seed, unsigned seconds = kSeconds);
  /// In the child: writes the finding down and ends.
  [[noreturn]] void report(const Finding& finding);

  /// The functions on the way to the crash that `run` told last, one a line.
  std::string backtrace() const;

 private:
  std::string said() const;

  Board* board_;
  int errors_;  // where children write their standard error
};

}  // namespace reprise::fuzz
