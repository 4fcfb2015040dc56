// The part of a pool that follows a plan. Whoever calls holds the pool's lock.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "memory/block_record.h"
#include "reprise/memory/plan.h"

namespace reprise::detail {

class Arena {
 public:
  /// `slab` holds plan.slab_bytes bytes.
  Arena(std::shared_ptr<const MemoryPlan> plan, Segment& slab) : plan_(std::move(plan)), slab_(slab) {}

  bool owns(const BlockRecord& block) const noexcept { return block.segment == &slab_; }
  bool is_slab(const Segment& segment) const noexcept { return &segment == &slab_; }

  /// Makes `record` the block of the next request of the plan. False when the request is not of `bytes`
  /// bytes, after which no later one is followed, or when its place is still taken.
  bool take(std::size_t bytes, BlockRecord& record);
  void give_back(const BlockRecord& block) noexcept { live_.erase(place_of(block)); }

  /// Live blocks and what lies between them, in the order of their addresses.
  std::vector<BlockInfo> list() const;

  std::int64_t misses() const noexcept { return misses_; }
  void pause() noexcept { ++pauses_; }
  void resume() noexcept { --pauses_; }

 private:
  std::int64_t place_of(const BlockRecord& block) const noexcept {
    return static_cast<const std::byte*>(block.data) - static_cast<const std::byte*>(slab_.data);
  }
  bool is_free(const MemoryPlan::Request& request) const noexcept;
  void advance() noexcept;

  std::shared_ptr<const MemoryPlan> plan_;
  Segment& slab_;
  std::map<std::int64_t, const BlockRecord*> live_;  // by offset
  std::size_t next_ = 0;                             // request of the plan
  bool left_ = false;                                // a request did not come as planned
  int pauses_ = 0;
  std::int64_t misses_ = 0;
};

BlockInfo info_of(const BlockRecord& block);

}  // namespace reprise::detail
