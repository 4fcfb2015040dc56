// Partial sums of the gradients of normalisations.
#pragma once

#include "cuda/workspace/columns.h"

namespace reprise::kernels::cuda {

/// Threads of a block that makes the gradients of rows of layer or RMS norm: of several rows, and of a long
/// one.
inline constexpr int kNormThreads = 256, kNormMostThreads = 512;

/// How those rows are shared out, in packs of `vec` elements: blocks of `height` rows of `width` threads with
/// `packs` packs each.
struct NormPlan {
  int packs = 0;  // 0 where rows are too long to be held
  int width = 0, height = 1;
  std::int64_t blocks = 0;

  NormPlan(int multiprocessors, std::int64_t rows, std::int64_t columns, int vec) {
    if (rows == 0 || columns == 0) return;
    // A thread holds at most 16 columns, and 8 where they come one by one.
    const int most = vec == 1 ? 8 : 16 / vec;
    const std::int64_t of_row = ceil_div(columns, vec);
    if (of_row > most * kNormMostThreads) return;
    packs = vec == 1 ? most : 1;
    while (of_row > packs * kNormMostThreads) packs *= 2;
    width = static_cast<int>(ceil_div(of_row, packs * kWarp)) * kWarp;
    height = std::max(1, kNormThreads / width);
    const int resident = packs == 1 ? 3 * kNormThreads : kNormMostThreads;  // that registers have room for
    blocks = std::min(ceil_div(rows, height),
                      std::int64_t{multiprocessors} * std::max(1, resident / (width * height)));
  }
};

inline std::size_t norm_partials_bytes(const ConstView& x) {
  const std::int64_t rows = x.sizes[0], columns = x.sizes[1];
  std::int64_t blocks = 0;
  for (const int vec : {1, pack_of(x.dtype)})
    blocks = std::max(blocks, NormPlan(kMostMultiprocessors, rows, columns, vec).blocks);
  return std::max(static_cast<std::size_t>(2 * blocks * columns) * sizeof(float),
                  column_sums_bytes(rows, columns, x.dtype, 2));
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
