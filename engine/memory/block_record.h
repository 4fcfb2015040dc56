// What the pool knows about a block beside what its user sees.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "reprise/memory/pool.h"

namespace reprise::detail {

struct BlockRecord;

/// One piece of memory from the source, tiled by blocks.
struct Segment {
  void* data = nullptr;
  std::size_t bytes = 0;
  std::size_t source_bytes = 0;  // less than bytes where only the books are rounded
  std::size_t bins = 0;          // which free list its blocks belong to
  BlockRecord* first = nullptr;
  Segment* previous = nullptr;
  Segment* next = nullptr;
};

struct BlockRecord : MemoryBlock {
  BlockRecord* left = nullptr;  // the neighbours in the segment
  BlockRecord* right = nullptr;
  BlockRecord* previous_free = nullptr;  // the neighbours in the free list
  BlockRecord* next_free = nullptr;
  Segment* segment = nullptr;
  std::unique_ptr<std::string> name;  // where the origin does not have it; null for nearly all
  bool live = false;
};

/// Recycles records, so that splitting and merging blocks costs no malloc.
class BlockRecords {
 public:
  /// Makes the next `count` calls of take() safe. May throw std::bad_alloc.
  void ensure(std::size_t count) {
    while (spare_count_ < count) grow();
  }

  BlockRecord* take() noexcept {
    BlockRecord* const record = spare_;
    spare_ = record->next_free;
    --spare_count_;
    return record;
  }

  void give(BlockRecord* record) noexcept {
    record->next_free = spare_;
    spare_ = record;
    ++spare_count_;
  }

 private:
  static constexpr std::size_t kSlab = 64;

  void grow() {
    slabs_.push_back(std::make_unique<BlockRecord[]>(kSlab));
    for (std::size_t i = kSlab; i > 0; --i) give(&slabs_.back()[i - 1]);
  }

  std::vector<std::unique_ptr<BlockRecord[]>> slabs_;
  BlockRecord* spare_ = nullptr;
  std::size_t spare_count_ = 0;
};

}  // namespace reprise::detail
