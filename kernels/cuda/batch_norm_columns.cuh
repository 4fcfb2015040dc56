// What the kernels of batch norm share: x is (rows, C), the rows being N or the positions (n, h, w) of a
// channels-last image.
#pragma once

#include "cuda/columns.cuh"
#include "reprise/kernels/norm.h"

namespace reprise::kernels::cuda {

/// Rows and channels of x.
struct ChannelRows {
  std::int64_t rows, channels;

  explicit ChannelRows(const Layout& x)
      : rows(x.sizes[1] == 0 ? 0 : x.numel() / x.sizes[1]), channels(x.sizes[1]) {}
};

/// Whether all channels of a row can be read in packs.
template <class T, class... Data>
bool channels_packed(std::int64_t channels, const Data*... data) {
  return channels % kPack<T> == 0 && (aligned16(data) && ...);
}

}  // namespace reprise::kernels::cuda
