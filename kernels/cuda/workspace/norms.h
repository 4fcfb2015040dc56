// Partial sums of the gradients of normalisations.
#pragma once

#include "cuda/workspace/columns.h"

namespace reprise::kernels::cuda {

/// Blocks that make the gradients of layer and RMS norm row by row, at most: what the registers of the
/// multiprocessors have room for.
inline std::int64_t norm_backward_blocks(int multiprocessors, const ConstView& x) {
  constexpr std::int64_t kElementsOfThread = 16, kThreads = 512;
  const std::int64_t row_bytes = x.sizes[1] * static_cast<std::int64_t>(size_of(x.dtype));
  std::int64_t per_multiprocessor = row_bytes <= 512 ? 8 : 3;  // a warp per row
  if (row_bytes > 2048) {                                      // a block per row
    const std::int64_t threads = ceil_div(x.sizes[1], kElementsOfThread * kWarp) * kWarp;
    per_multiprocessor = std::clamp<std::int64_t>(kThreads / threads, 1, 8);
  }
  return std::min(x.sizes[0], multiprocessors * per_multiprocessor);
}

inline std::size_t norm_partials_bytes(const ConstView& x) {
  const std::int64_t rows = x.sizes[0], columns = x.sizes[1];
  const auto held =
      static_cast<std::size_t>(2 * norm_backward_blocks(kMostMultiprocessors, x) * columns) * sizeof(float);
  return std::max(held, column_sums_bytes(rows, columns, x.dtype, 2));
}

/// Batch norm sees x as (rows, C), the rows being N or the positions (n, h, w) of a channels-last image.
struct ChannelRows {
  std::int64_t rows, channels;

  explicit ChannelRows(const Layout& x)
      : rows(x.sizes[1] == 0 ? 0 : x.numel() / x.sizes[1]), channels(x.sizes[1]) {}
};

/// Floats of batch norm's workspace before the partial sums, which begin at 16 bytes.
inline std::int64_t offset_slope_floats(std::int64_t channels) { return ceil_div(2 * channels, 4) * 4; }

inline std::size_t batch_norm_bytes(const ConstView& x) {
  const auto [rows, channels] = ChannelRows(x);
  return static_cast<std::size_t>(offset_slope_floats(channels)) * sizeof(float) +
         column_sums_bytes(rows, channels, x.dtype, 2);
}

}  // namespace reprise::kernels::cuda
