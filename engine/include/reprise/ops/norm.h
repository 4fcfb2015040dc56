// Normalisation.
#pragma once

#include "reprise/kernels/norm.h"
#include "reprise/operation.h"

namespace reprise {
namespace ops {

/// y = (x - mean) / sqrt(var + eps) * weight + bias over the last axis (Ba et al. 2016); inputs x, weight,
/// bias.
struct LayerNorm {
  double eps = 1e-5;
  static constexpr std::string_view name = "layer_norm";
  static constexpr bool any_layout = true;
  static constexpr bool only_kernels = true;
  static constexpr bool cheap = true;
  static constexpr int auxiliaries = 2;  // mean and 1 / deviation of each row
  Specs infer(SpecSpan in) const;
  Saves saves(GradMask needs) const;
  void forward(const Exec&, Inputs, Outputs) const;
  void backward(const Exec&, const Saved&, OutGrads, GradSlots) const;
  bool operator==(const LayerNorm&) const = default;
};

/// y = x / sqrt(mean(x^2) + eps) * weight over the last axis (Zhang and Sennrich 2019); inputs x, weight.
struct RmsNorm {
  double eps = 1e-6;
  static constexpr std::string_view name = "rms_norm";
  static constexpr bool any_layout = true;
  static constexpr bool only_kernels = true;
  static constexpr bool cheap = true;
  static constexpr int auxiliaries = 1;  // 1 / root mean square of each row
  Specs infer(SpecSpan in) const;
  Saves saves(GradMask needs) const;
  void forward(const Exec&, Inputs, Outputs) const;
  void backward(const Exec&, const Saved&, OutGrads, GradSlots) const;
  bool operator==(const RmsNorm&) const = default;
};

/// Batch norm with the batch's own statistics (Ioffe and Szegedy 2015), optionally followed by relu; inputs x
/// (N, C, H, W) or (N, C), weight, bias; outputs y and the batch's mean and biased variance, which the caller
/// folds into running ones.
struct BatchNorm {
  double eps = 1e-5;
  bool relu = false;
  static constexpr std::string_view name = "batch_norm";
  static constexpr bool any_layout = true;
  static constexpr bool only_kernels = true;
  static constexpr bool cheap = true;
  static constexpr GradMask differentiable = 1;
  static constexpr bool gradient_in_place = true;
  Specs infer(SpecSpan in) const;
  Saves saves(GradMask needs) const;
  void forward(const Exec&, Inputs, Outputs) const;
  void backward(const Exec&, const Saved&, OutGrads, GradSlots) const;
  bool operator==(const BatchNorm&) const = default;
};

/// Batch norm with given statistics: inputs x, weight, bias, mean, variance.
struct BatchNormFixed {
  double eps = 1e-5;
  bool relu = false;
  static constexpr std::string_view name = "batch_norm_fixed";
  static constexpr bool any_layout = true;
  static constexpr bool only_kernels = true;
  static constexpr bool cheap = true;
  static constexpr bool gradient_in_place = true;
  static constexpr GradMask gradient_inputs = 7;
  Specs infer(SpecSpan in) const;
  Saves saves(GradMask needs) const;
  void forward(const Exec&, Inputs, Outputs) const;
  void backward(const Exec&, const Saved&, OutGrads, GradSlots) const;
  bool operator==(const BatchNormFixed&) const = default;
};

}  // namespace ops

/// Layer norm over the last axis; weight and bias are (C).
Tensor layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, double eps = 1e-5);
/// RMS norm over the last axis; weight is (C).
Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps = 1e-6);

/// What batch norm found in a batch: y, and mean and biased variance (C).
struct BatchNormResult {
  Tensor y, mean, variance;
};
BatchNormResult batch_norm(Tensor x, const Tensor& weight, const Tensor& bias, double eps = 1e-5,
                           bool relu = false);
/// Batch norm with fixed mean and variance (C), as in evaluation.
Tensor batch_norm_fixed(Tensor x, const Tensor& weight, const Tensor& bias, const Tensor& mean,
                        const Tensor& variance, double eps = 1e-5, bool relu = false);

}  // namespace reprise
