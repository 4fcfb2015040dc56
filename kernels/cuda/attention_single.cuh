// Pieces of attention in float32, on the ordinary cores: tensor cores would round to fewer bits.
//
// 128 threads hold 64 rows of an outer tile by 16 * kN rows of an inner one: thread 16 * ty + tx has rows 4
// ty
// + i % 4 + 32 * (i / 4), i < 8, and columns tx + 16 j. Two values of ty in a warp then read different banks
// and the sixteen of tx neighbouring rows, and four neighbouring rows of a thread share a block of Philox.
#pragma once

#include "cuda/attention_tile.cuh"

namespace reprise::kernels::cuda::attention::single {

inline constexpr int kThreads = 128, kRows = 64, kOfThread = 8;

__device__ __forceinline__ int tx() { return static_cast<int>(threadIdx.x) % 16; }
__device__ __forceinline__ int ty() { return static_cast<int>(threadIdx.x) / 16; }
__device__ __forceinline__ int row_of(int i) { return 4 * ty() + i % 4 + i / 4 * 32; }

template <int kWidth>
inline constexpr int kTileOf = kRows* kPitch<float, kWidth>;

/// Four neighbours of a tile's row.
struct Four {
  float x[4];
  __device__ __forceinline__ explicit Four(const float* from) {
    const float4 four = *reinterpret_cast<const float4*>(from);
    x[0] = four.x, x[1] = four.y, x[2] = four.z, x[3] = four.w;
  }
};

/// s = x y^T, x and y being tiles.
template <int kWidth, int kN>
__device__ __forceinline__ void score_product(const float* x, const float* y, float (&s)[kOfThread][kN]) {
  constexpr int kStride = kPitch<float, kWidth>;
  x += row_of(0) * kStride;
  y += tx() * kStride;
#pragma unroll
  for (int i = 0; i < kOfThread * kN; ++i) s[i / kN][i % kN] = 0.0f;
#pragma unroll 2
  for (int d = 0; d < kWidth; d += 4) {
    float b[kN][4];
#pragma unroll
    for (int j = 0; j < kN; ++j) {
      const Four four(y + 16 * j * kStride + d);
#pragma unroll
      for (int e = 0; e < 4; ++e) b[j][e] = four.x[e];
    }
#pragma unroll
    for (int i = 0; i < kOfThread; ++i) {
      const Four a(x + (i % 4 + i / 4 * 32) * kStride + d);
#pragma unroll
      for (int j = 0; j < kN; ++j) {
#pragma unroll
        for (int e = 0; e < 4; ++e) s[i][j] = fmaf(a.x[e], b[j][e], s[i][j]);
      }
    }
  }
}

/// to += p y: p is a tile of scores, y one of 16 * kN rows; a thread has columns 2 tx and 2 tx + 1 of
/// every 32.
template <int kWidth, int kN>
__device__ __forceinline__ void add_product(const float* p, const float* y,
                                            float (&to)[kOfThread][kWidth / 16]) {
  constexpr int kStride = kPitch<float, kWidth>, kScores = kPitch<float, 16 * kN>;
  p += row_of(0) * kScores;
  y += 2 * tx();
#pragma unroll 1
  for (int k = 0; k < 16 * kN; k += 4) {
    float b[4][kWidth / 16];
#pragma unroll
    for (int i = 0; i < 4 * (kWidth / 32); ++i) {
      const int e = i / (kWidth / 32), j = i % (kWidth / 32);
      const float2 two = *reinterpret_cast<const float2*>(y + (k + e) * kStride + 32 * j);
      b[e][2 * j] = two.x;
      b[e][2 * j + 1] = two.y;
    }
#pragma unroll
    for (int i = 0; i < kOfThread; ++i) {
      const Four a(p + (i % 4 + i / 4 * 32) * kScores + k);
#pragma unroll
      for (int e = 0; e < 4; ++e) {
#pragma unroll
        for (int j = 0; j < kWidth / 16; ++j) to[i][j] = fmaf(a.x[e], b[e][j], to[i][j]);
      }
    }
  }
}

/// Scores go to a tile that only their own warp reads.
template <int kN>
__device__ __forceinline__ void share_scores(const float (&s)[kOfThread][kN], float* to) {
  __syncwarp();  // all lanes are done with what was there (redundant where a block barrier came in between)
#pragma unroll
  for (int i = 0; i < kOfThread * kN; ++i)
    to[row_of(i / kN) * kPitch<float, 16 * kN> + tx() + i % kN * 16] = s[i / kN][i % kN];
  __syncwarp();
}

/// Rows from `first` of a head (=, +=) factor * values.
template <int kWidth>
__device__ __forceinline__ void store_rows(const float (&values)[kOfThread][kWidth / 16],
                                           const float (&factor)[kOfThread], const Heads<float>& heads,
                                           float* head, int first, const Problem& problem) {
#pragma unroll
  for (int i = 0; i < kOfThread; ++i) {
    const int row = first + row_of(i);
    if (row >= problem.length) continue;
    float* const to = head + row * heads.row + 2 * tx();
#pragma unroll
    for (int j = 0; j < kWidth / 16; ++j) {
      const int column = j / 2 * 32 + j % 2;
      if (2 * tx() + column >= problem.size) continue;
      const float value = factor[i] * values[i][j];
      to[column] = heads.accumulate ? to[column] + value : value;
    }
  }
}

/// Bit i * kN + j: whether s[i][j] is dropped; rows are queries from `query`, columns keys from `key`. Four
/// neighbouring lanes share blocks.
template <int kN>
__device__ __forceinline__ std::uint32_t dropped_keys(const Dropout& dropout, const Problem& problem,
                                                      int sequence, int query, int key) {
  const int of_four = tx() % 4;
  std::uint32_t bits = 0;
  if (dropout.aligned) {
#pragma unroll
    for (int quarter = 0; quarter < 2 * kN; ++quarter) {
      const int i = (4 * quarter + of_four) / kN, j = (4 * quarter + of_four) % kN;
      const std::uint64_t element =
          element_of(problem, sequence, query + row_of(i), key + tx() - of_four + 16 * j);
      bits |= dropout.of_block(element / 4) << (4 * quarter);
    }
    return transpose_nibbles(bits, 1);
  }
#pragma unroll 1
  for (int i = 0; i < kOfThread * kN; ++i) {
    bits |=
        dropout.of_element(element_of(problem, sequence, query + row_of(i / kN), key + tx() + i % kN * 16))
        << i;
  }
  return bits;
}

/// The same where rows are keys and columns queries: a thread's rows come in fours that share a block.
template <int kN>
__device__ __forceinline__ std::uint32_t dropped_queries(const Dropout& dropout, const Problem& problem,
                                                         int sequence, int query, int key) {
  std::uint32_t bits = 0;
#pragma unroll
  for (int i = 0; i < 2 * kN; ++i) {
    const int four = i / kN, j = i % kN;
    const std::uint64_t element =
        element_of(problem, sequence, query + tx() + 16 * j, key + row_of(4 * four));
    std::uint32_t nibble = 0;
    if (dropout.aligned) {
      nibble = dropout.of_block(element / 4);
    } else {
#pragma unroll 1
      for (int e = 0; e < 4; ++e) nibble |= dropout.of_element(element + static_cast<std::uint64_t>(e)) << e;
    }
#pragma unroll
    for (int e = 0; e < 4; ++e) bits |= (nibble >> e & 1u) << ((4 * four + e) * kN + j);
  }
  return bits;
}

}  // namespace reprise::kernels::cuda::attention::single
