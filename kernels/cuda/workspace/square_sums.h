// Partial sums of the global norm: one for every chunk of a tensor.
#pragma once

#include <span>

#include "cuda/workspace/axes.h"

namespace reprise::kernels::cuda {

/// Elements of a block; a multiple of every pack.
inline constexpr std::int64_t kSquareChunk = 16384;

inline bool is_dense(const Axes<1>& axes) {
  return axes.rank == 1 && (axes.strides[0][0] == 1 || axes.sizes[0] == 1);
}

/// Chunks of all pieces of a tensor.
inline std::int64_t square_sums_of(const ConstView& x) {
  const Axes<1> axes = collapse<1>({&x});
  if (x.numel() == 0 || is_dense(axes)) return ceil_div(x.numel(), kSquareChunk);
  std::int64_t count = 0;
  for_each_piece(axes,
                 [&](const Axes<1>& piece, const auto&) { count += ceil_div(piece.numel(), kSquareChunk); });
  return count;
}

inline std::size_t square_sums_bytes(std::span<const ConstView> tensors) {
  std::int64_t count = 0;
  for (const ConstView& x : tensors) count += square_sums_of(x);
  return static_cast<std::size_t>(count) * sizeof(double);
}

}  // namespace reprise::kernels::cuda
