// What belongs to a segment, and how much of it is still to be played.
#include "segment_region.h"

#include <algorithm>
#include <atomic>

namespace reprise::checkpoint {
std::uint64_t next_mark() noexcept {
  static std::atomic<std::uint64_t> mark{0};
  return mark.fetch_add(1, std::memory_order_relaxed) + 1;
}

SegmentRegion::SegmentRegion(std::shared_ptr<SegmentRegion> parent, Tape& tape,
                             std::shared_ptr<MemoryTag> tag, const SegmentOptions& options)
    : parent_(std::move(parent)),
      tape_(&tape),
      tag_(std::move(tag)),
      options_(options),
      first_(tape.next_sequence) {
  tape.refs.fetch_add(1, std::memory_order_relaxed);
  outermost_ = parent_ != nullptr ? parent_->outermost_ : this;
  cheap_ = options.drop == Drop::cheap ? this : parent_ != nullptr ? parent_->cheap_ : nullptr;
  if (parent_ == nullptr) return;
  older_sibling_ = parent_->newest_nested_;
  if (older_sibling_ != nullptr) older_sibling_->newer_sibling_ = this;
  parent_->newest_nested_ = this;
}

SegmentRegion::~SegmentRegion() {
  const DeferDestruction until_unlinked;
  SpareSegments::of(*tape_).remove(*this);
  forget_base();
  // A deep nest must not be destroyed by recursion.
  std::shared_ptr<SegmentRegion> around = leave_parent();
  while (around != nullptr && around.use_count() == 1) around = around->leave_parent();
  drop_tape(tape_);
}

std::shared_ptr<SegmentRegion> SegmentRegion::leave_parent() noexcept {
  if (parent_ == nullptr) return nullptr;
  (newer_sibling_ != nullptr ? newer_sibling_->older_sibling_ : parent_->newest_nested_) = older_sibling_;
  if (older_sibling_ != nullptr) older_sibling_->newer_sibling_ = newer_sibling_;
  return std::move(parent_);
}

bool SegmentRegion::owns(const Value& value) const {
  const Node* const node = value.producer;
  return node != nullptr && node->tape == tape_ && node->sequence >= first_ && node->sequence <= last_;
}

/// Backward is going to run this node, and has not yet.
bool SegmentRegion::will_play(const Node& node) const {
  return node.needs != 0 && !node.played && node.pass == tape_->pass;
}

/// Calls f(SegmentRegion&) for each segment that must list the value, which a node of this one reads, and
/// does not yet. What comes from outside all segments the outermost lists alone; what a segment around this
/// one made, all between.
template <class F>
void SegmentRegion::for_each_lister(const Value& value, F&& f) {
  if (!outermost_->owns(value)) {
    if (!outermost_->inputs_.contains(&value)) f(*outermost_);
    return;
  }
  for (SegmentRegion* region = this; !region->owns(value) && !region->inputs_.contains(&value);
       region = region->parent())
    f(*region);
}

/// Room for what segments with Drop::cheap may choose to keep.
void SegmentRegion::reserve_kept(std::uint32_t outputs) {
  for (SegmentRegion* region = cheap_; region != nullptr;
       region = region->parent() == nullptr ? nullptr : region->parent()->cheap_)
    region->kept_.reserve(static_cast<std::size_t>(region->own_outputs_) + outputs);
}

void SegmentRegion::recorded(Node& node) {
  close_if_abandoned();
  for (std::uint32_t i = 0; i < node.n_inputs; ++i)
    for_each_lister(*node.inputs[i], [](SegmentRegion& region) { region.inputs_.reserve(kMaxInputs); });
  reserve_kept(node.n_outputs);
  // From here on only `keep` can fail.
  const auto keep_what_cannot_run_again = [&] {
    if (!node.table->replayable)
      std::for_each(node.outputs, node.outputs + node.n_outputs, [&](Value* value) { keep(*value); });
    for (std::uint32_t i = 0; i < node.n_inputs; ++i) {
      // Changed through an alias, which knows no region: what was read is not what the producer would give.
      if (node.versions[i] != 0 && owns(*node.inputs[i]) && !node.inputs[i]->pinned)
        keep_changed(*node.inputs[i]);
    }
  };
  try {
    keep_what_cannot_run_again();
  } catch (...) {
    std::for_each(node.outputs, node.outputs + node.n_outputs,
                  [&](const Value* value) { forget_kept(*value); });
    throw;
  }
  for (std::uint32_t i = 0; i < node.n_inputs; ++i) {
    Value* const value = node.inputs[i];
    for_each_lister(*value, [&](SegmentRegion& region) {
      region.inputs_.insert(value);
      add_ref(value);
      if (region.holds_base_) add_keeper(value);
    });
  }
  for (SegmentRegion* region = cheap_; region != nullptr;
       region = region->parent() == nullptr ? nullptr : region->parent()->cheap_)
    region->own_outputs_ += node.n_outputs;
  link(node);
  if (node.needs == 0) {
    ++outermost_->idle_nodes_;
    return;
  }
  ++parts_.open;
  parts_changed();
}

void SegmentRegion::link(Node& node) noexcept {
  node.region_older = newest_node_;
  if (newest_node_ != nullptr) newest_node_->region_newer = &node;
  newest_node_ = &node;
}

void SegmentRegion::unlink(Node& node) noexcept {
  (node.region_newer != nullptr ? node.region_newer->region_older : newest_node_) = node.region_older;
  if (node.region_older != nullptr) node.region_older->region_newer = node.region_newer;
}

void SegmentRegion::erased(Node& node) noexcept {
  unlink(node);
  if (node.has_kept)
    std::for_each(node.outputs, node.outputs + node.n_outputs,
                  [&](const Value* value) { forget_kept(*value); });
  for (SegmentRegion* region = cheap_; region != nullptr;
       region = region->parent() == nullptr ? nullptr : region->parent()->cheap_)
    region->own_outputs_ -= node.n_outputs;
  note_change();
  if (node.needs == 0) --outermost_->idle_nodes_;
  if (node.needs == 0 || node.played) return;
  --parts_.open;
  parts_changed();
}

void SegmentRegion::note_change() noexcept {
  ++changes_;
  for (SegmentRegion* region = this; region != nullptr && !region->stale_; region = region->parent())
    region->stale_ = true;
}

void SegmentRegion::keep(Value& value) {
  for (SegmentRegion* region = this; region != nullptr; region = region->parent()) region->kept_.reserve(1);
  value.producer->has_kept = true;
  for (SegmentRegion* region = this; region != nullptr; region = region->parent()) {
    if (!region->finished_ && region->kept_.insert(&value) && region->holds_base_) add_keeper(&value);
  }
}

void SegmentRegion::forget_kept(const Value& value) noexcept {
  for (SegmentRegion* region = this; region != nullptr; region = region->parent()) {
    if (region->kept_.erase(&value) && region->holds_base_) drop_keeper(const_cast<Value*>(&value));
  }
}

void SegmentRegion::scheduled(Node&) noexcept {
  ++parts_.scheduled;
  ++parts_.complete;
  for (SegmentRegion* region = this; region != nullptr && region->report_parts();) region = region->parent();
}

void SegmentRegion::passed(Node&, bool for_good) noexcept {
  --parts_.scheduled;
  --parts_.complete;
  if (for_good) {
    --parts_.open;
    note_change();
  }
  parts_changed();
}

/// Brings the parent's counts up to date; false when nothing has changed for it.
bool SegmentRegion::report_parts() noexcept {
  const bool open = parts_.open > 0;
  const bool scheduled = parts_.scheduled > 0;
  const bool complete = scheduled && parts_.complete == parts_.open;
  if (open == counted_open_ && scheduled == counted_scheduled_ && complete == counted_complete_) return false;
  if (parent_ != nullptr) {
    Parts& parts = parent_->parts_;
    parts.open += open - std::exchange(counted_open_, open);
    parts.scheduled += scheduled - std::exchange(counted_scheduled_, scheduled);
    parts.complete += complete - std::exchange(counted_complete_, complete);
  }
  return true;
}

void SegmentRegion::parts_changed() noexcept {
  const DeferDestruction until_all_know;
  for (SegmentRegion* region = this; region != nullptr; region = region->parent()) {
    region->settle();
    if (!region->report_parts()) return;
  }
}

/// Draws the consequences when nothing is left to be played, for now or for good.
void SegmentRegion::settle() noexcept {
  if (parts_.open == 0) {
    if (closed_) finish();
  } else if (parts_.scheduled == 0 && (state_ == State::restored || drops_later_)) {
    drop();
  }
}

void SegmentRegion::close_if_abandoned() {
  if (!outermost_->abandoned_inside_.load(std::memory_order_relaxed)) [[likely]]
    return;
  SegmentRegion* abandoned = nullptr;
  for (SegmentRegion* region = this; region != nullptr; region = region->parent()) {
    if (region->abandoned_.load(std::memory_order_relaxed)) abandoned = region;
  }
  outermost_->abandoned_inside_.store(false, std::memory_order_relaxed);
  if (abandoned == nullptr) return;
  close_segments_up_to(*abandoned, false);
  throw TapeError("[checkpoint] a segment that began on this thread ended on another; end it where it began");
}

void SegmentRegion::close(bool may_drop) noexcept {
  closed_ = true;
  last_ = tape_->next_sequence - 1;
  if (parent_ != nullptr) parent_->height_ = std::max(parent_->height_, height_ + 1);
  const DeferDestruction until_closed;
  if (this == outermost_) forget_idle();
  settle();
  report_parts();
  if (finished_ || !may_drop) return;
  if (options_.drop == Drop::cheap) choose_what_stays();
  if (options_.spare_last)
    SpareSegments::of(*tape_).add(*this);
  else
    drop();
}

/// No more readers come: nodes that want no gradient and lead to nothing that a backward reads forget their
/// inputs. A metric computed without gradient would otherwise keep all that it was computed from, and a
/// running average with it every step before.
void SegmentRegion::forget_idle() noexcept {
  if (idle_nodes_ == 0) return;
  const DeferDestruction until_forgotten;
  const std::uint64_t mark = next_mark();
  for_each_inside_of(*this, [&](SegmentRegion& region) {
    if (region.parts_.open > 0) region.follow_reads(mark, 0);
  });
  Node* idle = nullptr;
  for_each_node([&](Node& node) {
    const bool dying = node.live_outputs.load(std::memory_order_relaxed) == 0;
    if (node.needs == 0 && node.mark != mark && !dying && !node.retired)
      node.grave = std::exchange(idle, &node);
  });
  retire(idle);
}

/// Nothing of the segment will be played again. Once that holds for all of an outermost one, its nodes forget
/// their inputs: results that want no gradient would otherwise keep what they were computed from for as long
/// as the user holds them, and a running average would grow with every step.
void SegmentRegion::finish() noexcept {
  if (std::exchange(finished_, true)) return;
  SpareSegments::of(*tape_).remove(*this);
  forget_base();
  if (parent_ != nullptr) return;
  Node* idle = nullptr;
  for_each_node([&](Node& node) {
    const bool dying = node.live_outputs.load(std::memory_order_relaxed) == 0;
    if (!dying && !node.retired) node.grave = std::exchange(idle, &node);
  });
  retire(idle);
}

}  // namespace reprise::checkpoint
