#include "segment_region.h"

#include <fmt/format.h>

#include <algorithm>

namespace reprise::checkpoint {
namespace {

/// True when the value must be kept, since nothing can compute it again.
bool must_stay(const Value& value) { return value.pinned || !value.producer->table->replayable; }

bool needs_memory(const Value& value, std::uint64_t mark) {
  return value.mark == mark && value.storage == nullptr;
}

/// Values whose memory must not go while they are listed.
class Held {
 public:
  explicit Held(std::vector<Value*> values) : values_(std::move(values)) {
    for (Value* value : values_) add_keeper(value);
  }
  ~Held() {
    for (Value* value : values_) drop_keeper(value);
  }
  Held(const Held&) = delete;
  Held& operator=(const Held&) = delete;

 private:
  std::vector<Value*> values_;
};

}  // namespace

std::uint64_t next_mark() {
  static thread_local std::uint64_t mark = 0;
  return ++mark;
}

SegmentRegion::SegmentRegion(std::shared_ptr<SegmentRegion> parent, MemoryTag* tag,
                             const SegmentOptions& options)
    : parent_(std::move(parent)), tag_(tag), options_(options) {
  if (parent_ == nullptr) return;
  index_in_parent_ = parent_->items_.size();
  parent_->items_.push_back({nullptr, this});
}

SegmentRegion::~SegmentRegion() {
  spare_segments().remove(*this);
  if (parent_ != nullptr) parent_->items_[index_in_parent_].nested = nullptr;
  forget_inputs();
}

bool SegmentRegion::is_inside(const SegmentRegion& other) const {
  for (const SegmentRegion* region = this; region != nullptr; region = region->parent()) {
    if (region == &other) return true;
  }
  return false;
}

bool SegmentRegion::owns(const Value& value) const {
  if (value.producer == nullptr || value.producer->region == nullptr) return false;
  return static_cast<const SegmentRegion*>(value.producer->region.get())->is_inside(*this);
}

/// True when a nested segment that is dropped counts on computing the value again: whoever holds it now, what
/// the nested segment computes it from must stay.
bool SegmentRegion::was_let_go(const Value& value) const {
  if (!owns(value)) return false;
  const auto* region = static_cast<const SegmentRegion*>(value.producer->region.get());
  for (; region != this; region = region->parent()) {
    if (region->dropped_ && region->recomputed_.contains(const_cast<Value*>(&value))) return true;
  }
  return false;
}

/// Backward is going to run this node: it was marked by the call under way and has not run.
bool SegmentRegion::will_play(const Node& node) const {
  return node.needs != 0 && !node.played && node.pass == node.tape->passes;
}

bool SegmentRegion::plays_now() const {
  bool any = false;
  for_each_node([&](const Node& node) { any |= will_play(node); });
  return any;
}

void SegmentRegion::hold_inputs() {
  if (std::exchange(holds_inputs_, true)) return;
  inputs_.for_each([](Value& value) { add_keeper(&value); });
  kept_.for_each([](Value& value) { add_keeper(&value); });
}

void SegmentRegion::release_inputs() noexcept {
  if (!std::exchange(holds_inputs_, false)) return;
  inputs_.for_each([](Value& value) { drop_keeper(&value); });
  kept_.for_each([](Value& value) { drop_keeper(&value); });
}

void SegmentRegion::forget_inputs() noexcept {
  release_inputs();
  kept_.clear();
  std::exchange(inputs_, {}).for_each([](Value& value) { drop_ref(&value); });
}

void SegmentRegion::forget_own(Value& value) noexcept {
  for (SegmentRegion* region = this; region != nullptr; region = region->parent()) {
    region->recomputed_.erase(&value);
    if (!region->kept_.empty() && region->kept_.erase(&value) && region->holds_inputs_) drop_keeper(&value);
  }
}

void SegmentRegion::keep(Value& value) {
  for (SegmentRegion* region = this; region != nullptr; region = region->parent()) {
    if (region->kept_.insert(&value) && region->holds_inputs_) add_keeper(&value);
  }
}

/// A segment lists what its nested ones read, too: they forget it when they have been played, and it may not
/// have been.
void SegmentRegion::note_input(Value& value) {
  for (SegmentRegion* region = this; region != nullptr && !region->owns(value); region = region->parent()) {
    if (!region->inputs_.insert(&value)) continue;
    add_ref(&value);
    if (region->holds_inputs_) add_keeper(&value);
  }
}

void SegmentRegion::recorded(Node& node) {
  node.region_index = items_.size();
  items_.push_back({&node, nullptr});
  try {
    for (std::uint32_t i = 0; i < node.n_inputs; ++i) note_input(*node.inputs[i]);
    if (!node.table->replayable)
      std::for_each(node.outputs, node.outputs + node.n_outputs, [&](Value* value) { keep(*value); });
  } catch (...) {
    std::for_each(node.outputs, node.outputs + node.n_outputs, [&](Value* value) { forget_own(*value); });
    items_.pop_back();
    throw;
  }
  if (node.needs == 0) return;
  for (SegmentRegion* region = this; region != nullptr; region = region->parent()) ++region->work_;
}

void SegmentRegion::erased(Node& node) noexcept {
  items_[node.region_index].node = nullptr;
  std::for_each(node.outputs, node.outputs + node.n_outputs, [&](Value* value) { forget_own(*value); });
  if (node.needs == 0 || node.played) return;
  for (SegmentRegion* region = this; region != nullptr; region = region->parent()) {
    if (--region->work_ == 0 && region->closed_) region->finish();
  }
}

void SegmentRegion::close() {
  closed_ = true;
  if (is_finished()) finish();
}

/// Nothing of the segment will be played again. Its nodes that want no gradient would otherwise refer to
/// their inputs for as long as the user holds a result, and those to theirs: a running average would grow
/// with every step.
void SegmentRegion::finish() noexcept {
  spare_segments().remove(*this);
  forget_inputs();
  if (parent_ != nullptr) return;
  Node* idle = nullptr;
  for_each_node([&](Node& node) {
    const bool dying = node.live_outputs.load(std::memory_order_relaxed) == 0;
    if (node.needs == 0 && !dying) node.grave = std::exchange(idle, &node);
  });
  retire(idle);
}

/// What must be held so that everything that backward reads can be there again: what is read from outside,
/// and what of the segment's own cannot be computed again; a value may be listed several times. Follows the
/// reads from the saved values backward, and notes what will be computed again.
std::vector<Value*> SegmentRegion::needed_from_outside() {
  const std::uint64_t mark = next_mark();
  if (options_.drop == Drop::cheap) choose_what_stays(mark);
  std::vector<Value*> needed;
  const auto need = [&](Value& value) {
    const bool chosen =
        value.mark == mark && value.uses < 0 && value.storage != nullptr && !was_let_go(value);
    if (!owns(value) || must_stay(value) || chosen) {
      needed.push_back(&value);
    } else if (value.mark != mark || value.uses <= 0) {
      value.mark = mark;
      value.uses = 1;
    }
  };
  for_each_node_backward([&](Node& node) {
    if (node.needs != 0 && !node.played) for_each_saved(node, need);
    const bool in_slice = std::any_of(node.outputs, node.outputs + node.n_outputs, [&](const Value* value) {
      return value->mark == mark && value->uses > 0;
    });
    if (!in_slice) return;
    for (std::uint32_t i = 0; i < node.n_inputs; ++i) need(*node.inputs[i]);
  });
  recomputed_.clear();
  for_each_node([&](const Node& node) {
    for (std::uint32_t i = 0; i < node.n_outputs; ++i) {
      Value* const value = node.outputs[i];
      if (value->mark == mark && value->uses > 0) recomputed_.insert(value);
    }
  });
  return needed;
}

/// For Drop::cheap: marks with uses = -1 the saved values that stay. A value goes only when a cheap operation
/// can compute it from what is there: inputs from outside, what stays, or what goes by the same rule.
void SegmentRegion::choose_what_stays(std::uint64_t mark) {
  constexpr std::int32_t kUnavailable = -2;  // not there, and not cheap to have again
  constexpr std::int32_t kStays = -1;
  constexpr std::int32_t kSaved = -3;
  for_each_node([&](Node& node) {
    for (std::uint32_t i = 0; i < node.n_outputs; ++i) {
      node.outputs[i]->mark = mark;
      node.outputs[i]->uses = kUnavailable;
    }
  });
  for_each_node([&](Node& node) {
    if (node.needs == 0) return;
    for_each_saved(node, [&](Value& value) {
      if (owns(value)) value.uses = kSaved;
    });
  });
  for_each_node([&](Node& node) {
    bool cheap = node.table->cheap;
    for (std::uint32_t i = 0; i < node.n_inputs; ++i) {
      const Value& input = *node.inputs[i];
      cheap = cheap && (!owns(input) || input.uses != kUnavailable);
    }
    for (std::uint32_t i = 0; i < node.n_outputs; ++i) {
      Value& value = *node.outputs[i];
      if (must_stay(value))
        value.uses = kStays;
      else if (cheap)
        value.uses = 0;
      else if (value.uses == kSaved)
        value.uses = kStays;
    }
  });
}

void SegmentRegion::drop() {
  spare_segments().remove(*this);
  if (dropped_) return;
  // Nested segments first: what they count on computing again decides what must stay here.
  for (const Item& item : items_) {
    if (item.nested != nullptr) item.nested->drop();
  }
  ValueSet outside;
  ValueSet own;
  for (Value* value : needed_from_outside()) (owns(*value) ? own : outside).insert(value);
  outside.for_each([](Value& value) {
    add_ref(&value);
    add_keeper(&value);
  });
  own.for_each([](Value& value) { add_keeper(&value); });
  release_everything();
  inputs_ = std::move(outside);
  kept_ = std::move(own);
  holds_inputs_ = true;
}

/// Gives back every hold of the segment, its nodes and its nested segments, which are dropped. Nested
/// segments keep their lists of inputs, to hold them again when this one is restored.
void SegmentRegion::release_everything() noexcept {
  dropped_ = true;
  unplayed_ = 0;
  for (const Item& item : items_) {
    if (item.node != nullptr)
      release_saved(*item.node);
    else if (item.nested != nullptr)
      item.nested->release_inputs();
  }
  forget_inputs();
}

void SegmentRegion::prepare(Node& node) {
  if (parent_ != nullptr) parent_->prepare(node);
  spare_segments().remove(*this);
  if (dropped_) restore();
}

void SegmentRegion::played(Node&, bool retained) {
  for (SegmentRegion* region = this; region != nullptr; region = region->parent()) {
    if (!retained) --region->work_;
    const bool last = region->unplayed_ > 0 && --region->unplayed_ == 0;
    if (region->is_finished() && region->closed_)
      region->finish();
    else if (last)
      region->drop();
  }
}

void SegmentRegion::interrupted() noexcept {
  for (SegmentRegion* region = this; region != nullptr; region = region->parent()) {
    if (region->unplayed_ > 0) region->drop();
  }
}

/// Brings back what the segment's own nodes save and what its nested segments read: no more, and nothing for
/// longer than it is needed. After an exception the segment is dropped as before.
void SegmentRegion::restore() {
  Context& ctx = context();
  struct TagScope {
    Context& ctx;
    MemoryTag* before;
    ~TagScope() { ctx.tag = before; }
  } scope{ctx, std::exchange(ctx.tag, tag_)};
  const PhaseScope phase(Phase::replay);
  const std::uint64_t mark = next_mark();
  std::vector<Value*> present;
  const std::vector<Node*> slice = slice_for_restore(mark, present);
  const Held held(std::move(present));  // a spared segment that lets go meanwhile must not take them along
  run_slice(slice, mark);
  for_each_node([&](const Node& node) { unplayed_ += will_play(node) ? 1 : 0; });
  take_holds();
  dropped_ = false;
  if (unplayed_ == work_ && !ctx.retaining) forget_inputs();
}

void SegmentRegion::take_holds() {
  for (const Item& item : items_) {
    if (item.node != nullptr) {
      if (will_play(*item.node)) hold_saved(*item.node);
    } else if (item.nested != nullptr && item.nested->plays_now()) {
      item.nested->hold_inputs();
    }
  }
}

/// The nodes to run, oldest first. Marks the values that they give back, with the number of their uses.
std::vector<Node*> SegmentRegion::slice_for_restore(std::uint64_t mark, std::vector<Value*>& present) {
  const auto want = [&](Value& value) {
    if (value.storage != nullptr) {
      present.push_back(&value);
      return;
    }
    if (!owns(value) || must_stay(value)) {
      throw TapeError(fmt::format(
          "[checkpoint] {} is needed for a replay, but its memory is gone; was this part of the tape "
          "played without retain_tape before?",
          describe(value)));
    }
    if (value.mark != mark) {
      value.mark = mark;
      value.uses = 0;
    }
    ++value.uses;
  };
  for (const Item& item : items_) {
    if (item.node != nullptr && will_play(*item.node)) for_each_saved(*item.node, want);
    if (item.nested == nullptr || !item.nested->plays_now()) continue;
    item.nested->inputs_.for_each(want);
    item.nested->kept_.for_each(want);
  }
  std::vector<Node*> slice;
  for_each_node_backward([&](Node& node) {
    const bool wanted = std::any_of(node.outputs, node.outputs + node.n_outputs,
                                    [&](const Value* value) { return needs_memory(*value, mark); });
    if (!wanted) return;
    slice.push_back(&node);
    for (std::uint32_t i = 0; i < node.n_inputs; ++i) want(*node.inputs[i]);
  });
  std::reverse(slice.begin(), slice.end());
  return slice;
}

void SegmentRegion::run_slice(const std::vector<Node*>& slice, std::uint64_t mark) {
  try {
    for (Node* node : slice) {
      replay(*node, Category::recomputed);
      for (std::uint32_t i = 0; i < node->n_inputs; ++i) {
        Value& value = *node->inputs[i];
        if (value.producer != nullptr && value.mark == mark && --value.uses == 0) drop_unkept(value);
      }
      for (std::uint32_t i = 0; i < node->n_outputs; ++i) {
        Value& value = *node->outputs[i];
        if (value.mark != mark || value.uses == 0) drop_unkept(value);
      }
    }
  } catch (...) {
    for (Node* node : slice)
      std::for_each(node->outputs, node->outputs + node->n_outputs,
                    [](Value* value) { drop_unkept(*value); });
    throw;
  }
}

}  // namespace reprise::checkpoint
