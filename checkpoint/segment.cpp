// The scope: opening and closing segments.
#include <exception>

#include "segment_region.h"

namespace reprise::checkpoint {

Segment::Segment(std::string_view name, const SegmentOptions& options)
    : exceptions_(std::uncaught_exceptions()) {
  Context& ctx = context();
  if (!ctx.grad_enabled()) return;
  SpareSegments& spared = SpareSegments::of(*ctx.tape);
  auto parent = std::static_pointer_cast<SegmentRegion>(ctx.region);
  spared.drop_siblings(parent.get());
  region_ =
      std::make_shared<SegmentRegion>(std::move(parent), *ctx.tape, current_pool().share_tag(name), options);
  ctx.region = region_;
  ctx.tag = region_->tag();
}

Segment::~Segment() {
  if (region_ == nullptr) return;
  // One that was closed together with a segment around it has nothing left to do.
  if (&region_->tape() != context().tape)
    region_->abandon();
  else if (!region_->is_closed())
    close_segments_up_to(*region_, std::uncaught_exceptions() <= exceptions_);
}

void close_segments_up_to(SegmentRegion& outermost, bool may_drop) noexcept {
  Context& ctx = context();
  for (bool more = true; more;) {
    const auto region = std::static_pointer_cast<SegmentRegion>(std::move(ctx.region));
    SegmentRegion* const parent = region->parent();
    ctx.region = parent == nullptr ? nullptr : parent->shared_from_this();
    ctx.tag = parent == nullptr ? nullptr : parent->tag();
    region->close(may_drop);
    more = region.get() != &outermost;
  }
}

}  // namespace reprise::checkpoint
