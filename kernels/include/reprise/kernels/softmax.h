// Softmax, log-softmax and cross entropy over the last axis of rows (M, V); x, y, dy, dx may have any row
// stride, unit stride inside a row.
#pragma once

#include "reprise/kernels/dispatch.h"

namespace reprise::kernels {

/// y = exp(x - max) / sum, row by row; -inf entries give 0, a row of only -inf gives NaN as in PyTorch.
REPRISE_KERNEL(void, softmax_forward, const Queue&, const ConstView& x, const View& y);
/// dx (=, +=) y * (dy - sum(dy * y)).
REPRISE_KERNEL(void, softmax_backward, const Queue&, const ConstView& y, const ConstView& dy,
               const Target& dx);
/// y = x - max - log(sum(exp(x - max))).
REPRISE_KERNEL(void, log_softmax_forward, const Queue&, const ConstView& x, const View& y);
/// dx (=, +=) dy - exp(y) * sum(dy).
REPRISE_KERNEL(void, log_softmax_backward, const Queue&, const ConstView& y, const ConstView& dy,
               const Target& dx);

enum class Reduction : std::uint8_t { none, mean, sum };

/// loss = -log softmax(logits)[target], fused. logits (M, V), targets (M) int32 or int64, row_loss (M) in
/// Compute<T>'s dtype, total (scalar, same dtype) = sum or mean over targets that are not ignored (NaN where
/// there is none, as in PyTorch), null with Reduction::none. An ignored row has loss 0. statistics (M, 2),
/// same dtype, contiguous, receive the largest logit of each row and the sum of exp(logit - largest): apart,
/// as their log-sum-exp in one number is rounded at the size of the logits. Returns the first target outside
/// [0, V) that is not `ignore_index`, or `ignore_index` when all are fine; on CUDA always the latter: a bad
/// target counts as ignored and goes to `Queue::report`. `count` (scalar, same dtype) receives the number of
/// rows not ignored.
REPRISE_KERNEL(std::int64_t, cross_entropy_forward, const Queue&, Reduction, std::int64_t ignore_index,
               const ConstView& logits, const ConstView& targets, const View& row_loss,
               const View& statistics, const View& total, const View& count);

/// dlogits (=, +=) (softmax(logits) - onehot(target)) * dloss (/ count for the mean); dloss is a scalar or,
/// with Reduction::none, (M). dlogits may be the memory of logits.
REPRISE_KERNEL(void, cross_entropy_backward, const Queue&, Reduction, std::int64_t ignore_index,
               const ConstView& logits, const ConstView& targets, const ConstView& statistics,
               const ConstView& count, const ConstView& dloss, const Target& dlogits);

}  // namespace reprise::kernels
