// Tensors of convolutions with their channels filled up.
#pragma once

#include "reprise/kernels/view.h"

namespace reprise::kernels::cuda {

/// Writes all of y (N, C, H, W), dense and channels-last: x, of the same H and W, in the first images and
/// channels, which may lie in any way, and zeros behind them. 16-bit elements; y has a multiple of eight
/// channels, fewer than 2^31 elements, and is aligned to 16 bytes.
void fill_channels(const Queue& queue, const ConstView& x, const View& y);

}  // namespace reprise::kernels::cuda
