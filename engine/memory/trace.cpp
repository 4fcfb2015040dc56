#include "reprise/memory/trace.h"

#include <algorithm>
#include <map>
#include <mutex>

#include "memory/clock.h"
#include "memory/pool_core.h"
#include "reprise/error.h"
#include "reprise/memory/pool_state.h"

namespace reprise {
MemoryTrace::MemoryTrace(Pool& pool, std::size_t most)
    : core_(pool.core_), most_(most), start_ns_(detail::now_ns()) {
  events_.reserve(std::min<std::size_t>(most_, 4096));
  core_->begin_trace(*this);
}

MemoryTrace::~MemoryTrace() { core_->end_trace(); }

namespace detail {

void PoolCore::begin_trace(MemoryTrace& trace) {
  const std::lock_guard guard(lock_);
  if (trace_ != nullptr) throw Error("[memory] the pool is being traced already; end that trace first");
  trace.before_ = list_segments();
  trace_ = &trace;
  ++owners_;
}

void PoolCore::end_trace() noexcept {
  {
    const std::lock_guard guard(lock_);
    trace_ = nullptr;
  }
  drop_owner();
}

void PoolCore::note(MemoryEvent::Action action, const MemoryBlock& block) noexcept {
  note({.action = action,
        .category = block.category,
        .address = block.data,
        .requested = static_cast<std::int64_t>(block.requested),
        .allocated = static_cast<std::int64_t>(block.allocated),
        .origin = block.origin,
        .tag = block.tag == nullptr ? std::string_view() : std::string_view(block.tag->name)});
}

void PoolCore::note(MemoryEvent::Action action, const Segment& segment) noexcept {
  const auto bytes = static_cast<std::int64_t>(segment.bytes);
  note({.action = action, .address = segment.data, .requested = bytes, .allocated = bytes});
}

/// Neither allocating nor freeing may fail for the sake of a trace.
void PoolCore::note(MemoryEvent event) noexcept {
  const MemoryStatistics& now = ledger_.now();
  event.time_ns = now_ns() - trace_->start_ns_;
  event.live_requested = now.all.requested.current;
  event.live_allocated = now.all.allocated.current;
  event.live_activations = now.activations.allocated.current;
  event.reserved = now.reserved.current;
  if (trace_->truncated_ || trace_->events_.size() == trace_->most_) {
    trace_->truncated_ = true;
    return;
  }
  try {
    trace_->events_.push_back(event);
  } catch (const std::bad_alloc&) {
    trace_->truncated_ = true;
  }
}

}  // namespace detail

namespace {

bool precedes(const BlockInfo& a, const BlockInfo& b) {
  return a.allocated != b.allocated ? a.allocated > b.allocated : a.data < b.data;
}

}  // namespace

MemoryPeak peak_of(std::span<const SegmentInfo> before, std::span<const MemoryEvent> events) {
  PoolState pool(before);
  MemoryPeak peak{.event = events.size(), .allocated = pool.allocated()};
  for (std::size_t i = 0; i < events.size(); ++i) {
    if (events[i].live_allocated <= peak.allocated) continue;
    peak.allocated = events[i].live_allocated;
    peak.event = i;
  }
  if (peak.event < events.size()) {
    for (std::size_t i = 0; i <= peak.event; ++i) pool.apply(events[i]);
    peak.origin = events[peak.event].origin;
  }
  peak.by_category = pool.by_category();
  peak.live = pool.live_blocks();
  std::sort(peak.live.begin(), peak.live.end(), precedes);
  std::map<std::string, std::int64_t> tags;
  for (const BlockInfo& block : peak.live) {
    if (!block.tag.empty()) tags[block.tag] += static_cast<std::int64_t>(block.allocated);
  }
  peak.by_tag.assign(tags.begin(), tags.end());
  std::stable_sort(peak.by_tag.begin(), peak.by_tag.end(),
                   [](const auto& a, const auto& b) { return a.second > b.second; });
  return peak;
}

}  // namespace reprise
