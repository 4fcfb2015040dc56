// The caching pool between tensors and a source. Its policy stands at the top of engine/memory/pool_core.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "reprise/memory/origin.h"
#include "reprise/memory/plan.h"
#include "reprise/memory/source.h"
#include "reprise/memory/statistics.h"
#include "reprise/shape.h"

namespace reprise {

class Pool;

/// The usage of one named segment of the tape. Lives as long as its pool, the last block of it, or who shares
/// it.
struct MemoryTag;

/// A live allocation. Only its pool writes to it.
struct MemoryBlock {
  void* data = nullptr;  // aligned to 64 bytes
  std::size_t requested = 0;
  std::size_t allocated = 0;
  MemoryTag* tag = nullptr;
  Pool* pool = nullptr;  // usable as long as the block lives, even when the pool's owner is gone
  Category category = Category::other;
  Origin origin{};
};

/// Whether each request should reach the source, for memory checkers: true in builds with AddressSanitizer,
/// and where the environment says REPRISE_PASSTHROUGH=1.
bool passthrough_by_default();

struct PoolOptions {
  bool passthrough =
      passthrough_by_default();  // no caching: the source is asked for exactly the bytes of each request
  /// Requests that come as it says are served from one slab, taken at once; others as by a pool without a
  /// plan. A passthrough pool has none.
  std::shared_ptr<const MemoryPlan> plan{};
};

/// A block, live or free, as `Pool::segments` lists it.
struct BlockInfo {
  const void* data = nullptr;
  std::size_t allocated = 0;
  std::size_t requested = 0;  // 0 when free
  bool live = false;
  Category category = Category::other;
  std::string tag{};   // empty: none
  Origin origin{};     // of a live block
  std::string name{};  // of a live block whose origin does not have it, see `kMostNames`
};

/// A piece of memory that the pool took from its source, and the blocks that tile it in the order of their
/// addresses.
struct SegmentInfo {
  const void* data = nullptr;
  std::size_t bytes = 0;
  bool small = false;  // serves requests of up to 1 MiB
  std::vector<BlockInfo> blocks;
};

namespace detail {
class PoolCore;
struct ScopeWindow;
}  // namespace detail

/// Serves requests from memory that it keeps, and counts them. Every function may be called on any thread.
/// What it decides depends on the sequence of requests only, never on addresses or time.
class Pool {
 public:
  explicit Pool(std::unique_ptr<Source> source, PoolOptions options = {});
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  /// Blocks that still live stay valid until they are freed; cached memory goes back to the source now.
  ~Pool();

  /// A block of at least `bytes` bytes, null for 0 bytes; a tag of another pool is ignored. Throws
  /// OutOfMemory, after which nothing has changed but the counts of retries and failures. `origin` is what
  /// errors, traces and `segments` say of the block.
  MemoryBlock* allocate(std::size_t bytes, Category category, MemoryTag* tag = nullptr,
                        const Origin& origin = {});

  /// What a live block is called from now on; by errors `name`, where it is given.
  void rename(MemoryBlock* block, const Origin& origin, std::string_view name = {}) noexcept;

  /// Takes a block back; null is ignored.
  void free(MemoryBlock* block) noexcept;

  /// Books a live block under another category from now on. Totals stay where the block was allocated.
  void recategorise(MemoryBlock* block, Category category) noexcept;

  /// Peaks are those since the last `reset_peaks`, whatever scopes are open.
  MemoryStatistics statistics() const;

  /// `statistics().all.allocated.current`, without the cost of the rest.
  std::int64_t live_bytes() const noexcept;

  /// What a request of that many bytes counts for in `live_bytes`.
  static std::int64_t block_bytes(std::size_t requested) noexcept;

  /// Starts every peak, also of tags and of open scopes, at the current value.
  void reset_peaks();

  /// Gives every unused segment back to the source; returns their bytes.
  std::size_t release_cached();

  /// The tag of that name, made when it is new. Beyond 16,384 names there is one for all further ones,
  /// "(further segments)".
  MemoryTag* tag(std::string_view name);
  /// The same, for whoever may outlive the pool. Memory of other pools is never booked under it.
  std::shared_ptr<MemoryTag> share_tag(std::string_view name);
  Usage usage(const MemoryTag* tag) const;
  std::vector<std::pair<std::string, Usage>> usage_by_tag() const;

  /// The n-th allocation from now (0 and 1: the next one) throws OutOfMemory, once; negative: none does.
  void fail_after(std::int64_t n);

  /// Every segment in the order in which it was taken from the source.
  std::vector<SegmentInfo> segments() const;

  /// Requests that were not served from the slab although they should have been: they did not come as the
  /// plan says, or its place for them was still taken.
  std::int64_t plan_misses() const noexcept;

  std::size_t capacity() const;
  std::string_view source_name() const;

  /// Whether both are handles of the same pool, as `*block->pool` and its owner are.
  bool operator==(const Pool& other) const { return core_ == other.core_; }

 private:
  friend class detail::PoolCore;
  friend class MemoryScope;
  friend class Unplanned;
  friend class MemoryTrace;
  Pool(detail::PoolCore* core, bool owner) : core_(core), owner_(owner) {}

  detail::PoolCore* core_;
  bool owner_;
};

/// Counts what happens in a pool while it lives. Scopes nest, and do not disturb the pool's own statistics.
class MemoryScope {
 public:
  explicit MemoryScope(Pool& pool);
  MemoryScope(const MemoryScope&) = delete;
  MemoryScope& operator=(const MemoryScope&) = delete;
  ~MemoryScope();

  /// Current bytes are the pool's; peaks, totals and counts are those since the scope began.
  MemoryStatistics statistics() const;

 private:
  detail::PoolCore* core_;
  std::unique_ptr<detail::ScopeWindow> window_;
};

/// What is allocated in a pool while it lives is no part of its plan: an evaluation between two steps.
class Unplanned {
 public:
  explicit Unplanned(Pool& pool);
  Unplanned(const Unplanned&) = delete;
  Unplanned& operator=(const Unplanned&) = delete;
  ~Unplanned();

 private:
  detail::PoolCore* core_;
};

/// The pool of a device's tensors, made at its first use over `source_of(device)`. Throws DeviceError where
/// the device cannot be used.
std::shared_ptr<Pool> default_pool(Device device = default_device());

/// Makes `pool` the device's from now on, or a fresh one over `source_of(device)` when it is null. Not while
/// other threads allocate.
void set_default_pool(std::shared_ptr<Pool> pool, Device device = default_device());

/// The same pool without the cost of shared ownership, valid until the next `set_default_pool`.
Pool& pool_of(Device device);

/// The pool of this thread's default device.
inline Pool& current_pool() { return pool_of(default_device()); }

}  // namespace reprise
