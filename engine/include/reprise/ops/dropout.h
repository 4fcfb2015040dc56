// Dropout.
#pragma once

#include "reprise/kernels/random.h"
#include "reprise/operation.h"

namespace reprise {
namespace ops {

/// y = x / (1 - p) with probability 1 - p, else 0 (always where p is 1); the mask is a function of the node's
/// key and is never stored.
struct Dropout {
  double p = 0;
  static constexpr std::string_view name = "dropout";
  static constexpr bool any_layout = true;
  static constexpr bool only_kernels = true;
  static constexpr bool cheap = true;
  static constexpr bool random = true;
  static constexpr bool gradient_in_place = true;
  Specs infer(SpecSpan in) const;
  Saves saves(GradMask) const { return {}; }
  void forward(const Exec&, Inputs, Outputs) const;
  void backward(const Exec&, const Saved&, OutGrads, GradSlots) const;
  int reuses(int) const { return 0; }
  bool operator==(const Dropout&) const = default;
};

}  // namespace ops

/// Dropout with probability p in [0, 1] (Srivastava et al. 2014); x itself when not `training` or p is 0,
/// zeros with zero gradients when p is 1. Throws ValueError.
Tensor dropout(Tensor x, double p, bool training = true);

}  // namespace reprise
