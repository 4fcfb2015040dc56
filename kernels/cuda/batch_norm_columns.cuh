// What the kernels of batch norm share.
#pragma once

#include "cuda/columns.cuh"
#include "cuda/workspace/norms.h"
#include "reprise/kernels/norm.h"

namespace reprise::kernels::cuda {

/// Whether all channels of a row can be read in packs.
template <class T, class... Data>
bool channels_packed(std::int64_t channels, const Data*... data) {
  return channels % kPack<T> == 0 && (aligned16(data) && ...);
}

}  // namespace reprise::kernels::cuda
