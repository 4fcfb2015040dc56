// Random numbers from Philox4x32-10 (Salmon et al. 2011): a pure function of (key, element index), the same
// bits on every device and for every number of threads. Element i uses word i % 4 of the block with counter
// {i / 4, key.node}.
#pragma once

#include "reprise/kernels/dispatch.h"

namespace reprise::kernels {

/// Uniform in [low, high).
REPRISE_KERNEL(void, fill_uniform, const Queue&, RandomKey key, double low, double high, const View& y);

/// Normal by Box-Muller: elements 2k and 2k + 1 are philox::normal_pair of the words of both. Elements of
/// both fills are counted as dropout counts them.
REPRISE_KERNEL(void, fill_normal, const Queue&, RandomKey key, double mean, double deviation, const View& y);

/// y (=, +=) x / (1 - p) where the element is kept, else 0; i counts elements of y in row-major order of its
/// sizes (for channels-last: in memory order). An element is dropped when its word < p * 2^32. The gradient
/// is the same function of dy.
REPRISE_KERNEL(void, dropout, const Queue&, RandomKey key, double p, const ConstView& x, const Target& y);

}  // namespace reprise::kernels
