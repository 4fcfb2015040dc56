#include "memory/arena.h"

#include <iterator>

namespace reprise::detail {

bool Arena::is_free(const MemoryPlan::Request& request) const noexcept {
  const auto after = live_.lower_bound(request.offset);
  if (after != live_.end() && after->first < request.offset + request.bytes) return false;
  if (after == live_.begin()) return true;
  const auto& [offset, block] = *std::prev(after);
  return offset + static_cast<std::int64_t>(block->allocated) <= request.offset;
}

void Arena::advance() noexcept {
  if (++next_ == plan_->requests.size()) next_ = plan_->first_of_step;
}

bool Arena::take(std::size_t bytes, BlockRecord& record) {
  if (pauses_ > 0) return false;
  if (left_ || next_ >= plan_->requests.size()) {
    ++misses_;
    return false;
  }
  const MemoryPlan::Request& request = plan_->requests[next_];
  left_ = request.bytes != static_cast<std::int64_t>(bytes);
  if (left_ || !is_free(request)) {
    ++misses_;
    if (!left_) advance();
    return false;
  }
  live_.emplace(request.offset, &record);
  advance();
  record.data = static_cast<std::byte*>(slab_.data) + request.offset;
  record.allocated = bytes;
  record.left = record.right = nullptr;
  record.segment = &slab_;
  return true;
}

std::vector<BlockInfo> Arena::list() const {
  std::vector<BlockInfo> result;
  std::int64_t end = 0;
  const auto add_gap = [&](std::int64_t until) {
    if (until == end) return;
    result.push_back({.data = static_cast<const std::byte*>(slab_.data) + end,
                      .allocated = static_cast<std::size_t>(until - end)});
  };
  for (const auto& [offset, block] : live_) {
    add_gap(offset);
    result.push_back(info_of(*block));
    end = offset + static_cast<std::int64_t>(block->allocated);
  }
  add_gap(static_cast<std::int64_t>(slab_.bytes));
  return result;
}

}  // namespace reprise::detail
