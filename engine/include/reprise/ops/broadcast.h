// Broadcasting: the common shape, stretched views, and sums that undo the stretching.
#pragma once

#include "reprise/operation.h"

namespace reprise::ops {

/// The shape to which both stretch; throws ShapeError naming `operation`.
Shape broadcast_shapes(std::string_view operation, const Shape& a, const Shape& b);

/// `view` with stride 0 on the axes that stretch to `sizes`.
kernels::ConstView broadcast_to(const kernels::ConstView& view, const kernels::Layout& like);

/// target (=, +=) x summed over the axes along which `target` was stretched.
void sum_to(const Exec& exec, const kernels::ConstView& x, const kernels::Target& target);

/// Throws TypeError naming both types unless they are equal.
void require_same_dtype(std::string_view operation, const Spec& a, const Spec& b);

/// Throws TypeError unless the dtype is floating.
void require_floating(std::string_view operation, const Spec& x);

}  // namespace reprise::ops
