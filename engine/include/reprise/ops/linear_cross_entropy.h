// A classifier's last product and its loss as one operation, so that a large vocabulary's logits never exist
// whole.
#pragma once

#include <algorithm>

#include "reprise/ops/softmax.h"

namespace reprise {

namespace ops {

/// -log softmax(x weight^T)[target] of x (..., C), weight (V, C), targets (...), `chunk` rows of logits at a
/// time. The gradients that `gradients` names (bit 0: x, bit 1: weight) are made while a chunk's logits are
/// there, for a gradient of 1 of the sum, and scaled by backward; without, backward computes the logits
/// again.
struct LinearCrossEntropy {
  Reduction reduction = Reduction::mean;
  std::int64_t ignore_index = -100;
  std::int64_t chunk = 1024;
  GradMask gradients = 0;
  static constexpr std::string_view name = "linear_cross_entropy";
  static constexpr bool any_layout = true;
  static constexpr bool only_kernels = true;
  // Statistics of each row; number of rows that count; gradients of x and weight, empty where not made here.
  static constexpr int auxiliaries = 4;
  Specs infer(SpecSpan in) const;
  double flops(SpecSpan in) const;
  Saves saves(GradMask) const {
    return gradients == 0 ? Saves{.inputs = 7, .outputs = 6}
                          : Saves{.inputs = 0, .outputs = 4 | gradients << 3};
  }
  void forward(const Exec&, Inputs, Outputs) const;
  void backward(const Exec&, const Saved&, OutGrads, GradSlots) const;
  /// Rows of a chunk where there are so many in all.
  std::int64_t chunk_of(std::int64_t rows) const { return std::clamp<std::int64_t>(rows, 1, chunk); }
  bool operator==(const LinearCrossEntropy&) const = default;

 private:
  void scale_gradients(const Exec&, const Saved&, OutGrads, GradSlots) const;
  void backward_again(const Exec&, const Saved&, OutGrads, GradSlots) const;
};

}  // namespace ops

/// cross_entropy(x weight^T, targets) of x (..., C), weight (V, C), integer targets (...), in memory for
/// `chunk` rows of logits instead of all, and in 16 bits for the weight's gradient in float32, in which
/// chunks are added. A mean or a sum makes its gradients in the same pass, except in float16, whose small
/// gradients only a scaled loss keeps. Throws ShapeError, and ValueError for a target outside [0, V) or a
/// chunk below 1.
Tensor linear_cross_entropy(const Tensor& x, const Tensor& weight, const Tensor& targets,
                            std::int64_t chunk = 1024, Reduction reduction = Reduction::mean,
                            std::int64_t ignore_index = -100);

/// True where linear_cross_entropy multiplies more columns than there are classes: GPUs multiply 16-bit
/// matrices whose rows are no whole lines of memory, such as 50257 columns, several times slower.
bool linear_cross_entropy_pads(const Tensor& weight);

}  // namespace reprise
