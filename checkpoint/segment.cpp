// The scope: opening and closing segments, and which of them are spared.
#include <exception>

#include "segment_region.h"

namespace reprise::checkpoint {

SpareSegments& spare_segments() {
  static thread_local SpareSegments instance;
  return instance;
}

Segment::Segment(std::string_view name, const SegmentOptions& options)
    : exceptions_(std::uncaught_exceptions()) {
  Context& ctx = context();
  if (!ctx.grad_enabled) return;
  auto parent = std::static_pointer_cast<SegmentRegion>(ctx.region);
  spare_segments().drop_siblings(parent.get());
  region_ = std::make_shared<SegmentRegion>(std::move(parent), current_pool().tag(name), options);
  ctx.region = region_;
  ctx.tag = region_->tag();
}

Segment::~Segment() {
  if (region_ == nullptr) return;
  Context& ctx = context();
  SegmentRegion* parent = region_->parent();
  ctx.region = parent == nullptr ? nullptr : parent->shared_from_this();
  ctx.tag = parent == nullptr ? nullptr : parent->tag();
  region_->close();
  if (region_->is_finished() || std::uncaught_exceptions() > exceptions_) return;
  if (region_->options().spare_last)
    spare_segments().add(*region_);
  else
    region_->drop();
}

void SpareSegments::add(SegmentRegion& segment) {
  const std::int64_t live_bytes = current_pool().live_bytes();
  entries_.push_back({&segment, live_bytes - segment.unsaved_bytes() + segment.backward_bytes()});
  context().spare = this;
}

void SpareSegments::remove(const SegmentRegion& segment) noexcept {
  std::erase_if(entries_, [&](const Entry& entry) { return entry.segment == &segment; });
  if (entries_.empty()) context().spare = nullptr;
}

void SpareSegments::drop(std::size_t i) {
  SegmentRegion& segment = *entries_[i].segment;
  std::erase_if(entries_, [&](const Entry& entry) { return entry.segment->is_inside(segment); });
  if (entries_.empty()) context().spare = nullptr;
  segment.drop();
}

void SpareSegments::drop_siblings(const SegmentRegion* parent) {
  for (std::size_t i = 0; i < entries_.size();) {
    if (entries_[i].segment->parent() == parent) {
      drop(i);
      i = 0;
    } else {
      ++i;
    }
  }
}

void SpareSegments::before_allocation(std::size_t bytes) {
  const std::int64_t wanted = current_pool().live_bytes() + static_cast<std::int64_t>(bytes);
  for (std::size_t i = 0; i < entries_.size();) {
    const Entry& entry = entries_[i];
    if (wanted > entry.bound_bytes && wanted > entry.bound_bytes + entry.segment->unsaved_bytes()) {
      drop(i);
      i = 0;
    } else {
      ++i;
    }
  }
}

}  // namespace reprise::checkpoint
