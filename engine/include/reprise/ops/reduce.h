// Reductions over axes.
#pragma once

#include "reprise/kernels/reduce.h"
#include "reprise/operation.h"

namespace reprise {
namespace ops {

/// Axes as bits: axis i is bit i.
using AxisMask = std::uint32_t;

Spec infer_reduce(std::string_view name, kernels::Reduce function, AxisMask axes, bool keep, const Spec& in);
void reduce_forward(kernels::Reduce function, AxisMask axes, const Exec&, Inputs, Outputs);
void reduce_backward(kernels::Reduce function, AxisMask axes, const Exec&, const Saved&, OutGrads, GradSlots);

/// Sum, mean or max over some axes; `keep` leaves them with size 1.
template <kernels::Reduce F>
struct ReduceOver {
  AxisMask axes = 0;
  bool keep = false;
  static constexpr std::string_view name = F == kernels::Reduce::sum    ? "sum"
                                           : F == kernels::Reduce::mean ? "mean"
                                                                        : "max";
  static constexpr bool any_layout = true;
  static constexpr bool only_kernels = true;
  static constexpr bool cheap = true;
  Specs infer(SpecSpan in) const { return {infer_reduce(name, F, axes, keep, in[0])}; }
  Saves saves(GradMask) const {
    return F == kernels::Reduce::max ? Saves{.inputs = 1, .outputs = 1} : Saves{};
  }
  void forward(const Exec& exec, Inputs in, Outputs out) const { reduce_forward(F, axes, exec, in, out); }
  void backward(const Exec& exec, const Saved& saved, OutGrads dy, GradSlots dx) const {
    reduce_backward(F, axes, exec, saved, dy, dx);
  }
  bool operator==(const ReduceOver&) const = default;
};

/// Index (int64) of the first maximum along an axis, which goes; gives no gradient.
struct Argmax {
  int axis = 0;
  static constexpr std::string_view name = "argmax";
  static constexpr bool any_layout = true;
  static constexpr bool only_kernels = true;
  static constexpr bool cheap = true;
  Specs infer(SpecSpan in) const;
  void forward(const Exec&, Inputs, Outputs) const;
  bool operator==(const Argmax&) const = default;
};

}  // namespace ops

/// Axes to reduce over; {} means all of them. A scalar has one, 0 or -1, that reducing leaves as it is.
/// Throws ShapeError for an axis that is not there, or named twice.
using Axes = std::initializer_list<int>;

/// Sum over `axes`; integers and booleans sum to int64, which wraps around.
Tensor sum(const Tensor& x, Axes axes = {}, bool keep = false);
/// Mean over `axes` of a floating tensor; NaN where there is nothing to average.
Tensor mean(const Tensor& x, Axes axes = {}, bool keep = false);
/// Maximum over `axes` of a floating tensor; NaN wins; equal maxima (or NaNs) share the gradient. Throws
/// ShapeError where there is nothing to choose from.
Tensor max(const Tensor& x, Axes axes = {}, bool keep = false);
/// Index (int64) of the first maximum along `axis`, which goes; NaN counts as the largest. Throws ShapeError
/// where the axis is empty.
Tensor argmax(const Tensor& x, int axis = -1);

}  // namespace reprise
