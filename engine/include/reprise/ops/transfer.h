// Copies between devices.
#pragma once

#include "reprise/operation.h"

namespace reprise::ops {

/// The same elements on another device; the gradient travels back.
struct Transfer {
  Device to;

  static constexpr std::string_view name = "transfer";
  static constexpr bool any_layout = true;
  static constexpr bool only_kernels = true;
  Saves saves(GradMask) const { return {}; }
  Specs infer(SpecSpan in) const;
  void forward(const Exec&, Inputs, Outputs) const;
  void backward(const Exec&, const Saved&, OutGrads, GradSlots) const;
  bool operator==(const Transfer&) const = default;
};

}  // namespace reprise::ops
