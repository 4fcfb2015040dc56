// What attention's kernels share: tiles in shared memory, the random words of dropout, tensor-core products.
//
// A tile is a number of rows, kWidth elements each (the head size rounded up, zeros behind it). Rows lie 16
// bytes further apart than they are long: an odd number of 16-byte chunks, so that eight neighbouring rows of
// an ldmatrix touch all 32 banks once.
#pragma once

#include "cuda/attention_problem.h"
#include "cuda/reduce.cuh"

namespace reprise::kernels::cuda::attention {

template <class T, int kWidth>
inline constexpr int kPitch = kWidth + kPack<T>;

__device__ __forceinline__ int lane_id() { return static_cast<int>(threadIdx.x) % kWarp; }
__device__ __forceinline__ int warp_id() { return static_cast<int>(threadIdx.x) / kWarp; }

/// Rows [first, first + kRows) of a head become a tile, zeros outside of (T, D). Packed rows arrive with the
/// thread's next cp.async group; eight threads (four where the width is no multiple of eight packs) copy a
/// row.
template <class T, int kWidth, int kRows, int kThreads>
__device__ __forceinline__ void load_tile(T* tile, const Heads<const T>& heads, const T* head, int first,
                                          const Problem& problem) {
  constexpr int kOfRow = kWidth / kPack<T> % 8 == 0 ? 8 : 4, kStep = kThreads / kOfRow;
  static_assert(kRows % kStep == 0);
  const int row = static_cast<int>(threadIdx.x) / kOfRow;
  const int column = static_cast<int>(threadIdx.x) % kOfRow * kPack<T>;
  const T* from = head + (first + row) * heads.row + column;
  T* to = tile + row * kPitch<T, kWidth> + column;
  const int rows_left = problem.length - first - row;
  if (heads.packed) {
#pragma unroll
    for (int i = 0; i < kRows; i += kStep) {
#pragma unroll
      for (int j = 0; j < kWidth; j += kOfRow * kPack<T>)
        simt::cp_async16(to + j, from + j, i < rows_left && column + j < problem.size);
      from += kStep * heads.row;
      to += kStep * kPitch<T, kWidth>;
    }
    return;
  }
#pragma unroll 1
  for (int i = 0; i < kRows; i += kStep) {
#pragma unroll 1
    for (int j = 0; j < kWidth; j += kOfRow * kPack<T>) {
#pragma unroll 1
      for (int e = j; e < j + kPack<T>; ++e)
        to[e] = i < rows_left && column + e < problem.size ? from[e] : from_compute<T>(0.0f);
    }
    from += kStep * heads.row;
    to += kStep * kPitch<T, kWidth>;
  }
}

/// Tile `tile` of two tensors side by side, in the half of `buffers`, [2][first, second], that its parity
/// names.
template <class T, int kWidth, int kRows, int kThreads>
__device__ __forceinline__ void load_pair(T* buffers, int tile, const Heads<const T>& first,
                                          const T* first_head, const Heads<const T>& second,
                                          const T* second_head, const Problem& problem) {
  constexpr int kTile = kRows * kPitch<T, kWidth>;
  T* const to = buffers + tile % 2 * 2 * kTile;
  load_tile<T, kWidth, kRows, kThreads>(to, first, first_head, tile * kRows, problem);
  load_tile<T, kWidth, kRows, kThreads>(to + kTile, second, second_head, tile * kRows, problem);
}

/// Writes or adds N = kPack<T> neighbours of one row, of which those from D on do not exist.
template <class T>
__device__ __forceinline__ void store_part(const Heads<T>& heads, T* to, int column, int size,
                                           float (&values)[kPack<T>]) {
  if (column >= size) return;
  if (heads.packed) {
    if (heads.accumulate) {
      float there[kPack<T>];
      load_pack<T>(to + column, there);
#pragma unroll
      for (int i = 0; i < kPack<T>; ++i) values[i] += there[i];
    }
    store_pack<T>(to + column, values);
  } else {
#pragma unroll
    for (int i = 0; i < kPack<T>; ++i) {
      if (column + i >= size) break;
      T& element = to[column + i];
      element = from_compute<T>(heads.accumulate ? values[i] + to_compute(element) : values[i]);
    }
  }
}

// Scores times the problem's `sign` become exponents of two by its `magnitude`, and the larger has the larger
// one whatever the sign. Nothing is rounded on the way to exp2f(fmaf(sign * score, magnitude, -shift)), nor
// is it in exp2f(fmaf(score, exponent, -shift)), so that forward and backward agree.

inline constexpr float kLog2E = 1.44269504f, kLn2 = 0.693147181f;

/// What exponents of two are shifted by where a row's statistics give its shift in units of e.
__device__ __forceinline__ float shift_of(float shift) { return shift * kLog2E; }

/// Statistics of a row whose powers of two, shifted by `shift`, sum up to `sum`: a shift in units of e, and
/// the inverse of the sum that goes with what `shift_of` makes of it, so that no rounding of the shift is
/// lost.
__device__ __forceinline__ float2 row_statistics(float shift, float sum) {
  const float rounded = shift * kLn2;
  const float other = shift_of(rounded);
  return make_float2(rounded, 1.0f / (shift == other ? sum : sum * exp2f(shift - other)));
}

/// Which probabilities are dropped. Philox gives the words of four neighbouring elements at once; neighbours
/// of the matrix of probabilities are keys of the same query.
struct Dropout {
  std::uint64_t seed, node;
  philox::DropRule rule;
  bool aligned;  // the rows of the matrix begin with a block of four

  __device__ __forceinline__ explicit Dropout(const Problem& problem)
      : seed(problem.key.seed),
        node(problem.key.node + (problem.node_offset == nullptr ? 0 : *problem.node_offset)),
        rule(problem.rule),
        aligned(problem.length % 4 == 0) {}

  /// Bit i: whether element 4 * block + i is dropped.
  __device__ __forceinline__ std::uint32_t of_block(std::uint64_t block) const {
    const philox::Block words = philox::block_of(seed, node, block);
    std::uint32_t bits = 0;
#pragma unroll
    for (int i = 0; i < 4; ++i) bits |= (rule.drops(words.word[i]) ? 1u : 0u) << i;
    return bits;
  }
  __device__ __forceinline__ std::uint32_t of_element(std::uint64_t element) const {
    return of_block(element / 4) >> element % 4 & 1u;
  }
};

/// Index of the probability of a query and a key among those of all sequences.
__device__ __forceinline__ std::uint64_t element_of(const Problem& problem, int sequence, int query,
                                                    int key) {
  const auto length = static_cast<std::uint64_t>(problem.length);
  return (static_cast<std::uint64_t>(sequence) * length + static_cast<std::uint64_t>(query)) * length +
         static_cast<std::uint64_t>(key);
}

/// Every nibble of `bits` is a row of a 4x4 matrix whose rows are the four lanes `step` apart: transposes
/// them.
__device__ __forceinline__ std::uint32_t transpose_nibbles(std::uint32_t bits, int step) {
  const int of_four = lane_id() / step % 4;
  std::uint32_t other = __shfl_xor_sync(kAllLanes, bits, step);
  bits = of_four % 2 == 0 ? (bits & 0x55555555u) | (other & 0x55555555u) << 1
                          : (bits & 0xaaaaaaaau) | (other & 0xaaaaaaaau) >> 1;
  other = __shfl_xor_sync(kAllLanes, bits, 2 * step);
  return of_four < 2 ? (bits & 0x33333333u) | (other & 0x33333333u) << 2
                     : (bits & 0xccccccccu) | (other & 0xccccccccu) >> 2;
}

}  // namespace reprise::kernels::cuda::attention
