// Bringing back what a backward is about to read.
#include <fmt/format.h>

#include <algorithm>

#include "segment_region.h"

namespace reprise::checkpoint {

/// Finds and runs the nodes that lead to what a segment's own nodes save and to what its nested segments
/// read: no more, and nothing is held for longer than it is needed. Only what the backward under way plays
/// counts.
class Restore {
 public:
  explicit Restore(SegmentRegion& region) : region_(region), mark_(next_mark()) {}
  Restore(const Restore&) = delete;
  Restore& operator=(const Restore&) = delete;
  ~Restore() {
    const DeferDestruction until_let_go;
    for (Value* value : held_) {
      drop_keeper(value);
      drop_ref(value);
    }
    for (Node* node : slice_) drop_ref(node->outputs[0]);
  }

  void find();
  void run();

 private:
  void want(Value& value);
  void hold(Value& value);

  SegmentRegion& region_;
  std::uint64_t mark_;
  std::vector<Node*> slice_;
  // What is there and counted on. A spared segment that lets go meanwhile must take neither memory nor
  // records along.
  std::vector<Value*> held_;
};

void Restore::hold(Value& value) {
  held_.push_back(&value);
  add_keeper(&value);
  add_ref(&value);
}

void Restore::want(Value& value) {
  if (value.storage != nullptr) return hold(value);
  if (!region_.owns(value)) {
    throw TapeError(
        fmt::format("[checkpoint] {} is needed for a replay, but its memory is gone", describe(value)));
  }
  if (value.mark != mark_) {
    value.mark = mark_;
    value.uses = 0;
    if (Node& node = *value.producer; node.mark != mark_) {
      slice_.push_back(&node);
      add_ref(node.outputs[0]);
      node.mark = mark_;
    }
  }
  ++value.uses;
}

void Restore::find() {
  region_.for_each_own_node([&](Node& node) {
    if (region_.will_play(node)) for_each_saved(node, [&](Value& value) { want(value); });
  });
  region_.for_each_nested([&](SegmentRegion& nested) {
    if (nested.parts_.scheduled == 0) return;
    if (nested.stale_) nested.derive();
    nested.inputs_.for_each([&](Value& value) { want(value); });
    nested.kept_.for_each([&](Value& value) { want(value); });
  });
  for (std::size_t i = 0; i < slice_.size(); ++i) {
    Node& node = *slice_[i];
    for (std::uint32_t k = 0; k < node.n_inputs; ++k) want(*node.inputs[k]);
  }
  for (Node* node : slice_) {
    for (std::uint32_t i = 0; i < node->n_outputs; ++i) {
      if (node->outputs[i]->storage != nullptr) hold(*node->outputs[i]);
    }
  }
  std::sort(slice_.begin(), slice_.end(),
            [](const Node* a, const Node* b) { return a->sequence < b->sequence; });
}

void Restore::run() {
  try {
    for (Node* node : slice_) {
      replay(*node, Category::recomputed);
      for (std::uint32_t i = 0; i < node->n_inputs; ++i) {
        Value& value = *node->inputs[i];
        if (value.producer != nullptr && value.mark == mark_ && --value.uses == 0) drop_unkept(value);
      }
      for (std::uint32_t i = 0; i < node->n_outputs; ++i) {
        Value& value = *node->outputs[i];
        if (value.mark != mark_ || value.uses == 0) drop_unkept(value);
      }
    }
  } catch (...) {
    for (Node* node : slice_)
      std::for_each(node->outputs, node->outputs + node->n_outputs,
                    [](Value* value) { drop_unkept(*value); });
    throw;
  }
}

/// After an exception the segment is dropped as before.
void SegmentRegion::restore() {
  Context& ctx = context();
  struct TagScope {
    Context& ctx;
    MemoryTag* before;
    ~TagScope() { ctx.tag = before; }
  } scope{ctx, std::exchange(ctx.tag, tag_.get())};
  const PhaseScope phase(Phase::replay);
  Restore replayed(*this);
  replayed.find();
  replayed.run();
  for_each_own_node([&](Node& node) {
    if (will_play(node)) hold_saved(node);
  });
  for_each_nested([](SegmentRegion& nested) {
    if (nested.parts_.scheduled > 0) nested.hold_base();
  });
  const bool for_the_last_time = plays_for_the_last_time();
  state_ = for_the_last_time ? State::whole : State::restored;
  if (!for_the_last_time) return;
  // What comes from outside the outermost one it holds for those inside, too.
  bool has_open_inside = false;
  for_each_nested([&](const SegmentRegion& nested) { has_open_inside |= nested.parts_.open > 0; });
  release_base(this == outermost_ && has_open_inside);
}

bool SegmentRegion::plays_for_the_last_time() const {
  return parts_.complete == parts_.open && !context().retaining;
}

void SegmentRegion::prepare(Node&) {
  const std::uint64_t pass = tape_->pass;
  SegmentRegion* outermost = nullptr;
  for (SegmentRegion* region = this; region != nullptr && region->prepared_pass_ != pass;
       region = region->parent())
    region->next_inward_ = std::exchange(outermost, region);
  for (SegmentRegion* region = outermost; region != nullptr; region = region->next_inward_) {
    SpareSegments::of(*tape_).remove(*region);
    if (region->state_ == State::dropped)
      region->restore();
    else if (region->closed_ && !region->kept_.empty() && region->plays_for_the_last_time())
      region->release_base(true);  // its nodes hold what they save; it would keep that until all have run
    region->prepared_pass_ = pass;
  }
}

}  // namespace reprise::checkpoint
