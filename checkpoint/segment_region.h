// A segment of the tape: what belongs to it, what it reads from outside, and whether its memory is there.
#pragma once

#include <cstdint>
#include <unordered_set>
#include <vector>

#include "reprise/checkpoint.h"
#include "reprise/context.h"
#include "value_set.h"

namespace reprise::checkpoint {

/// A number that no value of this thread is marked with.
std::uint64_t next_mark();

class SegmentRegion final : public Region {
 public:
  SegmentRegion(std::shared_ptr<SegmentRegion> parent, MemoryTag* tag, const SegmentOptions& options);
  ~SegmentRegion() override;

  void recorded(Node& node) override;
  void erased(Node& node) noexcept override;
  void prepare(Node& node) override;
  void played(Node& node, bool retained) override;
  void interrupted() noexcept override;
  void keep(Value& value) override;

  /// The scope has ended: no more nodes come.
  void close();
  /// True when no node of the segment is left to be played backward.
  bool is_finished() const { return work_ == 0; }

  /// Frees what the segment can compute again, nested segments included. Needs no memory beyond small lists.
  void drop();

  /// The least memory, in bytes above what is live when this is called, that playing the segment backward
  /// will take even if it is dropped now: to keep it costs nothing as long as no more than that is live.
  std::int64_t backward_bytes() const;

  /// Bytes of what the segment's nodes made that is there although none of them saves it: outputs.
  std::int64_t unsaved_bytes() const;

  SegmentRegion* parent() const { return parent_.get(); }
  const SegmentOptions& options() const { return options_; }
  MemoryTag* tag() const override { return tag_; }
  bool is_inside(const SegmentRegion& other) const;

 private:
  /// Something that the segment holds directly, in order: a node or a nested segment. Both null: it is gone.
  struct Item {
    Node* node = nullptr;
    SegmentRegion* nested = nullptr;
  };

  template <class F>
  void for_each_node(F&& f) const;
  template <class F>
  void for_each_node_backward(F&& f) const;

  bool owns(const Value& value) const;
  bool was_let_go(const Value& value) const;
  bool will_play(const Node& node) const;
  bool plays_now() const;
  std::vector<Value*> needed_from_outside();
  void choose_what_stays(std::uint64_t mark);
  void release_everything() noexcept;
  void restore();
  std::vector<Node*> slice_for_restore(std::uint64_t mark, std::vector<Value*>& present);
  void run_slice(const std::vector<Node*>& slice, std::uint64_t mark);
  void take_holds();

  void hold_inputs();
  void release_inputs() noexcept;
  void forget_inputs() noexcept;
  void forget_own(Value& value) noexcept;
  void note_input(Value& value);
  void finish() noexcept;

  std::shared_ptr<SegmentRegion> parent_;
  MemoryTag* tag_;
  SegmentOptions options_;
  std::size_t index_in_parent_ = 0;
  std::vector<Item> items_;
  // What the segment reads from outside, and what it keeps of its own, since that cannot be computed again.
  // The memory stays while `holds_inputs_`; the records of the inputs as long as they are listed. Own records
  // are not counted: they would keep their node alive, and that the segment.
  ValueSet inputs_;
  ValueSet kept_;
  std::unordered_set<Value*> recomputed_;  // of its own, once it is dropped: what a restore computes
  bool holds_inputs_ = true;
  bool closed_ = false;
  bool dropped_ = false;
  std::int64_t work_ = 0;  // nodes, nested ones included, that a backward has yet to play for the last time
  std::int64_t unplayed_ = 0;  // nodes that were restored for the backward under way and have not run
};

template <class F>
void SegmentRegion::for_each_node(F&& f) const {
  for (const Item& item : items_) {
    if (item.node != nullptr)
      f(*item.node);
    else if (item.nested != nullptr)
      item.nested->for_each_node(f);
  }
}

template <class F>
void SegmentRegion::for_each_node_backward(F&& f) const {
  for (auto item = items_.rbegin(); item != items_.rend(); ++item) {
    if (item->node != nullptr)
      f(*item->node);
    else if (item->nested != nullptr)
      item->nested->for_each_node_backward(f);
  }
}

/// Closed segments whose memory is kept because they may be the last before the loss.
class SpareSegments final : public Spare {
 public:
  void before_allocation(std::size_t bytes) override;
  /// Keeps `segment` for now.
  void add(SegmentRegion& segment);
  /// Drops the kept segments directly inside `parent` (null: outermost), since another one follows them.
  void drop_siblings(const SegmentRegion* parent);
  /// Forgets the segment, without dropping it.
  void remove(const SegmentRegion& segment) noexcept;

 private:
  struct Entry {
    SegmentRegion* segment;
    std::int64_t
        bound_bytes;  // live bytes, beside the segment's outputs, up to which keeping it costs no peak
  };
  void drop(std::size_t i);
  std::vector<Entry> entries_;
};

SpareSegments& spare_segments();

}  // namespace reprise::checkpoint
