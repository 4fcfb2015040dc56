// What of a segment stays when it is dropped. Takes no memory.
#include "segment_region.h"

namespace reprise::checkpoint {

void SegmentRegion::hold_base() noexcept {
  if (std::exchange(holds_base_, true)) return;
  inputs_.for_each([](Value& value) { add_keeper(&value); });
  kept_.for_each([](Value& value) { add_keeper(&value); });
}

void SegmentRegion::release_base(bool but_inputs) noexcept {
  if (!std::exchange(holds_base_, false)) return;
  holds_inputs_ = but_inputs;
  if (!but_inputs) inputs_.for_each([](Value& value) { drop_keeper(&value); });
  kept_.for_each([](Value& value) { drop_keeper(&value); });
}

void SegmentRegion::forget_base() noexcept {
  const DeferDestruction until_empty;
  release_base();
  if (std::exchange(holds_inputs_, false)) inputs_.for_each([](Value& value) { drop_keeper(&value); });
  kept_ = {};
  const ValueSet inputs = std::exchange(inputs_, {});
  inputs.for_each([](Value& value) { drop_ref(&value); });
}

/// For Drop::cheap, once, when the segment closes: keeps the saved values that stay. A value goes only when a
/// cheap operation can compute it from what is there: inputs from outside, what stays, or what goes by the
/// same rule.
void SegmentRegion::choose_what_stays() noexcept {
  constexpr std::int32_t kUnavailable = -2;  // not there, and not cheap to have again
  constexpr std::int32_t kStays = -1;
  constexpr std::int32_t kSaved = -3;
  Node* oldest = nullptr;
  for_each_node_backward([&](Node& node) {
    oldest = &node;
    for (std::uint32_t i = 0; i < node.n_outputs; ++i) node.outputs[i]->uses = kUnavailable;
  });
  for_each_node_backward([&](Node& node) {
    if (node.needs == 0 || node.played) return;
    for_each_saved(node, [&](Value& value) {
      if (owns(value)) value.uses = kSaved;
    });
  });
  for (Node* node = oldest; node != nullptr; node = node->newer) {
    bool cheap = node->table->cheap;
    for (std::uint32_t i = 0; i < node->n_inputs; ++i) {
      const Value& input = *node->inputs[i];
      cheap = cheap && (!owns(input) || input.uses != kUnavailable);
    }
    for (std::uint32_t i = 0; i < node->n_outputs; ++i) {
      Value& value = *node->outputs[i];
      const bool stays = kept_.contains(&value) || (!cheap && value.uses == kSaved);
      if (stays)
        value.uses = kStays;
      else if (cheap)
        value.uses = 0;
      if (!stays || value.storage == nullptr) continue;
      node->has_kept = true;
      if (kept_.insert(&value)) add_keeper(&value);
    }
  }
}

/// Follows the reads from the saved values that a backward has yet to read, and from what nested segments
/// read, back to where they leave the segment or meet a value that is kept, and marks in the lists what it
/// meets there: `outermost_mark` what comes from outside all segments (0: nothing).
void SegmentRegion::follow_reads(std::uint64_t mark, std::uint64_t outermost_mark) noexcept {
  Node* work = nullptr;
  const auto need = [&](Value& value) {
    if (!owns(value)) {
      if (outermost_->owns(value))
        inputs_.mark(&value, mark);
      else if (outermost_mark != 0)
        outermost_->inputs_.mark(&value, outermost_mark);
    } else if (!kept_.empty() && kept_.contains(&value)) {
      kept_.mark(&value, mark);
    } else if (Node& node = *value.producer; node.mark != mark) {
      node.mark = mark;
      node.work = std::exchange(work, &node);
    }
  };
  for_each_own_node([&](Node& node) {
    if (node.needs != 0 && !node.played) for_each_saved(node, need);
  });
  for_each_nested([&](SegmentRegion& nested) {
    if (nested.parts_.open == 0) return;
    nested.inputs_.for_each(need);
    nested.kept_.for_each(need);
  });
  while (work != nullptr) {
    Node& node = *std::exchange(work, work->work);
    for (std::uint32_t i = 0; i < node.n_inputs; ++i) need(*node.inputs[i]);
  }
}

/// Finds the base: what must be held so that everything that a backward has yet to read can be there again.
/// What else is listed is let go; what is needed can only become less.
void SegmentRegion::derive() noexcept {
  const DeferDestruction until_derived;
  for_each_nested([](SegmentRegion& nested) {
    if (nested.stale_ && nested.parts_.open > 0) nested.derive();
  });
  const std::uint64_t mark = next_mark();
  follow_reads(mark, this == outermost_ ? mark : 0);
  if (this == outermost_) {
    for_each_inside_of(*this, [&](SegmentRegion& region) {
      if (&region != this && region.parts_.open > 0) region.follow_reads(next_mark(), mark);
    });
  }
  inputs_.erase_unmarked(mark, [&](Value& value) {
    if (holds_base_) drop_keeper(&value);
    drop_ref(&value);
  });
  kept_.erase_unmarked(mark, [&](Value& value) {
    if (holds_base_) drop_keeper(&value);
  });
  stale_ = false;
  changes_ = 0;
}

void SegmentRegion::drop() noexcept {
  SpareSegments::of(*tape_).remove(*this);
  drops_later_ = parts_.scheduled > 0 && prepared_pass_ == tape_->pass;
  if (drops_later_) return;
  // Played to the end but for an error, it holds what a backward can still read, as without segments.
  const bool stands_alone = parent_ == nullptr || parent_->state_ == State::whole;
  if (state_ == State::dropped || finished_ || (!holds_base_ && stands_alone)) return;
  const DeferDestruction until_dropped;
  const bool was_whole = std::exchange(state_, State::dropped) == State::whole;
  for_each_nested([](SegmentRegion& nested) { nested.drop(); });
  // Many losses of one segment that are played one by one must not cost a walk through all of it each.
  constexpr std::int64_t kAlwaysDerived = 64;
  if (was_whole || parts_.open < kAlwaysDerived || 8 * changes_ > parts_.open) derive();
  for_each_own_node([](Node& node) { release_saved(node); });
  for_each_nested([](SegmentRegion& nested) { nested.release_base(); });
}

}  // namespace reprise::checkpoint
