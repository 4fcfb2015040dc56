// Scratch of an embedding's gradient: a sort of the ids, and sums of pieces of their runs.
#pragma once

#include "cuda/workspace/device.h"

namespace reprise::kernels::cuda {

inline constexpr int kSortThreads = 256, kSortWarps = kSortThreads / kWarp, kDigitBits = 8, kDigits = 256;
inline constexpr int kSortRounds = 4, kSortTile = kSortThreads * kSortRounds;
static_assert(kSortThreads == kDigits);

/// Sorted items that a block adds up.
inline constexpr int kRunChunk = 32;

/// Memory of a sort.
struct SortSpace {
  std::uint32_t* keys[2];
  std::int32_t* positions[2];
  int *counts, *totals;
};

/// How the workspace is cut, and how large it is.
struct RunSpace {
  SortSpace sort;
  float* pieces;
  std::size_t bytes = 0;

  RunSpace(void* data, std::int64_t count, std::int64_t columns) {
    const std::int64_t tiles = ceil_div(count, kSortTile), chunks = ceil_div(count, kRunChunk);
    const auto take = [&]<class C>(C*& to, std::int64_t n) {
      to = data == nullptr ? nullptr : reinterpret_cast<C*>(static_cast<std::byte*>(data) + bytes);
      bytes += static_cast<std::size_t>(ceil_div(n * 4, 16) * 16);
    };
    static_assert(sizeof(int) == 4 && sizeof(float) == 4);
    for (int side : {0, 1}) {
      take(sort.keys[side], count);
      take(sort.positions[side], count);
    }
    take(sort.counts, kDigits * tiles);
    take(sort.totals, kDigits);
    take(pieces, 2 * chunks * columns);
  }
};

}  // namespace reprise::kernels::cuda
