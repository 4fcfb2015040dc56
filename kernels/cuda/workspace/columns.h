// How sums over the rows of (rows, columns) are shared out over a grid, and their partial sums.
#pragma once

#include <algorithm>

#include "cuda/workspace/device.h"

namespace reprise::kernels::cuda {

inline constexpr int kColumnThreads = 256;
/// Blocks of a multiprocessor that sum columns: one full load of the device, with the registers that leaves.
inline constexpr int kColumnBlocks = 3;

/// How rows and columns are shared out: threadIdx.x (`width`) and blockIdx.x (`tiles`) count packs of
/// columns, threadIdx.y (`height`) rows of the chunk that blockIdx.y (`chunks`) counts. Neighbours in a warp
/// read neighbours in memory also where a row is short.
struct ColumnPlan {
  int tiles = 0, chunks = 0, width = 1, height = 1;
  std::int64_t chunk_rows = 0;

  /// `down`: neighbours in memory are rows rather than columns. `blocks`: of a multiprocessor, at most.
  ColumnPlan(int multiprocessors, std::int64_t rows, std::int64_t columns, int vec, bool down = false,
             int blocks = kColumnBlocks) {
    if (rows == 0 || columns == 0) return;
    constexpr std::int64_t kRowsOfThread = 4, kMostChunks = 65535;  // of a grid's second axis
    const std::int64_t packs = ceil_div(columns, vec);
    const std::int64_t across = down ? packs : ceil_div(packs, kWarp);
    tiles = static_cast<int>(across);
    width = static_cast<int>(ceil_div(packs, across));
    height = static_cast<int>(std::min<std::int64_t>(kColumnThreads / width, rows));
    const std::int64_t wanted = std::max<std::int64_t>(1, std::int64_t{multiprocessors} * blocks / across);
    chunk_rows = std::max(ceil_div(rows, std::min(wanted, kMostChunks)), height * kRowsOfThread);
    chunks = static_cast<int>(ceil_div(rows, chunk_rows));
  }
};

/// Floats that `sums` sums per column and chunk take up, on any device and however x is aligned.
inline std::size_t column_sums_bytes(std::int64_t rows, std::int64_t columns, DType dtype, int sums,
                                     bool down = false) {
  std::int64_t chunks = 0;
  for (const int vec : {1, pack_of(dtype)})
    chunks =
        std::max<std::int64_t>(chunks, ColumnPlan(kMostMultiprocessors, rows, columns, vec, down).chunks);
  return static_cast<std::size_t>(chunks * sums * columns) * sizeof(float);
}

/// Whether neighbours in memory of dy (M, N) are in one column.
inline bool is_transposed(const Layout& dy) { return dy.strides[1] != 1 && dy.strides[0] == 1; }

inline std::size_t bias_sums_bytes(const ConstView& dy) {
  return column_sums_bytes(dy.sizes[0], dy.sizes[1], dy.dtype, 1, is_transposed(dy));
}

}  // namespace reprise::kernels::cuda
