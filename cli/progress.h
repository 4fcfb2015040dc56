// One line that says how far long work has come.
#pragma once

#include <cstdint>
#include <functional>
#include <iosfwd>
#include <string>
#include <string_view>

#include "terminal.h"

namespace reprise::cli {

/// What a progress line does where nobody watches.
enum class Unwatched { silent, plain_lines };

/// Rewrites its line on a terminal at most ten times a second. Elsewhere it is silent, or writes a plain line
/// every ten seconds.
class Progress {
 public:
  /// Seconds since some fixed moment.
  using Clock = std::function<double()>;

  /// `total` 0 stands for work of unknown length.
  Progress(std::ostream& out, const Terminal& terminal, std::string_view label, std::int64_t total,
           Unwatched unwatched = Unwatched::silent, Clock clock = {});
  /// Leaves the cursor on a fresh line.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// `done` of `total` is finished; `detail` is shown behind it ("loss 2.31").
  void update(std::int64_t done, std::string_view detail = {});
  /// Replaces the line by `summary` (by nothing when it is empty); nothing is shown afterwards.
  void finish(std::string_view summary = {});

 private:
  std::string line(std::int64_t done, std::string_view detail, double elapsed) const;

  std::ostream& out_;
  Terminal terminal_;
  std::string label_;
  std::int64_t total_;
  Unwatched unwatched_;
  Clock clock_;
  double start_;
  double shown_at_;
  bool line_open_ = false;
  bool finished_ = false;
};

}  // namespace reprise::cli
