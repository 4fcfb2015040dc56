// What is known, while a program is made, of the tensors that it has: enough to choose operands that fit.
#pragma once

#include <functional>
#include <vector>

#include "bytes.h"
#include "operations.h"

namespace reprise::fuzz {

struct Sizes {
  int rank = 0;
  std::array<int, 4> n{};
  int operator[](int axis) const { return n[static_cast<std::size_t>(axis)]; }
  int& operator[](int axis) { return n[static_cast<std::size_t>(axis)]; }
  void push_back(int size) {
    if (rank < 4) n[static_cast<std::size_t>(rank++)] = size;
  }
  int last() const { return rank == 0 ? 1 : (*this)[rank - 1]; }
  int numel() const;
  bool operator==(const Sizes&) const = default;
};

struct Known {
  DType type = DType::float32;
  Sizes sizes{};
  int bound = 0;  // of integers: they are in [0, bound)
  bool alive = false;
  bool wants = false;  // a gradient
  bool leaf = false;
  bool gradient = false;  // of a leaf: a backward adds to it
  bool spent = false;     // a backward has played it, without retaining
  int tape = 0;           // of the thread on which it was recorded
  int depth = 0;          // operations between it and leaves
  std::vector<Id> parents{};
};

bool is_float(const Known& known);

/// Makes instructions, and knows what they leave behind.
class Scene {
 public:
  explicit Scene(Bytes& bytes) : bytes_(bytes) {}

  Bytes& bytes() { return bytes_; }
  const Known& operator[](Id id) const { return known_[id]; }
  Known& operator[](Id id) { return known_[id]; }
  Id size() const { return static_cast<Id>(known_.size()); }

  /// Where instructions go.
  Code* code = nullptr;
  int tape = 0;
  bool no_grad = false;
  bool concurrent = false;  // another thread runs beside this one: what it may see stays as it is
  Id first_own = 0;         // of the thread
  DType type = DType::float32;

  Instruction& emit(Instruction instruction);
  Id result(Instruction& instruction, const Known& known);

  using Fits = std::function<bool(const Known&)>;
  /// A living tensor, rather a late one; kNone when none fits.
  Id pick(const Fits& fits);
  /// The same, rather one that wants a gradient, and rather one with many operations behind it.
  Id pick_stream(const Fits& fits);
  /// One that fits, or a new leaf of these sizes.
  Id pick_or_make(const Fits& fits, DType type, const Sizes& sizes, int bound = 0);
  Id make_leaf(DType type, const Sizes& sizes, int bound = 0);
  Sizes some_sizes();
  /// Marks what a backward from `id` plays.
  void spend(Id id);

 private:
  Bytes& bytes_;
  std::vector<Known> known_;
  std::uint32_t next_ = 0;
};

/// Chooses operands and parameters of the operation that fit, and says what comes out; false where there is
/// nothing to choose from.
bool pick_operands(Scene& scene, const Operation& operation, Instruction& instruction,
                   std::vector<Known>& results);

}  // namespace reprise::fuzz
