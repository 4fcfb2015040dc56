// Tensor-core pieces of attention for 16-bit elements: every warp takes 16 * kM rows of the outer tile and
// all rows of an inner tile.
//
// Fragments (PTX ISA, mma.m16n8k16): lane 4 * g + t holds rows g and g + 8, columns 2 t and 2 t + 1 of every
// 16x8 result: s[m][n][2 * half + j] is row 16 m + 8 half + g, column 8 n + 2 t + j. Two neighbouring
// results, rounded, are the left operand of the next product, so scores never pass through shared memory.
#pragma once

#include "cuda/attention_tile.cuh"

namespace reprise::kernels::cuda::attention {

using Fragment = std::uint32_t[4];

/// d += a b
template <class T>
__device__ __forceinline__ void mma(float (&d)[4], const Fragment& a, std::uint32_t b0, std::uint32_t b1) {
  const std::uint32_t b[2] = {b0, b1};
  if constexpr (std::is_same_v<T, __half>)
    simt::mma_m16n8k16_f16(d, a, b);
  else
    simt::mma_m16n8k16(d, a, b);
}

template <class T>
__device__ __forceinline__ std::uint32_t pack_pair(float low, float high) {
  std::uint32_t bits;
  if constexpr (std::is_same_v<T, __half>) {
    const __half2 pair = __floats2half2_rn(low, high);
    memcpy(&bits, &pair, sizeof bits);
  } else {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    memcpy(&bits, &pair, sizeof bits);
  }
  return bits;
}

/// s (16 kM, 8 kN) = x (16 kM, D) y^T, x and y being the first rows of tiles. x is read again for every tile
/// of y: kept, it would take the registers of a third block per multiprocessor.
template <class T, int kWidth, int kM, int kN>
__device__ __forceinline__ void score_product(const T* x, const T* y, float (&s)[kM][kN][4]) {
  const int lane = lane_id();
  x += lane % 16 * kPitch<T, kWidth> + lane / 16 * 8;
  y += (lane % 8 + lane / 16 * 8) * kPitch<T, kWidth> + lane / 8 % 2 * 8;
#pragma unroll
  for (int m = 0; m < kM; ++m) {
#pragma unroll
    for (int i = 0; i < 4 * kN; ++i) s[m][i / 4][i % 4] = 0.0f;
  }
#pragma unroll
  for (int k = 0; k < kWidth; k += 16) {
    Fragment a[kM];
#pragma unroll
    for (int m = 0; m < kM; ++m) simt::ldmatrix_x4(a[m], x + 16 * m * kPitch<T, kWidth> + k);
#pragma unroll
    for (int n = 0; n < kN; n += 2) {
      Fragment b;
      simt::ldmatrix_x4(b, y + 8 * n * kPitch<T, kWidth> + k);
#pragma unroll
      for (int m = 0; m < kM; ++m) {
        mma<T>(s[m][n], a[m], b[0], b[1]);
        mma<T>(s[m][n + 1], a[m], b[2], b[3]);
      }
    }
  }
}

/// Scores rounded to T as left operands, 16 columns each.
template <class T, int kM, int kN>
__device__ __forceinline__ void pack_scores(const float (&s)[kM][kN][4], Fragment (&p)[kM][kN / 2]) {
#pragma unroll
  for (int m = 0; m < kM; ++m) {
#pragma unroll
    for (int n = 0; n < kN; ++n) {
      p[m][n / 2][n % 2 * 2] = pack_pair<T>(s[m][n][0], s[m][n][1]);
      p[m][n / 2][n % 2 * 2 + 1] = pack_pair<T>(s[m][n][2], s[m][n][3]);
    }
  }
}

/// to (16 kM, D) += p (16 kM, 16 kK) y, y being the first 16 kK rows of a tile.
template <class T, int kWidth, int kM, int kK>
__device__ __forceinline__ void add_product(const Fragment (&p)[kM][kK], const T* y,
                                            float (&to)[kM][kWidth / 8][4]) {
  const int lane = lane_id();
  y += lane % 16 * kPitch<T, kWidth> + lane / 16 * 8;
#pragma unroll
  for (int k = 0; k < kK; ++k) {
#pragma unroll
    for (int n = 0; n < kWidth / 8; n += 2) {
      Fragment b;
      simt::ldmatrix_x4_trans(b, y + 16 * k * kPitch<T, kWidth> + 8 * n);
#pragma unroll
      for (int m = 0; m < kM; ++m) {
        mma<T>(to[m][n], p[m][k], b[0], b[1]);
        mma<T>(to[m][n + 1], p[m][k], b[2], b[3]);
      }
    }
  }
}

/// The four lanes of a quad hold rows of a 4x4 matrix of pairs: transposes them.
__device__ __forceinline__ void transpose_quad(float (&x)[4][2]) {
  const int t = lane_id() % 4;
#pragma unroll
  for (int step = 1; step < 4; step *= 2) {
    const bool upper = (t & step) != 0;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if ((i & step) != 0) continue;
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        const float other = __shfl_xor_sync(kAllLanes, upper ? x[i][j] : x[i + step][j], step);
        (upper ? x[i][j] : x[i + step][j]) = other;
      }
    }
  }
}

/// Rows [first, first + 16 kM) of a head (=, +=) factor * values; factor[m][half] belongs to row 16 m + 8
/// half
/// + g. The lanes of a quad first exchange what they hold: each then has 16 neighbouring bytes.
template <class T, int kWidth, int kM>
__device__ __forceinline__ void store_rows(const float (&values)[kM][kWidth / 8][4],
                                           const float (&factor)[kM][2], const Heads<T>& heads, T* head,
                                           int first, const Problem& problem) {
  const int lane = lane_id();
#pragma unroll
  for (int m = 0; m < kM; ++m) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = first + 16 * m + 8 * half + lane / 4;
#pragma unroll
      for (int n = 0; n < kWidth / 8; n += 4) {
        float x[4][2];
#pragma unroll
        for (int i = 0; i < 8; ++i)
          x[i / 2][i % 2] = values[m][n + i / 2][2 * half + i % 2] * factor[m][half];
        transpose_quad(x);
        float part[8];
#pragma unroll
        for (int i = 0; i < 8; ++i) part[i] = x[i / 2][i % 2];
        if (row < problem.length)
          store_part<T>(heads, head + row * heads.row, 8 * (n + lane % 4), problem.size, part);
      }
    }
  }
}

/// Bit 16 * half + 2 n + j: whether s[m][n][2 * half + j] is dropped, rows being queries from `query` and
/// columns keys from `key`. Neighbouring lanes share blocks: each computes those of every other n.
template <int kN>
__device__ __forceinline__ std::uint32_t dropped_keys(const Dropout& dropout, const Problem& problem,
                                                      int sequence, int query, int key) {
  static_assert(kN % 2 == 0 && kN <= 8);
  const int lane = lane_id(), odd = lane % 2;
  std::uint32_t bits = 0;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const std::uint64_t row = element_of(problem, sequence, query + 8 * half + lane / 4, key);
    if (dropout.aligned) {
#pragma unroll
      for (int n = 0; n < kN; n += 2) {
        const int column = 8 * (n + odd) + lane % 4 / 2 * 4;
        bits |= dropout.of_block((row + static_cast<std::uint64_t>(column)) / 4) << (16 * half + 2 * n);
      }
    } else {
#pragma unroll 1
      for (int i = 0; i < 2 * kN; ++i) {
        const int column = i / 2 * 8 + lane % 4 * 2 + i % 2;
        bits |= dropout.of_element(row + static_cast<std::uint64_t>(column)) << (16 * half + i);
      }
    }
  }
  if (!dropout.aligned) return bits;
  const std::uint32_t other = __shfl_xor_sync(kAllLanes, bits, 1);
  return odd == 0 ? (bits & 0x33333333u) | (other & 0x33333333u) << 2
                  : (bits & 0xccccccccu) | (other & 0xccccccccu) >> 2;
}

/// The same where rows are keys and columns queries: four lanes with neighbouring rows share blocks.
template <int kN>
__device__ __forceinline__ std::uint32_t dropped_queries(const Dropout& dropout, const Problem& problem,
                                                         int sequence, int query, int key) {
  static_assert(kN % 2 == 0 && kN <= 8);
  const int lane = lane_id(), of_four = lane / 4 % 4;
  std::uint32_t bits = 0;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = key + 8 * half + lane / 4;
    if (dropout.aligned) {
#pragma unroll
      for (int n = 0; n < kN; n += 2) {
        const int column = 8 * (n + of_four / 2) + lane % 4 * 2 + of_four % 2;
        bits |= dropout.of_block(element_of(problem, sequence, query + column, row - of_four) / 4)
                << (16 * half + 2 * n);
      }
    } else {
#pragma unroll 1
      for (int i = 0; i < 2 * kN; ++i) {
        const int column = i / 2 * 8 + lane % 4 * 2 + i % 2;
        bits |= dropout.of_element(element_of(problem, sequence, query + column, row)) << (16 * half + i);
      }
    }
  }
  return dropout.aligned ? transpose_nibbles(bits, 4) : bits;
}

__device__ __forceinline__ bool is_dropped(std::uint32_t bits, int n, int element) {
  return (bits >> (16 * (element / 2) + 2 * n + element % 2) & 1u) != 0;
}

}  // namespace reprise::kernels::cuda::attention
