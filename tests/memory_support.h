// What the tests of the memory layer share: a source that watches its user, and a checker of a pool's books.
#pragma once

#include <catch2/catch.hpp>

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "reprise/error.h"
#include "reprise/memory.h"

namespace memory_test {

using namespace reprise;

inline const PoolOptions kCaching{.passthrough = false};
inline constexpr std::size_t kKiB = 1024;
inline constexpr std::size_t kMiB = 1024 * kKiB;

/// The sizes of the pieces that are out.
using Pieces = std::map<void*, std::size_t>;

/// Host memory that notes what is out, and that it comes back as it went.
class WatchedSource final : public Source {
 public:
  explicit WatchedSource(std::shared_ptr<Pieces> pieces) : pieces_(std::move(pieces)) {}

  void* allocate(std::size_t bytes) override {
    void* const data = inner_->allocate(bytes);
    if (data != nullptr) pieces_->emplace(data, bytes);
    return data;
  }
  void release(void* data, std::size_t bytes) noexcept override {
    const auto piece = pieces_->find(data);
    if (piece == pieces_->end() || piece->second != bytes) {
      pieces_->emplace(nullptr, 0);  // stays behind, and fails the test
      return;
    }
    pieces_->erase(piece);
    inner_->release(data, bytes);
  }
  std::size_t capacity() const override { return inner_->capacity(); }
  std::string_view name() const override { return "watched"; }

 private:
  std::unique_ptr<Source> inner_ = host_source();
  std::shared_ptr<Pieces> pieces_;
};

/// A caching pool of `capacity` bytes of host memory.
inline std::unique_ptr<Pool> limited_pool(std::size_t capacity) {
  return std::make_unique<Pool>(limited_source(host_source(), capacity), kCaching);
}

/// Blocks tile their segments, free neighbours are merged, segments do not overlap, and the counters are the
/// sums of what is listed. For a caching pool that no other thread uses.
inline void check_books(const Pool& pool) {
  std::map<const std::byte*, std::size_t> extents;
  std::map<std::string, Usage> by_tag;
  MemoryStatistics sums;
  std::int64_t live = 0;
  const auto add = [](Usage& usage, const BlockInfo& block) {
    usage.requested.current += static_cast<std::int64_t>(block.requested);
    usage.allocated.current += static_cast<std::int64_t>(block.allocated);
  };
  for (const SegmentInfo& segment : pool.segments()) {
    const auto* at = static_cast<const std::byte*>(segment.data);
    REQUIRE(extents.emplace(at, segment.bytes).second);
    sums.reserved.current += static_cast<std::int64_t>(segment.bytes);
    bool left_is_free = false;
    for (const BlockInfo& block : segment.blocks) {
      REQUIRE(block.data == at);
      REQUIRE(reinterpret_cast<std::uintptr_t>(block.data) % 64 == 0);
      REQUIRE(block.allocated % 256 == 0);
      REQUIRE(block.allocated > 0);
      REQUIRE_FALSE((left_is_free && !block.live));
      left_is_free = !block.live;
      at += block.allocated;
      if (!block.live) {
        REQUIRE(block.requested == 0);
        continue;
      }
      REQUIRE(block.requested > 0);
      REQUIRE(block.allocated == (block.requested + 255) / 256 * 256);
      ++live;
      add(sums.all, block);
      add(sums.by_category[static_cast<std::size_t>(block.category)], block);
      if (!block.tag.empty()) add(by_tag[block.tag], block);
    }
    REQUIRE(at == static_cast<const std::byte*>(segment.data) + segment.bytes);
  }
  const std::byte* end = nullptr;
  for (const auto& [data, bytes] : extents) {
    REQUIRE(data >= end);
    end = data + bytes;
  }

  const MemoryStatistics statistics = pool.statistics();
  const auto agree = [](const Usage& counted, const Usage& listed) {
    REQUIRE(counted.requested.current == listed.requested.current);
    REQUIRE(counted.allocated.current == listed.allocated.current);
    REQUIRE(counted.requested.peak >= counted.requested.current);
    REQUIRE(counted.allocated.peak >= counted.allocated.current);
  };
  agree(statistics.all, sums.all);
  for (std::size_t i = 0; i < kCategories; ++i) agree(statistics.by_category[i], sums.by_category[i]);
  REQUIRE(statistics.activations.allocated.current ==
          sums.of(Category::activations).allocated.current + sums.of(Category::recomputed).allocated.current);
  REQUIRE(statistics.reserved.current == sums.reserved.current);
  REQUIRE(statistics.allocations - statistics.frees == live);
  REQUIRE(statistics.source_allocations - statistics.source_frees ==
          static_cast<std::int64_t>(extents.size()));
  for (const auto& [name, usage] : pool.usage_by_tag()) agree(usage, by_tag[name]);
}

}  // namespace memory_test
