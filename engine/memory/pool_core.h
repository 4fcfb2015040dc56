// The caching pool.
//
// - Sizes are rounded up to multiples of kGranularity.
// - Blocks are cut from segments of three kinds, each with its own free lists. Requests of up to
//   kSmallRequest share segments of kSmallSegment, so that long-lived small blocks do not break up large
//   segments. Larger ones share segments of kMediumSegment, or of a part of what is live. A huge one, of an
//   eighth of the most that was ever live, has a segment to itself: logits of another length in every step
//   would not fit again between what outlives a step.
// - The smallest free block of its kind that fits is taken, among equals the one freed last, and split: how
//   much a block holds depends on its request only. Freed blocks merge with free neighbours at once.
// - Else a large request of a size that came in an earlier step may borrow from the other large kind: what
//   repeats itself can be packed tightly. A new size may not: what it breaks up will not be whole in time.
// - Else the pool grows, up to 5/4 of the most that was ever live. Beyond, unused segments go back to the
//   source first; where they do not suffice, any free block serves; then the pool grows all the same. A
//   program that goes beyond again and again with the same sizes is allowed more (growth.h), so that steps
//   that repeat themselves call the source no more.
// - Where the source has no room for such a segment, smaller ones are tried, down to the request itself. Then
//   all unused segments go back to the source, and the request is tried once more; then any free block
//   serves; then OutOfMemory is thrown.
// - With a plan, a request that comes as planned gets its place in one slab, which is taken at once and kept.
// - No decision depends on an address: the same requests give the same places on any source of one capacity.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "memory/arena.h"
#include "memory/block_record.h"
#include "memory/free_bins.h"
#include "memory/growth.h"
#include "memory/ledger.h"
#include "memory/spin_lock.h"
#include "reprise/memory/trace.h"

namespace reprise::detail {

inline constexpr std::size_t kSmallRequest = std::size_t{1} << 20;
inline constexpr std::size_t kSmallSegment = std::size_t{2} << 20;
inline constexpr std::size_t kMediumRequest = std::size_t{10} << 20;
inline constexpr std::size_t kMediumSegment = std::size_t{20} << 20;
inline constexpr std::size_t kLargeRounding = std::size_t{2} << 20;
inline constexpr std::size_t kSharedSegment = 32;                   // of what is live, one part in as many
inline constexpr std::size_t kMostReserved = std::size_t{1} << 62;  // sums of what is live stay far from 2^63
// How many parts a segment may be broken into by what borrows it; few where much of the source is needed.
inline constexpr std::size_t kManyParts = 32;
inline constexpr std::size_t kFewParts = 8;

/// The state that a Pool and its blocks share: it goes when its owner, its scopes and its last block are
/// gone.
class PoolCore {
 public:
  PoolCore(std::unique_ptr<Source> source, PoolOptions options);
  PoolCore(const PoolCore&) = delete;
  PoolCore& operator=(const PoolCore&) = delete;

  MemoryBlock* allocate(std::size_t bytes, Category category, MemoryTag* tag, const Origin& origin);
  void rename(BlockRecord* block, const Origin& origin, std::string_view name) noexcept;
  void free(BlockRecord* block) noexcept;
  void recategorise(MemoryBlock* block, Category category) noexcept;

  MemoryStatistics statistics() const;
  std::int64_t live_bytes() const noexcept;
  void reset_peaks();
  std::size_t release_cached();
  MemoryTag* tag(std::string_view name);
  std::shared_ptr<MemoryTag> share_tag(std::string_view name);
  Usage usage(const MemoryTag* tag) const;
  std::vector<std::pair<std::string, Usage>> usage_by_tag() const;
  void fail_after(std::int64_t n);
  void begin_trace(MemoryTrace& trace);
  void end_trace() noexcept;
  std::vector<SegmentInfo> segments() const;
  std::int64_t plan_misses() const noexcept;
  void pause_plan() noexcept;
  void resume_plan() noexcept;
  const Source& source() const { return *source_; }

  void open(ScopeWindow& window);
  void close(ScopeWindow& window);
  MemoryStatistics since(const ScopeWindow& window) const;

  /// The owner or a scope goes; deletes the core when nothing else holds it.
  void drop_owner() noexcept;

 private:
  enum Bins : std::size_t { kSmall, kLarge, kHuge, kKinds };

  static constexpr Bins other(Bins bins) noexcept { return bins == kLarge ? kHuge : kLarge; }

  ~PoolCore();

  void follow(std::shared_ptr<const MemoryPlan> plan);
  BlockRecord* find_planned(std::size_t size);
  BlockRecord* find(std::size_t size);
  BlockRecord* find_direct(std::size_t bytes, std::size_t size);
  [[gnu::cold]] BlockRecord* grow(Bins bins, std::size_t size);
  BlockRecord* borrow(Bins bins, std::size_t size, std::size_t parts) noexcept;
  std::size_t segment_size(Bins bins, std::size_t size) const noexcept;
  BlockRecord* take_from_source(Bins bins, std::size_t size, std::size_t bytes);
  BlockRecord* add_segment(Bins bins, std::size_t source_bytes, std::size_t size);
  void remove_segment(Segment* segment) noexcept;
  void split(BlockRecord* block, std::size_t size) noexcept;
  BlockRecord* merge(BlockRecord* block) noexcept;
  void absorb_right(BlockRecord* block) noexcept;
  bool release_for(Bins bins, std::size_t bytes) noexcept;
  std::size_t release_unused_segments() noexcept;
  std::size_t release_if_unused(Segment* segment) noexcept;
  bool injected_failure() noexcept;
  void note(MemoryEvent::Action action, const MemoryBlock& block) noexcept;
  void note(MemoryEvent::Action action, const Segment& segment) noexcept;
  void note(MemoryEvent event) noexcept;
  std::vector<SegmentInfo> list_segments() const;
  [[noreturn]] void throw_out_of_memory(std::size_t bytes, Category category, const MemoryTag* tag,
                                        const Origin& origin, bool injected);
  bool unheld() const noexcept { return owners_ == 0 && ledger_.live() == 0; }

  // What a pair of allocate and free touches comes first.
  mutable SpinLock lock_;
  bool passthrough_;
  bool poisons_;
  std::int64_t until_failure_ = -1;  // allocations that still succeed; negative: all do
  MemoryTrace* trace_ = nullptr;     // the one under way
  std::int64_t owners_ = 1;
  Pool handle_;  // what blocks point to
  Ledger ledger_;
  Growth growth_;
  BlockRecords records_;
  std::unique_ptr<Source> source_;
  Segment* first_segment_ = nullptr;
  Segment* last_segment_ = nullptr;
  std::array<FreeBins, kKinds> bins_;
  std::unique_ptr<Arena> arena_;  // null: no plan
};

}  // namespace reprise::detail
