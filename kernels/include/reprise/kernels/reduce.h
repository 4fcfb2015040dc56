// Reductions over axes. The result has x's rank, with size 1 on every reduced axis. Results do not depend on
// the number of threads: partial results are combined in a fixed order.
#pragma once

#include "reprise/kernels/view.h"

namespace reprise::kernels {

enum class Reduce : std::uint8_t { sum, mean, max };

/// Scratch for `reduce`.
std::size_t reduce_workspace_bytes(DeviceKind, Reduce function, const ConstView& x, const View& y);

/// y (=, +=) reduction of x over the axes where y has size 1 and x has not; 16-bit floats accumulate in
/// float32. The mean and max of nothing is NaN and -inf. Sum also takes int32, int64 and boolean x with an
/// int64 y.
void reduce(const Queue&, Reduce function, const ConstView& x, const Target& y, const Workspace&);

/// dx (=, +=) dy / (number of maxima) where x equals y, else 0: ties share the gradient equally.
void max_backward(const Queue&, const ConstView& x, const ConstView& y, const ConstView& dy,
                  const Target& dx);

/// y = index (int64) of the first maximum along `axis`; y has size 1 there.
void argmax(const Queue&, const ConstView& x, int axis, const View& y);

/// Sum of squares over several tensors in float64, in a fixed order (for clipping by the global norm).
double sum_of_squares(const Queue&, std::span<const ConstView> tensors);

/// True when any element of a floating x is NaN.
bool any_nan(const Queue&, const ConstView& x);

}  // namespace reprise::kernels
