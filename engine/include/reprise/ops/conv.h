// Convolution and pooling of (N, C, H, W) tensors. Results are in channels-last order; inputs in another
// order are copied.
#pragma once

#include "reprise/kernels/conv.h"
#include "reprise/operation.h"

namespace reprise {

using kernels::Conv2dParams;
using kernels::Pool2dParams;

namespace ops {

/// y (N, O, H', W') = x (N, I, H, W) * weight (O, I / groups, KH, KW) + bias (O).
struct Conv2d {
  Conv2dParams params;
  bool has_bias = false;
  static constexpr std::string_view name = "conv2d";
  static constexpr bool any_layout = true;
  static constexpr bool only_kernels = true;
  Specs infer(SpecSpan in) const;
  double flops(SpecSpan in) const;
  Saves saves(GradMask needs) const;
  void forward(const Exec&, Inputs, Outputs) const;
  void backward(const Exec&, const Saved&, OutGrads, GradSlots) const;
  bool operator==(const Conv2d&) const = default;
};

/// Maximum of each window; the position of the maximum is kept for backward.
struct MaxPool2d {
  Pool2dParams params;
  static constexpr std::string_view name = "max_pool2d";
  static constexpr bool any_layout = true;
  static constexpr bool only_kernels = true;
  static constexpr bool cheap = true;
  static constexpr int auxiliaries = 1;
  Specs infer(SpecSpan in) const;
  Saves saves(GradMask) const { return {.inputs = 0, .outputs = 2}; }
  void forward(const Exec&, Inputs, Outputs) const;
  void backward(const Exec&, const Saved&, OutGrads, GradSlots) const;
  bool operator==(const MaxPool2d&) const = default;
};

/// Average of each window.
struct AvgPool2d {
  Pool2dParams params;
  static constexpr std::string_view name = "avg_pool2d";
  static constexpr bool any_layout = true;
  static constexpr bool only_kernels = true;
  static constexpr bool cheap = true;
  Specs infer(SpecSpan in) const;
  Saves saves(GradMask) const { return {}; }
  void forward(const Exec&, Inputs, Outputs) const;
  void backward(const Exec&, const Saved&, OutGrads, GradSlots) const;
  bool operator==(const AvgPool2d&) const = default;
};

}  // namespace ops

/// Convolution of x (N, I, H, W) with weight (O, I / groups, KH, KW); bias (O) may be undefined. Throws
/// ShapeError, ValueError.
Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias = {},
              const Conv2dParams& params = {});
Tensor max_pool2d(const Tensor& x, const Pool2dParams& params = {});
Tensor avg_pool2d(const Tensor& x, const Pool2dParams& params = {});
/// Mean over H and W: (N, C, H, W) to (N, C).
Tensor global_avg_pool2d(const Tensor& x);

}  // namespace reprise
