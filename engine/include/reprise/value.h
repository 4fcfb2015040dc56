// What a tensor handle points to: a value of the tape, and the memory that it may or may not have at the
// moment.
//
// A value is counted three times, since three questions are asked of it:
//   users    how many tensor handles point to it: "does the user still hold it?"
//   keepers  who needs its memory: all users together count once, every saved use on the tape counts once
//   refs     who needs the record itself: all users together count once, every node that reads it counts once
// All users together are one of each of the other two, so that the last decrement of each count is an
// unambiguous event even when handles of a shared parameter are dropped on several threads at once. A node
// that saves its own output is a keeper and no ref of it: the record lives in the node.
//
// The result of an operation belongs to the thread that recorded it, and only that thread takes away the last
// user: a handle that another thread lets go hands its count over to the owner (see tape_owner.h).
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "reprise/memory.h"
#include "reprise/shape.h"

namespace reprise {

class Tensor;
struct Node;

/// A piece of device memory, shared by the values that are views of it.
struct Storage {
  std::atomic<std::int32_t> refs{1};
  std::atomic<std::uint32_t> version{0};  // counts changes in place
  std::atomic<std::uint64_t> mark{0};     // scratch of whoever adds up bytes
  void* data = nullptr;
  MemoryBlock* block = nullptr;  // null when empty

  std::size_t bytes() const { return block == nullptr ? 0 : block->requested; }
};

/// Memory for a tensor, in the pool's books under `category`, the open segment and what the thread is doing.
/// Throws OutOfMemory.
Storage* allocate_storage(const Spec& spec, Category category);
void retain(Storage* storage) noexcept;
void release(Storage* storage) noexcept;

using GradientHook = std::function<Tensor(const Tensor&)>;

/// Rarely used parts of a value.
struct ValueExtras {
  std::string name;
  std::vector<std::shared_ptr<const GradientHook>> hooks;  // shared: one that runs may add others
};

struct Value {
  std::atomic<std::int32_t> users{0};
  std::atomic<std::int32_t> keepers{0};
  std::atomic<std::int32_t> refs{0};
  std::uint16_t output_index = 0;
  bool requires_grad = false;
  bool is_leaf = true;  // no backward goes through it: recorded results that want no gradient are leaves, too
  bool pinned = false;  // was changed in place after it was produced: a replay would not give it again
  bool gradient_incomplete = false;  // a backward stopped after it had added to an existing gradient
  Spec spec;
  std::array<std::int64_t, kMaxRank> strides{};
  std::int64_t offset = 0;        // elements from the start of the storage
  Storage* storage = nullptr;     // null while dropped
  Node* producer = nullptr;       // null for what no recorded operation made
  Value* gradient = nullptr;      // accumulated (leaf) or pending (during backward); owned as a user
  std::uint64_t wanted_pass = 0;  // the backward call that asked for this result's gradient by name
  // The backward call that adds to this leaf's gradient, 0 for none: others, on other threads, wait for it.
  std::atomic<std::uint64_t> claimed_by{0};
  Value* next_let_go = nullptr;  // of those that other threads let go
  // Scratch of the region that is dropping or restoring this value; only results of operations are marked.
  std::uint64_t mark = 0;
  std::int32_t uses = 0;
  std::unique_ptr<ValueExtras> extras;

  std::uint32_t version() const {
    return storage == nullptr ? 0 : storage->version.load(std::memory_order_relaxed);
  }
  /// May be asked of a leaf while another thread adds its first gradient.
  bool has_gradient() const {
    return std::atomic_ref(const_cast<Value*&>(gradient)).load(std::memory_order_relaxed) != nullptr;
  }
  void* data() const {
    return storage == nullptr || storage->data == nullptr
               ? nullptr
               : static_cast<std::byte*>(storage->data) +
                     offset * static_cast<std::int64_t>(size_of(spec.dtype));
  }
};

/// The sizes, strides and memory of a value, for a kernel. An empty or dropped value has a null pointer.
kernels::View view_of(const Value& value);

/// "weight 'h.0.mlp.c_fc.weight' (768, 3072)", "output 0 of softmax (4, 8)": how errors name a value.
std::string describe(const Value& value);

/// A new leaf without storage, owned by nobody yet.
Value* make_leaf(const Spec& spec);

// The three counts.
void add_user(Value* value) noexcept;
void drop_user(Value* value) noexcept;
void add_keeper(Value* value) noexcept;
void drop_keeper(Value* value) noexcept;
void add_ref(Value* value) noexcept;
void drop_ref(Value* value) noexcept;

}  // namespace reprise
