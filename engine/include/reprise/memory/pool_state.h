// A pool's blocks and segments, as its events leave them one after another.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <numeric>
#include <span>
#include <vector>

#include "reprise/memory/trace.h"

namespace reprise {

/// Bytes in each category.
using CategoryBytes = std::array<std::int64_t, kCategories>;

/// What a pool held at one moment of its trace.
class PoolState {
 public:
  explicit PoolState(std::span<const SegmentInfo> before);
  void apply(const MemoryEvent& event);

  const CategoryBytes& by_category() const { return by_category_; }
  std::int64_t reserved() const { return reserved_; }
  std::int64_t allocated() const {
    return std::accumulate(by_category_.begin(), by_category_.end(), std::int64_t{0});
  }

  /// Live ones, in the order of their addresses.
  std::vector<BlockInfo> live_blocks() const;

  /// The segments in the order of their addresses, tiled by live and free blocks.
  std::vector<SegmentInfo> segments() const;

 private:
  void add(BlockInfo block);
  void remove(const void* address);
  void recategorise(const void* address, Category category);
  std::int64_t& bytes_of(const BlockInfo& block) {
    return by_category_[static_cast<std::size_t>(block.category)];
  }

  std::map<const void*, BlockInfo> blocks_;  // live ones
  std::map<const void*, SegmentInfo> segments_;
  CategoryBytes by_category_{};
  std::int64_t reserved_ = 0;
};

}  // namespace reprise
