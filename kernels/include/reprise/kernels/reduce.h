// Reductions over axes. The result has x's rank, with size 1 on every reduced axis. Results do not depend on
// the number of threads: partial results are combined in a fixed order.
#pragma once

#include "reprise/kernels/dispatch.h"

namespace reprise::kernels {

enum class Reduce : std::uint8_t { sum, mean, max };

/// Scratch for `reduce`.
REPRISE_WORKSPACE_QUERY(reduce_workspace_bytes, DeviceKind, Reduce function, const ConstView& x,
                        const View& y);

/// y (=, +=) reduction of x over the axes where y has size 1 and x has not; 16-bit floats accumulate in
/// float32. The mean and max of nothing is NaN and -inf. Sum also takes int32, int64 and boolean x with an
/// int64 y.
REPRISE_KERNEL(void, reduce, const Queue&, Reduce function, const ConstView& x, const Target& y,
               const Workspace&);

/// dx (=, +=) dy / (number of maxima) where x equals y, else 0: ties share the gradient equally,
/// and so do NaNs where y is NaN.
REPRISE_KERNEL(void, max_backward, const Queue&, const ConstView& x, const ConstView& y, const ConstView& dy,
               const Target& dx);

/// y = index (int64) of the first maximum along `axis`; y has size 1 there.
REPRISE_KERNEL(void, argmax, const Queue&, const ConstView& x, int axis, const View& y);

/// Scratch for `global_norm`.
REPRISE_WORKSPACE_QUERY(global_norm_workspace_bytes, DeviceKind, std::span<const ConstView> tensors);

/// norm = square root of the sum of squares over all tensors, in a fixed order; scale = what brings it down
/// to `max_norm`: max_norm / norm where that is below 1 or NaN and `max_norm` is above 0, else 1. Both are
/// float64 scalars and sums are float64; `scale` may be null. Clipping by the global norm (Pascanu et al.
/// 2013).
REPRISE_KERNEL(void, global_norm, const Queue&, std::span<const ConstView> tensors, double max_norm,
               const View& norm, const View& scale, const Workspace&);

/// True when any element of a floating x is NaN. On CUDA this waits for the device.
REPRISE_KERNEL(bool, any_nan, const Queue&, const ConstView& x);

}  // namespace reprise::kernels
