// One recorded operation, and the seam through which regions of the tape may free and restore what nodes have
// saved.
#pragma once

#include <memory>
#include <mutex>

#include "reprise/operation.h"

namespace reprise {

struct Node;
struct Tape;

/// A contiguous stretch of the tape whose owner may drop the memory of recorded values and bring it back. The
/// tape calls it, on the thread that recorded it; checkpoint::Segment is one.
class Region : public std::enable_shared_from_this<Region> {
 public:
  Region() = default;
  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;
  virtual ~Region() = default;
  /// `node` was recorded while this region was open (the innermost one). After an exception nothing of it is
  /// known to the region.
  virtual void recorded(Node& node) = 0;
  /// `node` is about to be destroyed.
  virtual void erased(Node& node) noexcept = 0;
  /// The backward under way is going to run `node`.
  virtual void scheduled(Node& node) noexcept = 0;
  /// Backward is about to run `node`, which was scheduled: bring back and hold what it saves, if that was
  /// dropped, and drop nothing of it before it has passed.
  virtual void prepare(Node& node) = 0;
  /// Backward has run `node`, or will not run it after all; it will never run again when `for_good`.
  virtual void passed(Node& node, bool for_good) noexcept = 0;
  /// The value, produced by a node of this region, cannot be computed again: it was changed in place.
  virtual void keep(Value& value) = 0;
  /// What its memory is booked under.
  virtual MemoryTag* tag() const = 0;
};

/// Asked before the engine takes memory: a region that is kept only as long as that costs no peak may let go.
class Spare {
 public:
  virtual ~Spare() = default;
  /// `bytes` more are about to be taken for tensors of the tape.
  virtual void before_allocation(std::size_t bytes) noexcept = 0;
};

/// One recorded operation. It owns its outputs and lives as long as any of them is referred to. Allocated in
/// one piece with its operation, input pointers and outputs.
struct Node {
  const OpTable* table = nullptr;
  void* op = nullptr;
  Value** inputs = nullptr;
  std::uint32_t* versions = nullptr;  // of the inputs when they were read
  Value** outputs = nullptr;
  std::uint32_t n_inputs = 0;
  std::uint32_t n_outputs = 0;  // auxiliaries included, last
  std::size_t bytes = 0;        // of this record

  Tape* tape = nullptr;
  Node* older = nullptr;
  Node* newer = nullptr;
  Node* grave = nullptr;  // the next of those waiting to be destroyed or retired
  std::uint64_t sequence = 0;
  std::shared_ptr<Region> region;
  // For the region: its neighbours there, and scratch for walks along the reads.
  Node* region_older = nullptr;
  Node* region_newer = nullptr;
  Node* work = nullptr;
  std::uint64_t mark = 0;

  GradMask needs = 0;            // inputs that want a gradient
  const Place* place = nullptr;  // of the model, where it was recorded
  Saves saves;
  kernels::RandomKey key;
  std::uint64_t pass = 0;  // the backward call that is going to run this node
  std::atomic<std::int32_t> live_outputs{0};
  int threads = 0;           // of CPU kernels when a region recorded it, which bits depend on
  bool holds_saved = false;  // keeps the memory of what it saves
  bool played = false;       // backward has run it and freed what it saved
  bool retired = false;      // has forgotten its inputs
  bool has_kept = false;     // a region keeps one of its outputs

  std::uint32_t n_visible() const { return n_outputs - static_cast<std::uint32_t>(table->auxiliaries); }
  Device device() const { return outputs[0]->spec.device; }
};

/// The ordered list of a thread's nodes.
struct Tape {
  std::atomic<std::int64_t> refs{1};  // nodes, regions, and the thread
  Node* newest = nullptr;
  std::uint64_t next_sequence = 1;
  std::uint64_t pass = 0;  // the last backward call; no other tape has the same
  std::int64_t nodes = 0;
  Spare* spare = nullptr;  // asked before memory is taken
  std::shared_ptr<Spare> spare_owner;

  // What other threads let go (see tape_owner.h).
  std::recursive_mutex mutex;  // of the three below, and of the tape itself once its thread has ended
  bool has_thread = true;
  Value* let_go = nullptr;  // each with a user's count
  std::atomic<bool> any_let_go{false};
};

// What regions do with nodes.

/// Takes and gives back the node's hold on what it saves.
void hold_saved(Node& node) noexcept;
void release_saved(Node& node) noexcept;

/// Calls f(Value&) for every value that the node saves.
template <class F>
void for_each_saved(Node& node, F&& f) {
  for (std::uint32_t i = 0; i < node.n_inputs; ++i) {
    if (i < kMaxInputs && (node.saves.inputs >> i & 1u)) f(*node.inputs[i]);
  }
  for (std::uint32_t i = 0; i < node.n_outputs; ++i) {
    if (i < kMaxInputs && (node.saves.outputs >> i & 1u)) f(*node.outputs[i]);
  }
}

/// These nodes, linked by `grave`, will never run again: they forget their inputs, so that what only they
/// referred to can go.
void retire(Node* first) noexcept;

/// Gives back one count of the tape.
void drop_tape(Tape* tape) noexcept;

/// Records that die on this thread while it lives are destroyed when it goes, so that whoever walks along
/// records may let go of some.
class DeferDestruction {
 public:
  DeferDestruction() noexcept;
  ~DeferDestruction();
  DeferDestruction(const DeferDestruction&) = delete;
  DeferDestruction& operator=(const DeferDestruction&) = delete;

 private:
  bool outermost_;
};

/// The value was changed in place: its region, and those of what it is a view of, keep it from now on.
void keep_changed(Value& value);

/// Throws TapeError naming the value when an input's memory changed since `node` read it (`saved_only`: of
/// those saved).
void check_versions(const Node& node, bool saved_only);

/// Runs the node's forward again. Outputs without memory get some under `category`; those that exist are left
/// as they are. Returns the bytes that were filled again. The caller decides who keeps the outputs before
/// they are needed.
void replay(Node& node, Category category);

/// Frees the memory of a value that nobody keeps.
void drop_unkept(Value& value) noexcept;

}  // namespace reprise
