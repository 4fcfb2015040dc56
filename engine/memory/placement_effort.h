// How much work a search may do.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

namespace reprise::packing {

/// Work is counted in strips looked at, which is the same on every machine; a deadline is not.
class Effort {
 public:
  using Deadline = std::optional<std::chrono::steady_clock::time_point>;

  explicit Effort(std::int64_t strips, Deadline deadline = {}) : left_(strips), deadline_(deadline) {}

  /// False when nothing is left.
  bool spend(std::int64_t strips) {
    left_ -= strips;
    if (deadline_ && left_ < next_look_) look_at_the_clock();
    return left_ > 0;
  }
  std::int64_t left() const { return left_; }

 private:
  void look_at_the_clock() {
    constexpr std::int64_t kStripsBetween = 20'000;  // about half a millisecond
    next_look_ = left_ - kStripsBetween;
    if (std::chrono::steady_clock::now() >= *deadline_) left_ = 0;
  }

  std::int64_t left_;
  Deadline deadline_;
  std::int64_t next_look_ = INT64_MAX;
};

}  // namespace reprise::packing
