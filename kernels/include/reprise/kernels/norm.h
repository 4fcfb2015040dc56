// Normalisation. Layer and RMS norm see x as rows (M, C), contiguous; batch norm sees x as (N, C, H, W) in
// channels-last order or (N, C). Statistics are kept in `Compute<T>`'s dtype: float32, or float64 for
// float64. Weights and biases have x's dtype and may be null. Parameter gradients are summed in an order that
// does not depend on the number of threads.
#pragma once

#include "reprise/kernels/dispatch.h"

namespace reprise::kernels {

/// y = (x - mean) * rstd * weight + bias per row; mean and rstd are (M).
REPRISE_KERNEL(void, layer_norm_forward, const Queue&, double eps, const ConstView& x,
               const ConstView& weight, const ConstView& bias, const View& y, const View& mean,
               const View& rstd);

REPRISE_WORKSPACE_QUERY(norm_backward_workspace_bytes, DeviceKind, const ConstView& x);

/// dx, dweight and dbias, each where wanted.
REPRISE_KERNEL(void, layer_norm_backward, const Queue&, const ConstView& x, const ConstView& weight,
               const ConstView& mean, const ConstView& rstd, const ConstView& dy, const Target& dx,
               const Target& dweight, const Target& dbias, const Workspace&);

/// y = x * rstd * weight with rstd = 1 / sqrt(mean(x^2) + eps) per row.
REPRISE_KERNEL(void, rms_norm_forward, const Queue&, double eps, const ConstView& x, const ConstView& weight,
               const View& y, const View& rstd);

REPRISE_KERNEL(void, rms_norm_backward, const Queue&, const ConstView& x, const ConstView& weight,
               const ConstView& rstd, const ConstView& dy, const Target& dx, const Target& dweight,
               const Workspace&);

REPRISE_WORKSPACE_QUERY(batch_norm_workspace_bytes, DeviceKind, const ConstView& x);

/// mean (C) and biased variance (C) of x over N, H, W (two-pass or Welford: no cancellation).
REPRISE_KERNEL(void, batch_norm_statistics, const Queue&, const ConstView& x, const View& mean,
               const View& variance, const Workspace&);

/// Folds a batch's mean and variance into running ones (C): running = (1 - momentum) running + momentum
/// batch, with variance * unbias for the variance, rounded alike on every device; adds 1 to `batches`, one
/// int64. All statistics are of one floating type, of any strides.
REPRISE_KERNEL(void, batch_norm_running, const Queue&, double momentum, double unbias, const ConstView& mean,
               const ConstView& variance, const View& running_mean, const View& running_variance,
               const View& batches);

/// y = (x - mean) / sqrt(variance + eps) * weight + bias, then relu where asked for.
REPRISE_KERNEL(void, batch_norm_apply, const Queue&, double eps, bool relu, const ConstView& x,
               const ConstView& mean, const ConstView& variance, const ConstView& weight,
               const ConstView& bias, const View& y);

/// Gradients of batch_norm_apply. With `training` mean and variance are functions of x, else constants. With
/// `relu` the sign of the output is computed again from x. dx may be dy's own memory.
REPRISE_KERNEL(void, batch_norm_backward, const Queue&, double eps, bool relu, bool training,
               const ConstView& x, const ConstView& mean, const ConstView& variance, const ConstView& weight,
               const ConstView& bias, const ConstView& dy, const Target& dx, const Target& dweight,
               const Target& dbias, const Workspace&);

}  // namespace reprise::kernels
