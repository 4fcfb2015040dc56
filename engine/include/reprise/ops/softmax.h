// Softmax and the losses.
#pragma once

#include "reprise/kernels/softmax.h"
#include "reprise/operation.h"

namespace reprise {

using kernels::Reduction;

namespace ops {

Spec infer_softmax(std::string_view name, int axis, const Spec& in);
void softmax_forward(bool log, int axis, const Exec&, Inputs, Outputs);
void softmax_backward(bool log, int axis, const Exec&, const Saved&, OutGrads, GradSlots);

/// Loss, statistics (..., 2) of the rows (largest logit, sum of exp(logit - largest)) and number of rows that
/// count, of logits (..., V) and targets (...).
Specs infer_cross_entropy(std::string_view name, Reduction reduction, const Spec& logits,
                          const Spec& targets);

/// y = exp(x - max) / sum(exp(x - max)) along one axis, or its logarithm.
template <bool Log>
struct SoftmaxLike {
  int axis = 0;
  static constexpr std::string_view name = Log ? "log_softmax" : "softmax";
  static constexpr bool any_layout = true;
  static constexpr bool only_kernels = true;
  static constexpr bool gradient_in_place = true;
  Specs infer(SpecSpan in) const { return {infer_softmax(name, axis, in[0])}; }
  Saves saves(GradMask) const { return {.inputs = 0, .outputs = 1}; }
  void forward(const Exec& exec, Inputs in, Outputs out) const { softmax_forward(Log, axis, exec, in, out); }
  void backward(const Exec& exec, const Saved& saved, OutGrads dy, GradSlots dx) const {
    softmax_backward(Log, axis, exec, saved, dy, dx);
  }
  bool operator==(const SoftmaxLike&) const = default;
};
using Softmax = SoftmaxLike<false>;
using LogSoftmax = SoftmaxLike<true>;

/// -log softmax(logits)[target] without storing probabilities; inputs logits (..., V), targets (...).
struct CrossEntropy {
  Reduction reduction = Reduction::mean;
  std::int64_t ignore_index = -100;
  static constexpr std::string_view name = "cross_entropy";
  static constexpr bool any_layout = true;
  static constexpr bool only_kernels = true;
  static constexpr GradMask gradient_over_input = 1;
  static constexpr int auxiliaries = 2;  // statistics of each row; number of rows that count
  Specs infer(SpecSpan in) const;
  Saves saves(GradMask) const { return {.inputs = 3, .outputs = 6}; }
  void forward(const Exec&, Inputs, Outputs) const;
  void backward(const Exec&, const Saved&, OutGrads, GradSlots) const;
  bool operator==(const CrossEntropy&) const = default;
};

}  // namespace ops

Tensor softmax(const Tensor& x, int axis = -1);
Tensor log_softmax(const Tensor& x, int axis = -1);

/// Cross entropy in nats of logits (..., V) with integer targets (...), averaged over the targets that are
/// not `ignore_index`. Throws ShapeError, and ValueError for a target outside [0, V).
Tensor cross_entropy(const Tensor& logits, const Tensor& targets, Reduction reduction = Reduction::mean,
                     std::int64_t ignore_index = -100);

/// Mean (or sum, or each) of (x - target)^2. Throws ShapeError unless the sizes agree.
Tensor mse_loss(const Tensor& x, const Tensor& target, Reduction reduction = Reduction::mean);

}  // namespace reprise
