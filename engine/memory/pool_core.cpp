#include "memory/pool_core.h"

#include <algorithm>
#include <mutex>

#include "memory/out_of_memory.h"
#include "memory/poison.h"
#include "reprise/error.h"

namespace reprise::detail {
namespace {

using Guard = std::lock_guard<SpinLock>;

// Beyond any address space, and far from where sums and roundings overflow.
constexpr std::size_t kMostBytes = std::size_t{1} << 60;

}  // namespace

PoolCore::PoolCore(std::unique_ptr<Source> source, PoolOptions options)
    : passthrough_(options.passthrough),
      poisons_(kAddressSanitizer),
      handle_(this, false),
      source_(std::move(source)) {
  if (source_ == nullptr) throw ValueError("[memory] a pool needs a source; give it host_source()");
  poisons_ = kAddressSanitizer && !passthrough_ && source_->host_accessible();
  if (options.plan != nullptr && !passthrough_) follow(std::move(options.plan));
}

/// Takes the slab, as a segment without blocks of its own.
void PoolCore::follow(std::shared_ptr<const MemoryPlan> plan) {
  const auto bytes = static_cast<std::size_t>(plan->slab_bytes);
  if (bytes == 0) return;
  records_.ensure(1);
  BlockRecord* const whole = add_segment(kLarge, bytes, bytes);
  if (whole == nullptr) throw_out_of_memory(bytes, Category::other, nullptr, {.operation = "arena"}, false);
  Segment& slab = *whole->segment;
  slab.first = nullptr;
  records_.give(whole);
  arena_ = std::make_unique<Arena>(std::move(plan), slab);
}

PoolCore::~PoolCore() {
  while (first_segment_ != nullptr) remove_segment(first_segment_);
}

MemoryBlock* PoolCore::allocate(std::size_t bytes, Category category, MemoryTag* tag, const Origin& origin) {
  if (bytes == 0) return nullptr;
  const Guard guard(lock_);
  if (!ledger_.owns(tag)) tag = nullptr;
  const bool injected = until_failure_ >= 0 && injected_failure();
  if (injected || bytes > kMostBytes) throw_out_of_memory(bytes, category, tag, origin, injected);
  const std::size_t size = round_up(bytes, kGranularity);
  BlockRecord* const block = passthrough_ ? find_direct(bytes, size) : find_planned(size);
  if (block == nullptr) throw_out_of_memory(bytes, category, tag, origin, false);
  block->live = true;
  block->requested = bytes;
  block->category = category;
  block->tag = tag;
  block->origin = origin;
  ledger_.book(*block);
  growth_.note_live(ledger_.now().all.allocated.current);
  if (trace_ != nullptr) [[unlikely]]
    note(MemoryEvent::Action::allocate, *block);
  if (poisons_) unpoison(block->data, bytes);
  return block;
}

void PoolCore::free(BlockRecord* block) noexcept {
  bool last = false;
  {
    const Guard guard(lock_);
    ledger_.unbook(*block);
    if (trace_ != nullptr) [[unlikely]]
      note(MemoryEvent::Action::free, *block);
    if (poisons_) poison(block->data, block->allocated);
    block->live = false;
    block->requested = 0;
    block->tag = nullptr;
    if (block->name != nullptr) [[unlikely]]
      block->name.reset();
    const bool planned = arena_ != nullptr && arena_->owns(*block);
    if (!planned) block = merge(block);
    const bool whole = block->left == nullptr && block->right == nullptr;
    if (planned) {
      arena_->give_back(*block);
      records_.give(block);
    } else if (whole && (passthrough_ || owners_ == 0)) {
      remove_segment(block->segment);
    } else {
      bins_[block->segment->bins].insert(block);
    }
    last = unheld();
  }
  if (last) delete this;
}

/// The place that the plan has for the request, if there is one.
BlockRecord* PoolCore::find_planned(std::size_t size) {
  if (arena_ == nullptr) return find(size);
  records_.ensure(1);
  BlockRecord* const record = records_.take();
  record->pool = &handle_;
  if (arena_->take(size, *record)) return record;
  records_.give(record);
  return find(size);
}

/// A block of exactly `size` bytes, in no free list; null when the source is exhausted.
BlockRecord* PoolCore::find(std::size_t size) {
  records_.ensure(2);  // a new segment's first block, and the rest of a split one
  Bins bins = kSmall;
  if (size > kSmallRequest) {
    growth_.note_large_request();
    bins = size > kMediumRequest && growth_.is_huge(size) ? kHuge : kLarge;
  }
  BlockRecord* block = bins_[bins].take_best(size);
  if (block == nullptr) [[unlikely]] {
    block = grow(bins, size);
    if (block == nullptr) return nullptr;
  }
  if (block->allocated > size) split(block, size);
  return block;
}

/// A segment of its own, of exactly the bytes asked for, so that a memory checker sees where it ends. The
/// books keep its rounded size, so that they agree with those of a caching pool.
BlockRecord* PoolCore::find_direct(std::size_t bytes, std::size_t size) {
  records_.ensure(1);
  return add_segment(kSmall, bytes, size);
}

/// A segment of one block of `size` bytes, in no free list; null when the source is exhausted.
BlockRecord* PoolCore::add_segment(Bins bins, std::size_t source_bytes, std::size_t size) {
  if (source_bytes > kMostReserved - static_cast<std::size_t>(ledger_.now().reserved.current)) return nullptr;
  auto owned = std::make_unique<Segment>();
  owned->data = source_->allocate(source_bytes);
  if (owned->data == nullptr) return nullptr;
  Segment* const segment = owned.release();
  segment->source_bytes = source_bytes;
  segment->bytes = size;
  segment->bins = bins;
  segment->previous = last_segment_;
  (last_segment_ == nullptr ? first_segment_ : last_segment_->next) = segment;
  last_segment_ = segment;
  ledger_.book_source_allocation(size);
  if (trace_ != nullptr) [[unlikely]]
    note(MemoryEvent::Action::segment_allocate, *segment);
  if (poisons_) poison(segment->data, size);

  BlockRecord* const block = records_.take();
  block->data = segment->data;
  block->allocated = size;
  block->pool = &handle_;
  block->left = block->right = nullptr;
  block->segment = segment;
  segment->first = block;
  return block;
}

/// Gives a segment of one block, which is in no free list, back to the source.
void PoolCore::remove_segment(Segment* segment) noexcept {
  if (poisons_) unpoison(segment->data, segment->bytes);
  source_->release(segment->data, segment->source_bytes);
  ledger_.book_source_release(segment->bytes);
  if (trace_ != nullptr) [[unlikely]]
    note(MemoryEvent::Action::segment_free, *segment);
  if (segment->first != nullptr) records_.give(segment->first);
  (segment->previous == nullptr ? first_segment_ : segment->previous->next) = segment->next;
  (segment->next == nullptr ? last_segment_ : segment->next->previous) = segment->previous;
  delete segment;
}

/// Leaves `size` bytes in the block, and frees the rest.
void PoolCore::split(BlockRecord* block, std::size_t size) noexcept {
  BlockRecord* const rest = records_.take();
  rest->data = static_cast<std::byte*>(block->data) + size;
  rest->allocated = block->allocated - size;
  rest->requested = 0;
  rest->tag = nullptr;
  rest->pool = &handle_;
  rest->live = false;
  rest->segment = block->segment;
  rest->left = block;
  rest->right = block->right;
  if (rest->right != nullptr) rest->right->left = rest;
  block->right = rest;
  block->allocated = size;
  bins_[block->segment->bins].insert(rest);
}

/// Joins a block that is in no free list with its free neighbours; returns the whole.
BlockRecord* PoolCore::merge(BlockRecord* block) noexcept {
  FreeBins& bins = bins_[block->segment->bins];
  if (block->right != nullptr && !block->right->live) {
    bins.remove(block->right);
    absorb_right(block);
  }
  if (block->left != nullptr && !block->left->live) {
    block = block->left;
    bins.remove(block);
    absorb_right(block);
  }
  return block;
}

void PoolCore::absorb_right(BlockRecord* block) noexcept {
  BlockRecord* const right = block->right;
  block->allocated += right->allocated;
  block->right = right->right;
  if (block->right != nullptr) block->right->left = block;
  records_.give(right);
}

bool PoolCore::injected_failure() noexcept { return until_failure_-- == 0; }

void PoolCore::throw_out_of_memory(std::size_t bytes, Category category, const MemoryTag* tag,
                                   const Origin& origin, bool injected) {
  ledger_.book_failure();
  const Shortage shortage{
      .asked = bytes,
      .category = category,
      .tag = tag == nullptr ? std::string_view() : tag->name,
      .injected = injected,
      .origin = origin,
      .segments = list_segments(),
      .source = *source_,
      .statistics = ledger_.since_reset(),
      .largest_free = std::max({bins_[kSmall].largest(), bins_[kLarge].largest(), bins_[kHuge].largest()})};
  throw OutOfMemory(describe(shortage));
}

void PoolCore::recategorise(MemoryBlock* block, Category category) noexcept {
  const Guard guard(lock_);
  ledger_.recategorise(*block, category);
  if (trace_ != nullptr) [[unlikely]]
    note(MemoryEvent::Action::recategorise, *block);
}

void PoolCore::rename(BlockRecord* block, const Origin& origin, std::string_view name) noexcept {
  const Guard guard(lock_);
  block->origin = origin;
  block->name.reset();
  if (name.empty()) return;
  try {
    block->name = std::make_unique<std::string>(name);
  } catch (const std::bad_alloc&) {  // NOLINT(bugprone-empty-catch): its origin will have to do
  }
}

MemoryStatistics PoolCore::statistics() const {
  const Guard guard(lock_);
  return ledger_.since_reset();
}

std::int64_t PoolCore::live_bytes() const noexcept {
  const Guard guard(lock_);
  return ledger_.now().all.allocated.current;
}

void PoolCore::reset_peaks() {
  const Guard guard(lock_);
  ledger_.reset_peaks();
}

std::size_t PoolCore::release_cached() {
  const Guard guard(lock_);
  growth_.start_again(ledger_.now().all.allocated.current);
  return release_unused_segments();
}

MemoryTag* PoolCore::tag(std::string_view name) {
  const Guard guard(lock_);
  return ledger_.tag(name);
}

std::shared_ptr<MemoryTag> PoolCore::share_tag(std::string_view name) {
  const Guard guard(lock_);
  return ledger_.tag(name)->shared_from_this();
}

Usage PoolCore::usage(const MemoryTag* tag) const {
  const Guard guard(lock_);
  if (!ledger_.owns(tag))
    throw ValueError("[memory] usage of a tag that is not this pool's; make it with Pool::tag");
  return tag->usage;
}

std::vector<std::pair<std::string, Usage>> PoolCore::usage_by_tag() const {
  const Guard guard(lock_);
  return ledger_.usage_by_tag();
}

void PoolCore::fail_after(std::int64_t n) {
  const Guard guard(lock_);
  until_failure_ = n < 0 ? -1 : std::max<std::int64_t>(n - 1, 0);
}

std::vector<SegmentInfo> PoolCore::segments() const {
  const Guard guard(lock_);
  return list_segments();
}

std::vector<SegmentInfo> PoolCore::list_segments() const {
  std::vector<SegmentInfo> result;
  for (const Segment* segment = first_segment_; segment != nullptr; segment = segment->next) {
    SegmentInfo& info =
        result.emplace_back(SegmentInfo{segment->data, segment->bytes, segment->bins == kSmall, {}});
    if (arena_ != nullptr && arena_->is_slab(*segment)) info.blocks = arena_->list();
    for (const BlockRecord* b = segment->first; b != nullptr; b = b->right)
      info.blocks.push_back(info_of(*b));
  }
  return result;
}

std::int64_t PoolCore::plan_misses() const noexcept {
  const Guard guard(lock_);
  return arena_ == nullptr ? 0 : arena_->misses();
}

void PoolCore::pause_plan() noexcept {
  const Guard guard(lock_);
  ++owners_;
  if (arena_ != nullptr) arena_->pause();
}

void PoolCore::resume_plan() noexcept {
  {
    const Guard guard(lock_);
    if (arena_ != nullptr) arena_->resume();
  }
  drop_owner();
}

BlockInfo info_of(const BlockRecord& block) {
  return {.data = block.data,
          .allocated = block.allocated,
          .requested = block.requested,
          .live = block.live,
          .category = block.category,
          .tag = block.tag == nullptr ? std::string() : block.tag->name,
          .origin = block.live ? block.origin : Origin{},
          .name = block.name == nullptr ? std::string() : *block.name};
}

void PoolCore::open(ScopeWindow& window) {
  const Guard guard(lock_);
  ++owners_;
  ledger_.open(window);
}

void PoolCore::close(ScopeWindow& window) {
  const Guard guard(lock_);
  ledger_.close(window);
}

MemoryStatistics PoolCore::since(const ScopeWindow& window) const {
  const Guard guard(lock_);
  return ledger_.since(window);
}

void PoolCore::drop_owner() noexcept {
  bool last = false;
  {
    const Guard guard(lock_);
    --owners_;
    last = unheld();
  }
  if (last) delete this;
}

}  // namespace reprise::detail
