// What happened in a pool, one event after another, and for whom.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "reprise/memory/pool.h"

namespace reprise {

/// One change of a pool.
struct MemoryEvent {
  enum class Action : std::uint8_t {
    allocate,
    free,
    recategorise,      // a live block is booked under `category` from now on
    segment_allocate,  // taken from the source
    segment_free
  };
  Action action = Action::allocate;
  Category category = Category::other;
  const void* address = nullptr;
  std::int64_t requested = 0;  // bytes asked for; of a segment: its size
  std::int64_t allocated = 0;  // bytes of the block; of a segment: its size
  std::int64_t time_ns = 0;    // since the trace began
  Origin origin{};
  std::string_view
      tag{};  // the checkpoint segment that the block is booked under; lives as long as the trace
  // After the event:
  std::int64_t live_requested = 0;
  std::int64_t live_allocated = 0;
  std::int64_t live_activations = 0;  // allocated bytes of activations and recomputed ones
  std::int64_t reserved = 0;
};

/// Writes down every event of a pool while it lives; one at a time. It may outlive the pool's owner.
class MemoryTrace {
 public:
  /// Keeps the first `most` events.
  explicit MemoryTrace(Pool& pool, std::size_t most = std::size_t{1} << 20);
  MemoryTrace(const MemoryTrace&) = delete;
  MemoryTrace& operator=(const MemoryTrace&) = delete;
  ~MemoryTrace();

  /// The pool's segments and blocks when the trace began.
  const std::vector<SegmentInfo>& before() const { return before_; }
  const std::vector<MemoryEvent>& events() const { return events_; }
  /// True when events were left out: there were too many, or no memory for them.
  bool truncated() const { return truncated_; }

 private:
  friend class detail::PoolCore;
  detail::PoolCore* core_;
  std::size_t most_;
  std::int64_t start_ns_;
  bool truncated_ = false;
  std::vector<SegmentInfo> before_;
  std::vector<MemoryEvent> events_;
};

/// The state of a traced pool at the moment when most bytes were live.
struct MemoryPeak {
  std::size_t event = 0;  // the first one after which they were; events().size() when it was at the start
  std::int64_t allocated = 0;
  std::array<std::int64_t, kCategories> by_category{};         // allocated bytes
  std::vector<std::pair<std::string, std::int64_t>> by_tag{};  // allocated bytes, largest first
  std::vector<BlockInfo> live{};                               // largest first
  Origin origin{};                                             // of the allocation that made the peak
};

/// Finds the peak of a trace, given as what was live before its events.
MemoryPeak peak_of(std::span<const SegmentInfo> before, std::span<const MemoryEvent> events);
inline MemoryPeak peak_of(const MemoryTrace& trace) { return peak_of(trace.before(), trace.events()); }

}  // namespace reprise
