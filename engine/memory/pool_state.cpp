#include "reprise/memory/pool_state.h"

#include <cstddef>
#include <utility>

#include "memory/pool_core.h"

namespace reprise {

namespace {

const std::byte* end_of(const void* data, std::size_t bytes) {
  return static_cast<const std::byte*>(data) + bytes;
}

BlockInfo live_block(const MemoryEvent& event) {
  return {.data = event.address,
          .allocated = static_cast<std::size_t>(event.allocated),
          .requested = static_cast<std::size_t>(event.requested),
          .live = true,
          .category = event.category,
          .tag = std::string(event.tag),
          .origin = event.origin};
}

void add_free(SegmentInfo& segment, const std::byte* from, const std::byte* to) {
  if (from == to) return;
  segment.blocks.push_back({.data = from, .allocated = static_cast<std::size_t>(to - from)});
}

}  // namespace

PoolState::PoolState(std::span<const SegmentInfo> before) {
  for (const SegmentInfo& segment : before) {
    segments_[segment.data] = {
        .data = segment.data, .bytes = segment.bytes, .small = segment.small, .blocks = {}};
    reserved_ += static_cast<std::int64_t>(segment.bytes);
    for (const BlockInfo& block : segment.blocks) {
      if (block.live) add(block);
    }
  }
}

void PoolState::apply(const MemoryEvent& event) {
  using Action = MemoryEvent::Action;
  const auto bytes = static_cast<std::size_t>(event.allocated);
  switch (event.action) {
    case Action::allocate:
      return add(live_block(event));
    case Action::free:
      return remove(event.address);
    case Action::recategorise:
      return recategorise(event.address, event.category);
    case Action::segment_allocate:
      // Which kind it is, an event does not say; the small ones are known by their size.
      segments_[event.address] = {
          .data = event.address, .bytes = bytes, .small = bytes <= detail::kSmallSegment, .blocks = {}};
      reserved_ += event.allocated;
      return;
    case Action::segment_free:
      segments_.erase(event.address);
      reserved_ -= event.allocated;
      return;
  }
}

void PoolState::add(BlockInfo block) {
  bytes_of(block) += static_cast<std::int64_t>(block.allocated);
  blocks_[block.data] = std::move(block);
}

void PoolState::remove(const void* address) {
  const auto block = blocks_.find(address);
  if (block == blocks_.end()) return;
  bytes_of(block->second) -= static_cast<std::int64_t>(block->second.allocated);
  blocks_.erase(block);
}

void PoolState::recategorise(const void* address, Category category) {
  const auto found = blocks_.find(address);
  if (found == blocks_.end()) return;
  BlockInfo& block = found->second;
  bytes_of(block) -= static_cast<std::int64_t>(block.allocated);
  block.category = category;
  bytes_of(block) += static_cast<std::int64_t>(block.allocated);
}

std::vector<BlockInfo> PoolState::live_blocks() const {
  std::vector<BlockInfo> result;
  result.reserve(blocks_.size());
  for (const auto& [address, block] : blocks_) result.push_back(block);
  return result;
}

std::vector<SegmentInfo> PoolState::segments() const {
  std::vector<SegmentInfo> result;
  for (const auto& [address, segment] : segments_) {
    SegmentInfo& tiled = result.emplace_back(segment);
    const auto* at = static_cast<const std::byte*>(address);
    const std::byte* const end = end_of(address, segment.bytes);
    for (auto block = blocks_.lower_bound(at); block != blocks_.end() && block->first < end; ++block) {
      add_free(tiled, at, static_cast<const std::byte*>(block->first));
      tiled.blocks.push_back(block->second);
      at = end_of(block->first, block->second.allocated);
    }
    add_free(tiled, at, end);
  }
  return result;
}

}  // namespace reprise
