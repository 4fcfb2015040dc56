// What an operation is: a plain value with a fixed contract, erased into a table of functions in one place,
// recorded by one function, `apply`.
//
//   struct Softmax {
//     static constexpr std::string_view name = "softmax";
//     Saves saves(GradMask needs) const;                     // what backward reads
//     Specs infer(SpecSpan in) const;                        // what comes out; throws ShapeError, TypeError
//     void forward(const Exec&, Inputs, Outputs) const;      // pure: fills outputs that already exist
//     void backward(const Exec&, const Saved&, OutGrads, GradSlots) const;  // each slot: skip, write or add
//     bool operator==(const Softmax&) const = default;
//   };
//
// Every view that `forward` and `backward` see, and every slot, is row-major without gaps: what lies
// otherwise (transposed, sliced, expanded, channels-last) is copied to scratch, and gradients from there. So
// are the outputs, whatever `infer` says of their order. An operation that follows strides itself says
// `any_layout`.
//
// An operation without `backward` and `saves` gives no gradients. Moving one must not throw. Optional
// members:
//
// clang-format off
//   static constexpr bool any_layout = true;              views and slots have the strides of the values, and
//                                                         outputs the order that `infer` says
//   static constexpr bool only_kernels = true;            forward and backward only take scratch and call
//                                                         kernels: they are called on a dry device, too, so
//                                                         that prediction counts their scratch
//   static constexpr int auxiliaries = n;                 the last n outputs are the engine's own: only
//                                                         backward sees them
//   static constexpr bool random = true;                  `exec.key()` is this node's own random key
//   static constexpr bool replayable = false;             its outputs are kept, never computed again
//   static constexpr bool cheap = true;                   worth computing again even where time is dear (see
//                                                         checkpoint::Drop)
//   double flops(SpecSpan in) const;                      of forward, a product and a sum being two: for
//                                                         estimates of time where nothing runs; memory
//                                                         traffic counts anyway
// Which gradients there are:
//   static constexpr GradMask differentiable = m;         outputs that carry gradients, of the floating ones
//                                                         (all, when left out)
//   static constexpr GradMask gradient_inputs = m;        inputs that can get a gradient (all, when left
//                                                         out); the others must not want one
//   static constexpr GradMask passes_gradient = m;        inputs whose gradient is output 0's, as it is,
//                                                         where sizes and type are the same: backward is not
//                                                         asked
// Where results lie:
//   int reuses(int output) const;                         the input whose memory that output may take over,
//                                                         or -1; only output 0 is asked for
//   void view(const Spec& in, const Strides& from, int output, Strides& to, std::int64_t& offset) const;
//                                                         outputs share the memory of input 0, from element
//                                                         `offset` of it on; forward is not called
//   bool view_gradient(const Spec& in, const Spec& out, const Strides& dy, Strides& dx) const;
//                                                         input 0's gradient as a view of output 0's; false:
//                                                         call backward
//   static constexpr bool gradient_in_place = true;       slot 0 may be the memory of output gradient 0
//   static constexpr GradMask gradient_over_input = m;    inputs whose gradient may overwrite them, if they
//                                                         are saved
// An activation whose derivative the backward of the operation behind it applies:
//   static constexpr kernels::Activation activation = a;  output 0 is a of input 0: the operation that reads
//                                                         it may apply the derivative in its own backward
//   static constexpr bool applies_derivative = true;      backward does so where `GradSlots::activated` asks
// clang-format on
//
// A dry device (device_profile.h) has no values: outputs, saved values, gradients and row-major copies take
// their memory there, but `forward` and `backward` are only called when the operation says `only_kernels`;
// other scratch of theirs is then not predicted.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <new>
#include <string_view>
#include <type_traits>

#include "reprise/detail/inline_vector.h"
#include "reprise/detail/recycler.h"
#include "reprise/device.h"
#include "reprise/error.h"
#include "reprise/kernels/matmul.h"
#include "reprise/tensor.h"

namespace reprise {

namespace detail {
class RowMajorForward;
class RowMajorBackward;
}  // namespace detail

/// Bit i stands for input (or output) i.
using GradMask = std::uint64_t;
inline constexpr int kMaxInputs = 64;
inline constexpr int kMaxOutputs = 64;  // auxiliaries included

using Strides = std::array<std::int64_t, kMaxRank>;
using Specs = detail::InlineVector<Spec, 3>;

/// What backward reads: bits of inputs and outputs (auxiliaries are outputs).
struct Saves {
  GradMask inputs = 0;
  GradMask outputs = 0;
  bool operator==(const Saves&) const = default;
};

/// Specs of the inputs of an operation.
class SpecSpan {
 public:
  SpecSpan(Value* const* values, std::size_t size) : values_(values), size_(size) {}
  std::size_t size() const { return size_; }
  const Spec& operator[](std::size_t i) const { return values_[i]->spec; }

 private:
  Value* const* values_;
  std::size_t size_;
};

/// Input values of a forward.
class Inputs {
 public:
  Inputs(Value* const* values, std::size_t size) : values_(values), size_(size) {}
  std::size_t size() const { return size_; }
  kernels::ConstView operator[](std::size_t i) const { return view_of(*values_[i]); }
  const Spec& spec(std::size_t i) const { return values_[i]->spec; }

 private:
  friend class detail::RowMajorForward;
  Value* const* values_;
  std::size_t size_;
};

/// Output values of a forward, auxiliaries last; a null view is an output that nobody needs.
class Outputs {
 public:
  Outputs(Value* const* values, std::size_t size) : values_(values), size_(size) {}
  std::size_t size() const { return size_; }
  kernels::View operator[](std::size_t i) const { return view_of(*values_[i]); }

 private:
  Value* const* values_;
  std::size_t size_;
};

/// What an operation may ask of the engine while it runs.
class Exec {
 public:
  Exec(Device device, kernels::RandomKey key) : device_(device), key_(key) {}
  Exec(const Exec&) = delete;
  Exec& operator=(const Exec&) = delete;
  ~Exec();

  kernels::Queue queue() const { return queue_of(device_); }
  Device device() const { return device_; }
  kernels::RandomKey key() const { return key_; }
  /// Scratch that lives until the operation returns. Throws OutOfMemory.
  kernels::Workspace scratch(std::size_t bytes) const;
  /// A dense tensor in scratch.
  kernels::View temporary(DType dtype, const Shape& shape, bool channels_last = false) const;
  /// Dense scratch of a layout without gaps.
  kernels::View laid_out_scratch(const kernels::ConstView& like) const;
  /// `view` itself when it is row-major without gaps, else a copy in scratch.
  kernels::ConstView contiguous(const kernels::ConstView& view) const;
  /// `view` itself when its memory order is channels-last, else a copy in scratch.
  kernels::ConstView channels_last(const kernels::ConstView& view) const;
  /// `view` itself when its layout is `like`'s, else a copy in scratch that is.
  kernels::ConstView laid_out_as(const kernels::ConstView& view, const kernels::Layout& like) const;

 private:
  Device device_;
  kernels::RandomKey key_;
  mutable detail::InlineVector<MemoryBlock*, 4> blocks_;
};

/// What a node's backward reads. Asking for a value that `saves` did not declare throws TapeError.
class Saved {
 public:
  explicit Saved(const Node& node) : node_(node) {}
  kernels::ConstView input(std::size_t i) const;
  kernels::ConstView output(std::size_t i) const;
  const Spec& input_spec(std::size_t i) const;
  const Spec& output_spec(std::size_t i) const;
  std::size_t inputs() const;

 private:
  friend class detail::RowMajorBackward;
  const Node& node_;
  Value* const* row_major_inputs_ = nullptr;  // in place of the node's own; null: those
  Value* const* row_major_outputs_ = nullptr;
};

/// Gradients of the outputs; a null view stands for zeros.
class OutGrads {
 public:
  OutGrads(Value* const* gradients, std::size_t size) : gradients_(gradients), size_(size) {}
  std::size_t size() const { return size_; }
  bool has(std::size_t i) const { return i < size_ && gradients_[i] != nullptr; }
  kernels::ConstView operator[](std::size_t i) const {
    return has(i) ? kernels::ConstView(view_of(*gradients_[i])) : kernels::ConstView();
  }

 private:
  friend class detail::RowMajorBackward;
  Value* const* gradients_;
  std::size_t size_;
};

/// Where gradients of the inputs go: nothing (skip), or memory that is written or added to. Dense, row-major
/// or, for an operation with `any_layout`, in the order of the input.
class GradSlots {
 public:
  struct Slot {
    Value* gradient = nullptr;
    kernels::Write write = kernels::Write::overwrite;
    kernels::Activation activation = kernels::Activation::none;
    const Value* before = nullptr;  // what the activation was applied to
  };
  /// An input that is activation(before), where the slot is the gradient of `before`: row-major and written.
  struct Activated {
    kernels::Activation activation = kernels::Activation::none;
    kernels::ConstView before;
    explicit operator bool() const { return activation != kernels::Activation::none; }
  };
  GradSlots(const Slot* slots, std::size_t size) : slots_(slots), size_(size) {}
  bool wants(std::size_t i) const { return i < size_ && slots_[i].gradient != nullptr; }
  kernels::Target operator[](std::size_t i) const {
    return wants(i) ? kernels::Target{view_of(*slots_[i].gradient), slots_[i].write} : kernels::Target{};
  }
  /// Only for operations with `applies_derivative`, and only input 0.
  Activated activated(std::size_t i) const {
    if (!wants(i) || slots_[i].before == nullptr) return {};
    return {slots_[i].activation, view_of(*slots_[i].before)};
  }

 private:
  friend class detail::RowMajorBackward;
  const Slot* slots_;
  std::size_t size_;
};

namespace detail {

/// Whether there is anything to compute between these devices: not to a dry one. Throws TapeError from a dry
/// one to one that is there.
bool has_values(std::string_view operation, Device from, Device to);

/// Stands for a value that lies otherwise: the same elements, row-major, in scratch.
struct RowMajorCopy {
  Storage storage;
  Value value;
};

/// Values as an operation sees them that takes row-major memory alone: themselves where they are, else
/// copies. An operation with `any_layout` never meets this.
class RowMajorValues {
 public:
  explicit RowMajorValues(std::size_t size) : values_(size) {}
  Value* const* data() const { return values_.data(); }
  std::size_t size() const { return values_.size(); }
  /// Value i is a row-major counterpart of `value`, with or without its elements. True when it is another.
  bool set_row_major(std::size_t i, Value& value, const Exec& exec, bool with_elements);

 private:
  InlineVector<Value*, 4> values_;
  std::unique_ptr<RowMajorCopy[]> copies_;  // made when the first is needed
};

/// The inputs of a forward that takes row-major memory alone.
class RowMajorForward {
 public:
  RowMajorForward(const Exec& exec, Inputs in);
  Inputs inputs() const { return {values_.data(), values_.size()}; }

 private:
  RowMajorValues values_;
};

/// What a backward that takes row-major memory alone reads and writes.
class RowMajorBackward {
 public:
  RowMajorBackward(const Exec& exec, const Saved& saved, OutGrads dy, GradSlots dx);
  const Saved& saved() const { return saved_; }
  OutGrads gradients() const { return {gradients_.data(), gradients_.size()}; }
  GradSlots slots() const { return {slots_.data(), slots_.size()}; }
  /// Brings what was written beside the slots to where it belongs.
  void finish(const Exec& exec) const;

 private:
  Saved saved_;
  GradSlots dx_;
  RowMajorValues inputs_, outputs_, gradients_, targets_;
  InlineVector<GradSlots::Slot, 4> slots_;
};

}  // namespace detail

/// An operation, erased: what the tape knows of it.
struct OpTable {
  std::string_view name;
  std::size_t size, alignment;
  void (*move)(void* to, void* from) noexcept;
  void (*destroy)(void* op) noexcept;  // null when there is nothing to do
  bool (*equal)(const void* a, const void* b);
  void (*infer)(const void* op, SpecSpan in, Specs& out);
  void (*forward)(const void* op, const Exec&, Inputs, Outputs);
  Saves (*saves)(const void* op, GradMask needs);                                    // null: no gradients
  void (*backward)(const void* op, const Exec&, const Saved&, OutGrads, GradSlots);  // null: no gradients
  int (*reuses)(const void* op, int output);                                         // null: none
  void (*view)(const void* op, const Spec&, const Strides&, int, Strides&,
               std::int64_t&);  // null: not a view
  bool (*view_gradient)(const void* op, const Spec&, const Spec&, const Strides&, Strides&);
  GradMask passes_gradient;
  GradMask gradient_over_input;
  GradMask differentiable;
  GradMask gradient_inputs;
  double (*flops)(const void* op, SpecSpan in);  // null: none worth counting beside the memory traffic
  int auxiliaries;
  kernels::Activation activation;
  bool any_layout, only_kernels, random, replayable, cheap, gradient_in_place, applies_derivative;
};

/// The one place where operations are erased.
template <class Op>
const OpTable& op_table() {
  static_assert(std::is_nothrow_move_constructible_v<Op>);
  static_assert(alignof(Op) <= detail::kRecordAlignment, "an operation is aligned to 64 bytes at most");
  static constexpr OpTable table = [] {
    OpTable t{};
    t.name = Op::name;
    t.size = sizeof(Op);
    t.alignment = alignof(Op);
    t.move = [](void* to, void* from) noexcept { new (to) Op(std::move(*static_cast<Op*>(from))); };
    if constexpr (!std::is_trivially_destructible_v<Op>) {
      t.destroy = [](void* op) noexcept { static_cast<Op*>(op)->~Op(); };
    }
    t.equal = [](const void* a, const void* b) {
      return *static_cast<const Op*>(a) == *static_cast<const Op*>(b);
    };
    constexpr bool any_layout = [] {
      if constexpr (requires { Op::any_layout; }) return Op::any_layout;
      return false;
    }();
    t.any_layout = any_layout;
    constexpr bool only_kernels = [] {
      if constexpr (requires { Op::only_kernels; }) return Op::only_kernels;
      return false;
    }();
    t.only_kernels = only_kernels;
    t.infer = [](const void* op, SpecSpan in, Specs& out) {
      out = static_cast<const Op*>(op)->infer(in);
      if constexpr (!any_layout) {
        for (Spec& spec : out) spec.channels_last = false;
      }
    };
    if constexpr (requires { &Op::view; }) {
      t.view = [](const void* op, const Spec& in, const Strides& from, int output, Strides& to,
                  std::int64_t& offset) { static_cast<const Op*>(op)->view(in, from, output, to, offset); };
    } else {
      t.forward = [](const void* op, const Exec& exec, Inputs in, Outputs out) {
        const auto forward = [&](Inputs seen) {
          if (only_kernels ||
              detail::has_values(Op::name, in.size() == 0 ? exec.device() : in.spec(0).device, exec.device()))
            static_cast<const Op*>(op)->forward(exec, seen, out);
        };
        if constexpr (any_layout)
          forward(in);
        else
          forward(detail::RowMajorForward(exec, in).inputs());
      };
    }
    if constexpr (requires { &Op::view_gradient; }) {
      t.view_gradient = [](const void* op, const Spec& in, const Spec& out, const Strides& dy, Strides& dx) {
        return static_cast<const Op*>(op)->view_gradient(in, out, dy, dx);
      };
    }
    if constexpr (requires { &Op::backward; }) {
      t.saves = [](const void* op, GradMask needs) { return static_cast<const Op*>(op)->saves(needs); };
      t.backward = [](const void* op, const Exec& exec, const Saved& saved, OutGrads dy, GradSlots dx) {
        const auto backward = [&](const Saved& values, OutGrads gradients, GradSlots slots) {
          if (only_kernels || detail::has_values(Op::name, exec.device(), saved.input_spec(0).device))
            static_cast<const Op*>(op)->backward(exec, values, gradients, slots);
        };
        if constexpr (any_layout) {
          backward(saved, dy, dx);
        } else {
          const detail::RowMajorBackward seen(exec, saved, dy, dx);
          backward(seen.saved(), seen.gradients(), seen.slots());
          seen.finish(exec);
        }
      };
    }
    if constexpr (requires { &Op::reuses; }) {
      t.reuses = [](const void* op, int output) { return static_cast<const Op*>(op)->reuses(output); };
    }
    if constexpr (requires { &Op::flops; }) {
      t.flops = [](const void* op, SpecSpan in) { return static_cast<const Op*>(op)->flops(in); };
    }
    if constexpr (requires { Op::passes_gradient; }) t.passes_gradient = Op::passes_gradient;
    t.gradient_inputs = ~GradMask{0};
    if constexpr (requires { Op::gradient_inputs; }) t.gradient_inputs = Op::gradient_inputs;
    t.differentiable = ~GradMask{0};
    if constexpr (requires { Op::differentiable; }) t.differentiable = Op::differentiable;
    if constexpr (requires { Op::gradient_over_input; }) t.gradient_over_input = Op::gradient_over_input;
    if constexpr (requires { Op::auxiliaries; }) t.auxiliaries = Op::auxiliaries;
    if constexpr (requires { Op::random; }) t.random = Op::random;
    t.replayable = true;
    if constexpr (requires { Op::replayable; }) t.replayable = Op::replayable;
    if constexpr (requires { Op::cheap; }) t.cheap = Op::cheap;
    if constexpr (requires { Op::gradient_in_place; }) t.gradient_in_place = Op::gradient_in_place;
    if constexpr (requires { Op::activation; }) t.activation = Op::activation;
    if constexpr (requires { Op::applies_derivative; }) t.applies_derivative = Op::applies_derivative;
    return t;
  }();
  return table;
}

namespace detail {
using TensorList = InlineVector<Value*, 4>;

/// The visible outputs of an operation, each counted as a user.
class RecordedOutputs {
 public:
  RecordedOutputs() = default;
  RecordedOutputs(const RecordedOutputs&) = delete;
  RecordedOutputs& operator=(const RecordedOutputs&) = delete;
  ~RecordedOutputs() {
    for (Value* value : values_) {
      if (value != nullptr) drop_user(value);
    }
  }
  void reserve(std::size_t size) { values_.reserve(size); }
  /// Counts the value as used; there must be room.
  void adopt(Value* value) {
    values_.push_back(value);
    add_user(value);
  }
  /// Takes over a count that the caller holds; there must be room.
  void take_over(Value* value) { values_.push_back(value); }
  std::size_t size() const { return values_.size(); }
  Tensor take(std::size_t i) { return Tensor::adopt(std::exchange(values_[i], nullptr)); }

 private:
  TensorList values_;
};

/// Runs and records one operation.
void record(const OpTable& table, void* op, std::span<Tensor> inputs, RecordedOutputs& outputs);
}  // namespace detail

/// Runs and records an operation with one visible output.
template <class Op, class... In>
Tensor apply(Op op, In&&... inputs) {
  std::array<Tensor, sizeof...(In)> in{Tensor(std::forward<In>(inputs))...};
  detail::RecordedOutputs out;
  detail::record(op_table<Op>(), &op, in, out);
  return out.take(0);
}

/// Runs and records an operation with any number of inputs and outputs. The inputs are taken over: an
/// operation may reuse the memory of one that nobody else holds.
template <class Op>
std::vector<Tensor> apply_all(Op op, std::vector<Tensor>&& inputs) {
  detail::RecordedOutputs out;
  detail::record(op_table<Op>(), &op, inputs, out);
  std::vector<Tensor> tensors;
  tensors.reserve(out.size());
  for (std::size_t i = 0; i < out.size(); ++i) tensors.push_back(out.take(i));
  return tensors;
}

}  // namespace reprise
