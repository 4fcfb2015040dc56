// Which closed segments are spared, and for how long.
#include "segment_region.h"

namespace reprise::checkpoint {
namespace {

/// Segments with more levels inside are not spared: what keeping one costs is counted node by node, and each
/// level would count all that is inside it again.
constexpr int kMostLevels = 32;

}  // namespace

SpareSegments& SpareSegments::of(Tape& tape) {
  if (tape.spare_owner == nullptr) tape.spare_owner = std::shared_ptr<SpareSegments>(new SpareSegments(tape));
  return static_cast<SpareSegments&>(*tape.spare_owner);
}

void SpareSegments::add(SegmentRegion& segment) noexcept {
  if (segment.height_ > kMostLevels) return segment.drop();
  const std::int64_t live_bytes = current_pool().live_bytes();
  segment.bound_bytes_ = live_bytes - segment.unsaved_bytes() + segment.backward_bytes();
  segment.spared_ = true;
  segment.older_spared_ = newest_;
  (newest_ != nullptr ? newest_->newer_spared_ : oldest_) = &segment;
  newest_ = &segment;
  tape_.spare = this;
}

void SpareSegments::remove(SegmentRegion& segment) noexcept {
  if (!std::exchange(segment.spared_, false)) return;
  (segment.older_spared_ != nullptr ? segment.older_spared_->newer_spared_ : oldest_) = segment.newer_spared_;
  (segment.newer_spared_ != nullptr ? segment.newer_spared_->older_spared_ : newest_) = segment.older_spared_;
  segment.older_spared_ = segment.newer_spared_ = nullptr;
  if (oldest_ == nullptr) tape_.spare = nullptr;
}

void SpareSegments::drop_siblings(const SegmentRegion* parent) noexcept {
  const DeferDestruction until_dropped;
  for (SegmentRegion* segment = oldest_; segment != nullptr;) {
    if (segment->parent() == parent) {
      segment->drop();
      segment = oldest_;
    } else {
      segment = segment->newer_spared_;
    }
  }
}

void SpareSegments::before_allocation(std::size_t bytes) noexcept {
  const std::int64_t wanted = current_pool().live_bytes() + static_cast<std::int64_t>(bytes);
  const DeferDestruction until_dropped;
  for (SegmentRegion* segment = oldest_; segment != nullptr;) {
    if (wanted > segment->bound_bytes_ && wanted > segment->bound_bytes_ + segment->unsaved_bytes()) {
      segment->drop();
      segment = oldest_;
    } else {
      segment = segment->newer_spared_;
    }
  }
}

}  // namespace reprise::checkpoint
