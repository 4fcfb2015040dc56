#include "segment_region.h"

#include <fmt/format.h>

#include <algorithm>

namespace reprise::checkpoint {
namespace {

std::uint64_t next_mark() {
  static thread_local std::uint64_t mark = 0;
  return ++mark;
}

/// True when the operation's outputs must be kept, since running it again is not allowed.
bool must_stay(const Node& node) {
  if (!node.table->replayable) return true;
  return std::any_of(node.outputs, node.outputs + node.n_outputs, [](const Value* value) { return value->pinned; });
}

bool needs_memory(const Value& value, std::uint64_t mark) { return value.mark == mark && value.storage == nullptr; }

}  // namespace

SegmentRegion::SegmentRegion(std::shared_ptr<SegmentRegion> parent, MemoryTag* tag, const SegmentOptions& options)
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

template <class F>
void SegmentRegion::for_each_node(F&& f) const {
  for (const Item& item : items_) {
    if (item.node != nullptr) f(*item.node);
    else if (item.nested != nullptr) item.nested->for_each_node(f);
  }
}

template <class F>
void SegmentRegion::for_each_node_backward(F&& f) const {
  for (auto item = items_.rbegin(); item != items_.rend(); ++item) {
    if (item->node != nullptr) f(*item->node);
    else if (item->nested != nullptr) item->nested->for_each_node_backward(f);
  }
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

/// Backward is going to run this node: it was marked by the call under way and has not run.
bool SegmentRegion::will_play(const Node& node) const {
  return node.needs != 0 && !node.played && node.pass == node.tape->passes;
}

bool SegmentRegion::has_work() const {
  bool any = false;
  for_each_node([&](const Node& node) { any |= will_play(node); });
  return any;
}

void SegmentRegion::hold_inputs() {
  if (holds_inputs_) return;
  for (Value* value : inputs_) add_keeper(value);
  holds_inputs_ = true;
}

void SegmentRegion::release_inputs() noexcept {
  if (!holds_inputs_) return;
  holds_inputs_ = false;
  for (Value* value : inputs_) drop_keeper(value);
}

void SegmentRegion::forget_inputs() noexcept {
  release_inputs();
  for (Value* value : std::exchange(inputs_, {})) drop_ref(value);
}

void SegmentRegion::recorded(Node& node) {
  node.region_index = items_.size();
  items_.push_back({&node, nullptr});
  try {
    for (std::uint32_t i = 0; i < node.n_inputs; ++i) {
      Value* value = node.inputs[i];
      if (owns(*value) || !inputs_.insert(value).second) continue;
      add_ref(value);
      add_keeper(value);
    }
  } catch (...) {
    items_.pop_back();
    throw;
  }
}

void SegmentRegion::erased(Node& node) noexcept { items_[node.region_index].node = nullptr; }

/// What must be held so that everything that backward reads can be there again: what is read from outside, and what of the
/// segment's own cannot be computed again. Follows the reads from the saved values backward.
std::vector<Value*> SegmentRegion::needed_from_outside() {
  const std::uint64_t mark = next_mark();
  if (options_.drop == Drop::cheap) choose_what_stays(mark);
  std::vector<Value*> needed;
  const auto need = [&](Value& value) {
    if (!owns(value)) {
      needed.push_back(&value);
      return;
    }
    const bool stays = must_stay(*value.producer) || (value.mark == mark && value.uses < 0);
    if (stays) needed.push_back(&value);
    else if (value.mark != mark || value.uses == 0) {
      value.mark = mark;
      value.uses = 1;
    }
  };
  for_each_node_backward([&](Node& node) {
    if (node.needs != 0 && !node.played) for_each_saved(node, need);
    const bool in_slice = !must_stay(node) && std::any_of(node.outputs, node.outputs + node.n_outputs, [&](const Value* value) {
      return value->mark == mark && value->uses > 0;
    });
    if (!in_slice) return;
    for (std::uint32_t i = 0; i < node.n_inputs; ++i) need(*node.inputs[i]);
  });
  std::sort(needed.begin(), needed.end());
  needed.erase(std::unique(needed.begin(), needed.end()), needed.end());
  return needed;
}

/// For Drop::cheap: marks with uses = -1 the saved values that stay. A value goes only when a cheap operation can compute it
/// from what is there: inputs from outside, what stays, or what goes by the same rule.
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
      if (cheap) value.uses = 0;
      else if (value.uses == kSaved) value.uses = kStays;
    }
  });
}

void SegmentRegion::drop() {
  const std::vector<Value*> needed = needed_from_outside();
  for (Value* value : needed) {
    add_ref(value);
    add_keeper(value);
  }
  release_everything();
  inputs_.insert(needed.begin(), needed.end());
  holds_inputs_ = true;
}

/// Gives back every hold of the segment, its nodes and its nested segments. Nested segments keep their lists of inputs, to
/// hold them again when this one is restored.
void SegmentRegion::release_everything() noexcept {
  dropped_ = true;
  unplayed_ = 0;
  for (const Item& item : items_) {
    if (item.node != nullptr) {
      release_saved(*item.node);
    } else if (item.nested != nullptr) {
      if (!item.nested->dropped_) item.nested->drop();
      item.nested->release_inputs();
    }
  }
  forget_inputs();
}

void SegmentRegion::prepare(Node& node) {
  if (parent_ != nullptr) parent_->prepare(node);
  spare_segments().remove(*this);
  if (dropped_) restore();
}

void SegmentRegion::played(Node& node, bool retained) {
  if (unplayed_ > 0 && --unplayed_ == 0 && retained) drop();
  if (parent_ != nullptr) parent_->played(node, retained);
}

/// Brings back what the segment's own nodes save and what its nested segments read: no more, and nothing for longer than it is
/// needed. After an exception the segment is dropped as before.
void SegmentRegion::restore() {
  Context& ctx = context();
  struct TagScope {
    Context& ctx;
    MemoryTag* before;
    ~TagScope() { ctx.tag = before; }
  } scope{ctx, std::exchange(ctx.tag, tag_)};
  const std::uint64_t mark = next_mark();
  const std::vector<Node*> slice = slice_for_restore(mark);
  run_slice(slice, mark);
  bool all_play = true;
  for_each_node([&](const Node& node) {
    if (will_play(node)) ++unplayed_;
    else all_play = all_play && node.needs == 0;
  });
  take_holds();
  dropped_ = false;
  if (all_play && !ctx.retaining) forget_inputs();
}

void SegmentRegion::take_holds() {
  for (const Item& item : items_) {
    if (item.node != nullptr) {
      if (will_play(*item.node)) hold_saved(*item.node);
    } else if (item.nested != nullptr && item.nested->has_work()) {
      item.nested->hold_inputs();
    }
  }
}

/// The nodes to run, oldest first. Marks the values that they give back, with the number of their uses.
std::vector<Node*> SegmentRegion::slice_for_restore(std::uint64_t mark) {
  const auto want = [&](Value& value) {
    if (value.storage != nullptr) return;
    if (!owns(value)) {
      throw TapeError(fmt::format("[checkpoint] {} is needed for a replay, but its memory is gone; was this part of the tape "
                                  "played without retain_tape before?", describe(value)));
    }
    if (value.mark != mark) {
      value.mark = mark;
      value.uses = 0;
    }
    ++value.uses;
  };
  for (const Item& item : items_) {
    if (item.node != nullptr && will_play(*item.node)) for_each_saved(*item.node, want);
    if (item.nested == nullptr || !item.nested->has_work()) continue;
    for (Value* value : item.nested->inputs_) {
      if (owns(*value)) want(*value);
    }
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
    for (Node* node : slice) std::for_each(node->outputs, node->outputs + node->n_outputs, [](Value* value) { drop_unkept(*value); });
    throw;
  }
}

std::int64_t SegmentRegion::backward_bytes() const {
  const std::uint64_t mark = next_mark();
  std::unordered_set<const Value*> outside;
  std::int64_t live = 0;
  std::int64_t most = 0;
  const auto bytes = [](const Value& value) { return static_cast<std::int64_t>(value.spec.bytes()); };
  for_each_node_backward([&](const Node& node) {
    if (node.needs == 0) return;
    const OpTable& table = *node.table;
    for (std::uint32_t i = 0; i < node.n_visible(); ++i) {
      Value& output = *node.outputs[i];
      if (!output.requires_grad || output.mark == mark) continue;
      output.mark = mark;
      live += bytes(output);
    }
    for (std::uint32_t i = 0; i < node.n_inputs; ++i) {
      Value& input = *node.inputs[i];
      if (!(node.needs >> i & 1u) || (i == 0 && (table.gradient_in_place || table.view != nullptr))) continue;
      if (table.passes_gradient >> i & 1u) continue;
      if (owns(input)) {
        if (std::exchange(input.mark, mark) != mark) live += bytes(input);
      } else if (input.gradient == nullptr && outside.insert(&input).second) {
        live += bytes(input);
      }
    }
    most = std::max(most, live);
    for (std::uint32_t i = 0; i < node.n_visible(); ++i) {
      if (node.outputs[i]->requires_grad) live -= bytes(*node.outputs[i]);
    }
    for (std::uint32_t i = 0; i < node.n_inputs; ++i) {
      if ((node.saves.inputs >> i & 1u) && owns(*node.inputs[i])) live -= bytes(*node.inputs[i]);
    }
  });
  return most;
}

}  // namespace reprise::checkpoint
