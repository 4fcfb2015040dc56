// A segment of the tape: what belongs to it, what it reads from outside, and whether its memory is there.
//
// A segment is in one of three states:
//   whole     its nodes hold what they save, as without segments: it is open, spared, or restored for the
//   last time dropped   nothing is held but the base: what it reads from outside, and what of its own cannot
//   be computed again restored  dropped, but what the backward under way will play is there
// The base of a segment inside a dropped one is not held either: the outer segment brings it back with the
// rest.
//
// Nothing here is decided once and trusted later: what a replay needs is followed along the reads from the
// nodes that are still to be played, when a segment is dropped and again when something in it has gone since.
// Only the lists of what may have to be held are made early, while nodes are recorded, so that dropping takes
// no memory.
#pragma once

#include <cstdint>
#include <vector>

#include "reprise/checkpoint.h"
#include "reprise/context.h"
#include "value_set.h"

namespace reprise::checkpoint {

/// A number that nothing is marked with.
std::uint64_t next_mark() noexcept;

class SegmentRegion final : public Region {
 public:
  SegmentRegion(std::shared_ptr<SegmentRegion> parent, Tape& tape, std::shared_ptr<MemoryTag> tag,
                const SegmentOptions& options);
  ~SegmentRegion() override;

  void recorded(Node& node) override;
  void erased(Node& node) noexcept override;
  void scheduled(Node& node) noexcept override;
  void prepare(Node& node) override;
  void passed(Node& node, bool for_good) noexcept override;
  void keep(Value& value) override;

  /// The scope has ended: no more nodes come. With `may_drop` the segment is dropped, or spared if its
  /// options say so and it may be the last before the loss.
  void close(bool may_drop) noexcept;
  bool is_closed() const { return closed_; }
  /// The scope has ended on another thread, which may not touch the tape.
  void abandon() noexcept {
    abandoned_.store(true, std::memory_order_relaxed);
    outermost_->abandoned_inside_.store(true, std::memory_order_relaxed);
  }

  /// Frees what the segment can compute again, nested segments included.
  void drop() noexcept;

  /// The least memory, in bytes above what is live when this is called, that playing the segment backward
  /// will take even if it is dropped now: to keep it costs nothing as long as no more than that is live. Only
  /// directly after the segment has closed.
  std::int64_t backward_bytes() noexcept;

  /// Bytes of what the segment's nodes made that is there although none of them saves it: outputs.
  std::int64_t unsaved_bytes() const noexcept;

  SegmentRegion* parent() const { return parent_.get(); }
  const Tape& tape() const { return *tape_; }
  const SegmentOptions& options() const { return options_; }
  MemoryTag* tag() const override { return tag_.get(); }

 private:
  friend class SpareSegments;
  friend class Restore;
  enum class State : std::uint8_t { whole, dropped, restored };

  /// How many parts of a segment (its own nodes and the segments directly inside) have something in them ...
  struct Parts {
    std::int64_t open = 0;       // that a backward has yet to play for the last time
    std::int64_t scheduled = 0;  // that the backward under way will play
    std::int64_t complete = 0;   // of which it will play everything that is open
  };

  template <class F>
  void for_each_own_node(F&& f) const;
  template <class F>
  void for_each_nested(F&& f) const;
  template <class Self, class F>
  static void for_each_inside_of(Self& self, F&& f);
  template <class F>
  void for_each_inside(F&& f) const {
    for_each_inside_of(*this, f);
  }
  template <class F>
  void for_each_node(F&& f) const;
  template <class F>
  void for_each_node_backward(F&& f) const;

  std::shared_ptr<SegmentRegion> leave_parent() noexcept;

  // segment_region.cpp: what belongs to the segment, and how much of it is to be played
  bool owns(const Value& value) const;
  bool will_play(const Node& node) const;
  template <class F>
  void for_each_lister(const Value& value, F&& f);
  void reserve_kept(std::uint32_t outputs);
  void forget_kept(const Value& value) noexcept;
  void close_if_abandoned();
  void link(Node& node) noexcept;
  void unlink(Node& node) noexcept;
  bool report_parts() noexcept;
  void parts_changed() noexcept;
  void settle() noexcept;
  void finish() noexcept;
  void forget_idle() noexcept;
  void note_change() noexcept;

  // segment_drop.cpp: what stays, what goes
  void choose_what_stays() noexcept;
  void follow_reads(std::uint64_t mark, std::uint64_t outermost_mark) noexcept;
  void derive() noexcept;
  void hold_base() noexcept;
  void release_base(bool but_inputs = false) noexcept;
  void forget_base() noexcept;

  // segment_restore.cpp
  void restore();
  bool plays_for_the_last_time() const;

  std::shared_ptr<SegmentRegion> parent_;  // null once this one is alone
  Tape* tape_;                             // counted
  std::shared_ptr<MemoryTag> tag_;         // whose pool may go first
  SegmentOptions options_;
  std::uint64_t first_;              // numbers of the first node that can belong to it, nested ones included,
  std::uint64_t last_ = UINT64_MAX;  // and of the last
  Node* newest_node_ = nullptr;      // of its own, linked by region_older
  SegmentRegion* newest_nested_ = nullptr;
  SegmentRegion* older_sibling_ = nullptr;
  SegmentRegion* newer_sibling_ = nullptr;
  SegmentRegion* outermost_;        // around or at this
  SegmentRegion* cheap_ = nullptr;  // the innermost one around or at this that drops only what is cheap
  int height_ = 0;                  // levels of segments inside

  // The base, and while the segment is whole what the base will be chosen from: what it and those inside read
  // from outside, with a count of the record, and values of its own. Their memory is held while
  // `holds_base_`. What comes from outside all segments the outermost lists for all. Own records are not
  // counted: they would keep their node alive, and that the segment.
  ValueSet inputs_;
  ValueSet kept_;
  std::int64_t own_outputs_ = 0;  // that kept_ has room for, in a segment with Drop::cheap

  State state_ = State::whole;
  bool holds_base_ = true;
  bool holds_inputs_ = false;  // those alone, for the segments inside
  bool closed_ = false;
  bool finished_ = false;
  bool stale_ = false;           // something in it was played or has gone since the base was derived
  bool drops_later_ = false;     // it was to be dropped while it was being played
  std::int64_t changes_ = 0;     // own nodes that were played or have gone since then
  std::int64_t idle_nodes_ = 0;  // of an outermost one, those inside included: that want no gradient
  std::atomic<bool> abandoned_{false};
  std::atomic<bool> abandoned_inside_{false};  // in an outermost one: it, or one inside, is
  Parts parts_;
  bool counted_open_ = false;  // as what the parent counts this segment
  bool counted_scheduled_ = false;
  bool counted_complete_ = false;
  std::uint64_t prepared_pass_ = 0;
  SegmentRegion* next_inward_ = nullptr;  // scratch of prepare

  // For SpareSegments.
  bool spared_ = false;
  SegmentRegion* older_spared_ = nullptr;
  SegmentRegion* newer_spared_ = nullptr;
  std::int64_t bound_bytes_ = 0;  // live bytes, beside its outputs, up to which keeping it costs no peak
};

template <class F>
void SegmentRegion::for_each_own_node(F&& f) const {
  for (Node* node = newest_node_; node != nullptr; node = node->region_older) f(*node);
}

template <class F>
void SegmentRegion::for_each_nested(F&& f) const {
  for (SegmentRegion* nested = newest_nested_; nested != nullptr; nested = nested->older_sibling_) f(*nested);
}

/// Nested ones included, in no order that means anything.
template <class F>
void SegmentRegion::for_each_node(F&& f) const {
  for_each_inside([&](const SegmentRegion& region) { region.for_each_own_node(f); });
}

/// The segment itself, and all inside.
template <class Self, class F>
void SegmentRegion::for_each_inside_of(Self& self, F&& f) {
  Self* region = &self;
  while (true) {
    f(*region);
    if (region->newest_nested_ != nullptr) {
      region = region->newest_nested_;
      continue;
    }
    while (region != &self && region->older_sibling_ == nullptr) region = region->parent();
    if (region == &self) return;
    region = region->older_sibling_;
  }
}

/// Nested ones included, newest first; only directly after the segment has closed, when nothing follows it.
template <class F>
void SegmentRegion::for_each_node_backward(F&& f) const {
  for (Node* node = tape_->newest; node != nullptr && node->sequence >= first_; node = node->older) f(*node);
}

/// Closes this thread's open segments from the innermost to `outermost`, which is one of them.
void close_segments_up_to(SegmentRegion& outermost, bool may_drop) noexcept;

/// Closed segments whose memory is kept because they may be the last before the loss.
class SpareSegments final : public Spare {
 public:
  /// Those of a tape; made with its first segment.
  static SpareSegments& of(Tape& tape);

  void before_allocation(std::size_t bytes) noexcept override;
  /// Keeps `segment`, which has just closed, for now.
  void add(SegmentRegion& segment) noexcept;
  /// Drops the kept segments directly inside `parent` (null: outermost), since another one follows them.
  void drop_siblings(const SegmentRegion* parent) noexcept;
  /// Forgets the segment, without dropping it.
  void remove(SegmentRegion& segment) noexcept;

 private:
  explicit SpareSegments(Tape& tape) : tape_(tape) {}

  Tape& tape_;
  SegmentRegion* oldest_ = nullptr;
  SegmentRegion* newest_ = nullptr;
};

}  // namespace reprise::checkpoint
