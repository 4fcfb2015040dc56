// Where a pool finds room for a request that none of its free blocks of that kind fits.
#include <algorithm>

#include "memory/pool_core.h"

namespace reprise::detail {
namespace {

/// No more than the request needs; larger than a small segment, by which traces tell the two.
std::size_t least_segment(std::size_t size) {
  return std::max(round_up(size, kLargeRounding), 2 * kLargeRounding);
}

}  // namespace

std::size_t PoolCore::segment_size(Bins bins, std::size_t size) const noexcept {
  if (bins == kSmall) return kSmallSegment;
  if (bins == kHuge) return round_up(size, kLargeRounding);
  const auto live = static_cast<std::size_t>(ledger_.now().all.allocated.current);
  const std::size_t shared = std::max(kMediumSegment, live / kSharedSegment);
  if (size <= kMediumRequest) return round_up(shared, kLargeRounding);
  return round_up(std::max<std::size_t>(shared / size, 1) * size, kLargeRounding);  // filled by its like
}

/// No block of its kind is free: one of at least `size` bytes from elsewhere, in no free list.
BlockRecord* PoolCore::grow(Bins bins, std::size_t size) {
  const bool large = bins != kSmall;
  const MemoryStatistics& now = ledger_.now();
  const std::size_t capacity = source_->capacity();
  const std::size_t limit = std::min(growth_.limit(now.all.allocated.current, size), capacity);
  const bool has_come_before = large && growth_.has_come_before(size);
  if (has_come_before) {
    const std::size_t parts = limit > capacity / 2 ? kFewParts : kManyParts;
    if (BlockRecord* const block = borrow(bins, size, parts)) return block;
  }
  const auto reserved = static_cast<std::size_t>(now.reserved.current);
  std::size_t bytes = segment_size(bins, size);
  if (large && reserved + bytes > limit) bytes = std::min(bytes, least_segment(size));
  if (reserved + bytes > limit) {
    const std::size_t over = reserved + bytes - limit;
    if (large) growth_.note_excess(has_come_before, over);
    if (!release_for(bins, over) && large) {
      if (BlockRecord* const block = bins_[other(bins)].take_best(size)) return block;
    }
  }
  if (BlockRecord* const block = take_from_source(bins, size, bytes)) return block;
  if (release_unused_segments() > 0) {
    ledger_.book_retry();
    if (BlockRecord* const block = take_from_source(bins, size, segment_size(bins, size))) return block;
  }
  for (const Bins any : {kLarge, kHuge, kSmall}) {
    if (BlockRecord* const block = bins_[any].take_best(size)) return block;
  }
  return nullptr;
}

/// A free block of the other kind of large ones. A whole segment is not broken up for less than one of so
/// many parts of it: what it was taken for comes again.
BlockRecord* PoolCore::borrow(Bins bins, std::size_t size, std::size_t parts) noexcept {
  return bins_[other(bins)].take_best(size, [=](const BlockRecord& block) {
    const bool whole = block.left == nullptr && block.right == nullptr;
    return !whole || size >= block.allocated / parts;
  });
}

/// Gives unused segments back, those that the request is least likely to need first, until `bytes` have gone.
/// False when there are not as many.
bool PoolCore::release_for(Bins bins, std::size_t bytes) noexcept {
  static constexpr std::array<std::array<Bins, kKinds>, kKinds> kOrder{
      {{kSmall, kLarge, kHuge}, {kHuge, kSmall, kLarge}, {kSmall, kHuge, kLarge}}};
  std::size_t released = 0;
  for (const Bins from : kOrder[bins]) {
    for (Segment *segment = first_segment_, *next = nullptr; segment != nullptr && released < bytes;
         segment = next) {
      next = segment->next;
      if (segment->bins == from) released += release_if_unused(segment);
    }
  }
  if (released > 0) ledger_.book_retry();
  return released >= bytes;
}

std::size_t PoolCore::release_unused_segments() noexcept {
  std::size_t released = 0;
  for (Segment *segment = first_segment_, *next = nullptr; segment != nullptr; segment = next) {
    next = segment->next;
    released += release_if_unused(segment);
  }
  return released;
}

/// The bytes that went back to the source: none when the segment holds a live block, or is the slab.
std::size_t PoolCore::release_if_unused(Segment* segment) noexcept {
  BlockRecord* const block = segment->first;
  if (block == nullptr || block->live || block->right != nullptr) return 0;
  const std::size_t bytes = segment->bytes;
  bins_[segment->bins].remove(block);
  remove_segment(segment);
  return bytes;
}

/// A segment of `bytes`, or of less where the source has no room, down to `size`.
BlockRecord* PoolCore::take_from_source(Bins bins, std::size_t size, std::size_t bytes) {
  for (; bytes > size; bytes = std::max(size, round_up(bytes / 2, kGranularity))) {
    if (BlockRecord* const block = add_segment(bins, bytes, bytes)) return block;
  }
  return add_segment(bins, size, size);
}

}  // namespace reprise::detail
