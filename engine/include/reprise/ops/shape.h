// Views and rearrangements. reshape (where strides allow), permute, slice, expand and split share their
// input's memory.
#pragma once

#include "reprise/operation.h"

namespace reprise {
namespace ops {

struct Reshape {
  Shape shape;
  static constexpr std::string_view name = "reshape";
  static constexpr bool any_layout = true;
  static constexpr bool only_kernels = true;
  static constexpr bool cheap = true;
  Specs infer(SpecSpan in) const;
  Saves saves(GradMask) const { return {}; }
  void view(const Spec& in, const Strides& from, int output, Strides& to, std::int64_t& offset) const;
  bool view_gradient(const Spec& in, const Spec& out, const Strides& dy, Strides& dx) const;
  void backward(const Exec&, const Saved&, OutGrads, GradSlots) const;
  bool operator==(const Reshape&) const = default;
};

struct Permute {
  std::array<std::int8_t, kMaxRank> axes{};
  static constexpr std::string_view name = "permute";
  static constexpr bool any_layout = true;
  static constexpr bool only_kernels = true;
  static constexpr bool cheap = true;
  Specs infer(SpecSpan in) const;
  Saves saves(GradMask) const { return {}; }
  void view(const Spec& in, const Strides& from, int output, Strides& to, std::int64_t& offset) const;
  bool view_gradient(const Spec& in, const Spec& out, const Strides& dy, Strides& dx) const;
  void backward(const Exec&, const Saved&, OutGrads, GradSlots) const;
  bool operator==(const Permute&) const = default;
};

struct Slice {
  int axis = 0;
  std::int64_t start = 0, length = 0, step = 1;
  static constexpr std::string_view name = "slice";
  static constexpr bool any_layout = true;
  static constexpr bool only_kernels = true;
  static constexpr bool cheap = true;
  Specs infer(SpecSpan in) const;
  Saves saves(GradMask) const { return {}; }
  void view(const Spec& in, const Strides& from, int output, Strides& to, std::int64_t& offset) const;
  void backward(const Exec&, const Saved&, OutGrads, GradSlots) const;
  bool operator==(const Slice&) const = default;
};

struct Expand {
  Shape shape;
  static constexpr std::string_view name = "expand";
  static constexpr bool any_layout = true;
  static constexpr bool only_kernels = true;
  static constexpr bool cheap = true;
  Specs infer(SpecSpan in) const;
  Saves saves(GradMask) const { return {}; }
  void view(const Spec& in, const Strides& from, int output, Strides& to, std::int64_t& offset) const;
  void backward(const Exec&, const Saved&, OutGrads, GradSlots) const;
  bool operator==(const Expand&) const = default;
};

struct Split {
  int axis = 0;
  std::int64_t size = 1;  // of every part; the last may be smaller
  static constexpr std::string_view name = "split";
  static constexpr bool any_layout = true;
  static constexpr bool only_kernels = true;
  static constexpr bool cheap = true;
  Specs infer(SpecSpan in) const;
  Saves saves(GradMask) const { return {}; }
  void view(const Spec& in, const Strides& from, int output, Strides& to, std::int64_t& offset) const;
  void backward(const Exec&, const Saved&, OutGrads, GradSlots) const;
  bool operator==(const Split&) const = default;
};

struct Concatenate {
  int axis = 0;
  static constexpr std::string_view name = "concatenate";
  static constexpr bool any_layout = true;
  static constexpr bool only_kernels = true;
  static constexpr bool cheap = true;
  Specs infer(SpecSpan in) const;
  Saves saves(GradMask) const { return {}; }
  void forward(const Exec&, Inputs, Outputs) const;
  void backward(const Exec&, const Saved&, OutGrads, GradSlots) const;
  bool operator==(const Concatenate&) const = default;
};

struct Pad {
  int axis = 0;
  std::int64_t before = 0, after = 0;
  static constexpr std::string_view name = "pad";
  static constexpr bool any_layout = true;
  static constexpr bool only_kernels = true;
  static constexpr bool cheap = true;
  Specs infer(SpecSpan in) const;
  Saves saves(GradMask) const { return {}; }
  void forward(const Exec&, Inputs, Outputs) const;
  void backward(const Exec&, const Saved&, OutGrads, GradSlots) const;
  bool operator==(const Pad&) const = default;
};

}  // namespace ops

/// The same elements in another shape; one size may be -1. A view where the strides allow, else of a dense
/// copy. Throws ShapeError.
Tensor reshape(const Tensor& x, std::initializer_list<std::int64_t> sizes);
Tensor reshape(const Tensor& x, const Shape& shape);
/// All axes from `first` to `last` as one.
Tensor flatten(const Tensor& x, int first = 0, int last = -1);
/// Axis i of the result is axis axes[i] of x; a view.
Tensor permute(const Tensor& x, std::initializer_list<int> axes);
/// Two axes exchanged; a view. A scalar counts as one axis, exchanged with itself.
Tensor transpose(const Tensor& x, int a, int b);
/// x[start : stop : step] along `axis`; negative start and stop count from the end and are clamped; a view.
Tensor slice(const Tensor& x, int axis, std::int64_t start, std::int64_t stop, std::int64_t step = 1);
/// x[index] along `axis`, which goes; a view. Throws ValueError when out of range.
Tensor select(const Tensor& x, int axis, std::int64_t index);
/// x stretched to `shape` without copying; a view with stride 0.
Tensor expand(const Tensor& x, const Shape& shape);
/// Parts of `size` along `axis` (the last may be smaller); views.
std::vector<Tensor> split(const Tensor& x, std::int64_t size, int axis);
/// The tensors one after the other along `axis`. Throws ShapeError unless all other sizes agree; a tensor (0)
/// adds nothing and goes with tensors of any rank.
Tensor concatenate(const std::vector<Tensor>& tensors, int axis);
/// Zeros before and after x along `axis`.
Tensor pad(const Tensor& x, int axis, std::int64_t before, std::int64_t after);

}  // namespace reprise
