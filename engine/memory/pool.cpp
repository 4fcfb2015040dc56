#include "reprise/memory/pool.h"

#include <cstdlib>

#include "memory/poison.h"
#include "memory/pool_core.h"

namespace reprise {

bool passthrough_by_default() {
  static const char* const asked = std::getenv("REPRISE_PASSTHROUGH");
  return detail::kAddressSanitizer || (asked != nullptr && std::string_view(asked) == "1");
}

Pool::Pool(std::unique_ptr<Source> source, PoolOptions options)
    : core_(new detail::PoolCore(std::move(source), std::move(options))), owner_(true) {}

Pool::~Pool() {
  if (!owner_) return;
  core_->release_cached();
  core_->drop_owner();
}

MemoryBlock* Pool::allocate(std::size_t bytes, Category category, MemoryTag* tag, const Origin& origin) {
  return core_->allocate(bytes, category, tag, origin);
}

void Pool::rename(MemoryBlock* block, const Origin& origin, std::string_view name) noexcept {
  core_->rename(static_cast<detail::BlockRecord*>(block), origin, name);
}

void Pool::free(MemoryBlock* block) noexcept {
  if (block != nullptr) core_->free(static_cast<detail::BlockRecord*>(block));
}

void Pool::recategorise(MemoryBlock* block, Category category) noexcept {
  core_->recategorise(block, category);
}
MemoryStatistics Pool::statistics() const { return core_->statistics(); }
std::int64_t Pool::live_bytes() const noexcept { return core_->live_bytes(); }
std::int64_t Pool::block_bytes(std::size_t requested) noexcept {
  return static_cast<std::int64_t>(detail::round_up(requested, detail::kGranularity));
}
void Pool::reset_peaks() { core_->reset_peaks(); }
std::size_t Pool::release_cached() { return core_->release_cached(); }
MemoryTag* Pool::tag(std::string_view name) { return core_->tag(name); }
std::shared_ptr<MemoryTag> Pool::share_tag(std::string_view name) { return core_->share_tag(name); }
Usage Pool::usage(const MemoryTag* tag) const { return core_->usage(tag); }
std::vector<std::pair<std::string, Usage>> Pool::usage_by_tag() const { return core_->usage_by_tag(); }
void Pool::fail_after(std::int64_t n) { core_->fail_after(n); }
std::vector<SegmentInfo> Pool::segments() const { return core_->segments(); }
std::int64_t Pool::plan_misses() const noexcept { return core_->plan_misses(); }
std::size_t Pool::capacity() const { return core_->source().capacity(); }
std::string_view Pool::source_name() const { return core_->source().name(); }

Unplanned::Unplanned(Pool& pool) : core_(pool.core_) { core_->pause_plan(); }

Unplanned::~Unplanned() { core_->resume_plan(); }

MemoryScope::MemoryScope(Pool& pool) : core_(pool.core_), window_(std::make_unique<detail::ScopeWindow>()) {
  core_->open(*window_);
}

MemoryScope::~MemoryScope() {
  core_->close(*window_);
  core_->drop_owner();
}

MemoryStatistics MemoryScope::statistics() const { return core_->since(*window_); }

}  // namespace reprise
