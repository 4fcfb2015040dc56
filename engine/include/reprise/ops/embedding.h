// Table look-up.
#pragma once

#include "reprise/kernels/embedding.h"
#include "reprise/operation.h"

namespace reprise {
namespace ops {

/// y (..., C) = weight (V, C) [ids (...)]; inputs weight, ids (int32 or int64).
struct Embedding {
  static constexpr std::string_view name = "embedding";
  static constexpr bool any_layout = true;
  static constexpr bool only_kernels = true;
  static constexpr bool cheap = true;
  static constexpr GradMask gradient_inputs = 1;
  Specs infer(SpecSpan in) const;
  Saves saves(GradMask) const { return {.inputs = 2, .outputs = 0}; }
  void forward(const Exec&, Inputs, Outputs) const;
  void backward(const Exec&, const Saved&, OutGrads, GradSlots) const;
  bool operator==(const Embedding&) const = default;
};

}  // namespace ops

/// Rows of weight (V, C) picked by ids (...): (..., C). Throws ValueError for an id outside [0, V).
Tensor embedding(const Tensor& weight, const Tensor& ids);

}  // namespace reprise
