// Matrix products.
#pragma once

#include "reprise/kernels/matmul.h"
#include "reprise/operation.h"

namespace reprise {

using kernels::Activation;
using kernels::WeightLayout;

namespace ops {

/// c = a b over the last two axes; leading axes broadcast.
struct Matmul {
  static constexpr std::string_view name = "matmul";
  static constexpr bool any_layout = true;
  static constexpr bool only_kernels = true;
  Specs infer(SpecSpan in) const;
  double flops(SpecSpan in) const;
  Saves saves(GradMask needs) const;
  void forward(const Exec&, Inputs, Outputs) const;
  void backward(const Exec&, const Saved&, OutGrads, GradSlots) const;
  bool operator==(const Matmul&) const = default;
};

/// y = x w + bias over the last axis of x; inputs x, weight and, with `has_bias`, bias.
struct Linear {
  WeightLayout layout = WeightLayout::out_in;
  bool has_bias = true;
  static constexpr std::string_view name = "linear";
  static constexpr bool any_layout = true;
  static constexpr bool only_kernels = true;
  static constexpr bool applies_derivative = true;
  Specs infer(SpecSpan in) const;
  double flops(SpecSpan in) const;
  Saves saves(GradMask needs) const;
  void forward(const Exec&, Inputs, Outputs) const;
  void backward(const Exec&, const Saved&, OutGrads, GradSlots) const;
  bool operator==(const Linear&) const = default;
};

}  // namespace ops

/// a (..., M, K) times b (..., K, N), leading axes broadcast; a vector stands for one row or column and its
/// axis goes. Throws ShapeError when the inner sizes differ.
Tensor matmul(const Tensor& a, const Tensor& b);

/// activation(x w + bias): x (..., I), weight (O, I) or (I, O) by `layout`, bias (O) or undefined.
Tensor linear(Tensor x, const Tensor& weight, const Tensor& bias = {},
              Activation activation = Activation::none, WeightLayout layout = WeightLayout::out_in);

/// The activation alone.
Tensor activate(Tensor x, Activation activation);

}  // namespace reprise
