// Scratch of attention's backward.
#pragma once

#include "cuda/workspace/device.h"

namespace reprise::kernels::cuda {

/// delta (B, H, T), float32: the row sums of dout * out.
inline std::size_t delta_bytes(const Layout& q) {
  return q.numel() == 0 ? 0 : sizeof(float) * static_cast<std::size_t>(q.sizes[0] * q.sizes[1] * q.sizes[2]);
}

}  // namespace reprise::kernels::cuda
