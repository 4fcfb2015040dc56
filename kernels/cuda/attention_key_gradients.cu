// dk and dv of attention for 16-bit elements. With p = exp(scale q k^T - shift) * inverse (the rows'
// statistics), kept = p after dropout and g = dout v^T after dropout:
//   dv = kept^T dout      dk = scale ds^T q      ds = p * (g - delta)
//
// A block takes some keys of a head and passes over the queries that see them; what it sums never leaves
// registers, so nothing is added atomically and the result does not depend on timing. Scores are computed
// transposed, keys by queries: rounded, they already are the left operands of both sums. What makes a tile's
// sizes is the registers: dk, dv, s and g of a warp's keys.
#include "cuda/attention_mma.cuh"

namespace reprise::kernels::cuda::attention {

namespace {

constexpr int kThreads = 128;

/// Rows of a warp (in sixteens) and of an inner tile for one width. Lean inner tiles are as large as
/// kLeastSharedBytes lets them be.
template <int kWidth, bool kLean>
struct Shape {
  static constexpr int kM = kWidth <= 64 ? 2 : 1, kKeys = 16 * kM * kThreads / kWarp;
  static constexpr int kQueries = kWidth <= 64 ? 32 : kLean ? 48 : 64, kN = kQueries / 8;

  template <class T>
  static constexpr std::size_t shared_bytes() {
    return sizeof(T) * kPitch<T, kWidth> * (2 * kKeys + 4 * kQueries) + sizeof(float) * 6 * kQueries;
  }
};

/// Scores become exp(score - shift) * inverse, 0 where a query must not see a key; statistics are those of
/// the tile's queries.
template <int kM, int kN>
__device__ __forceinline__ void probabilities(float (&s)[kM][kN][4], const float* statistics, float exponent,
                                              bool masked, int key, int query) {
  const int g = lane_id() / 4, t = lane_id() % 4;
#pragma unroll
  for (int n = 0; n < kN; ++n) {
    const float4 of_queries = *reinterpret_cast<const float4*>(statistics + 2 * (8 * n + 2 * t));
    const float shift[2] = {shift_of(of_queries.x), shift_of(of_queries.z)};
    const float inverse[2] = {of_queries.y, of_queries.w};
#pragma unroll
    for (int m = 0; m < kM; ++m) {
#pragma unroll
      for (int i = 0; i < 4; ++i)
        s[m][n][i] = exp2f(fmaf(s[m][n][i], exponent, -shift[i % 2])) * inverse[i % 2];
    }
  }
  if (!masked) return;
#pragma unroll
  for (int m = 0; m < kM; ++m) {
#pragma unroll
    for (int i = 0; i < 4 * kN; ++i) {
      const int n = i / 4, half = i % 4 / 2, j = i % 2;
      if (key + 16 * m + 8 * half + g > query + 8 * n + 2 * t + j) s[m][n][i % 4] = 0.0f;
    }
  }
}

/// g (with dropout's factors) becomes ds.
template <int kM, int kN>
__device__ __forceinline__ void score_gradients(const float (&p)[kM][kN][4], const float* delta,
                                                float (&g)[kM][kN][4]) {
#pragma unroll
  for (int n = 0; n < kN; ++n) {
    const float2 of_query = *reinterpret_cast<const float2*>(delta + 8 * n + lane_id() % 4 * 2);
#pragma unroll
    for (int m = 0; m < kM; ++m) {
#pragma unroll
      for (int i = 0; i < 4; ++i)
        g[m][n][i] = p[m][n][i] * (g[m][n][i] - (i % 2 == 0 ? of_query.x : of_query.y));
    }
  }
}

template <class T, int kWidth, bool kDropout, bool kLean>
__global__ void __launch_bounds__(kThreads, 2) key_gradients_kernel(Problem problem, Backward<T> tensors) {
  using S = Shape<kWidth, kLean>;
  constexpr int kM = S::kM, kN = S::kN, kQueries = S::kQueries, kTile = kQueries * kPitch<T, kWidth>;
  SIMT_DYN_SHARED(raw);
  float* const statistics = reinterpret_cast<float*>(raw);  // [2][(shift, inverse) of kQueries, their delta]
  T* const keys = reinterpret_cast<T*>(statistics + 6 * kQueries);
  T* const values = keys + S::kKeys * kPitch<T, kWidth>;
  T* const inner = values + S::kKeys * kPitch<T, kWidth>;  // [2][queries, gradients of out]
  const int blocks = (problem.length + S::kKeys - 1) / S::kKeys;
  const Work work = work_of_block(problem, blocks);
  const int sequence = work.sequence;
  const int first = work.part * S::kKeys;
  const int of_block = 16 * kM * warp_id(), row = first + of_block;
  const int tiles = (problem.length + kQueries - 1) / kQueries;
  const int begin = problem.causal ? first / kQueries : 0;
  const T* const queries_head = tensors.q.of(sequence, problem.heads);
  const T* const gradients_head = tensors.dout.of(sequence, problem.heads);
  const auto load = [&](int tile) {
    load_pair<T, kWidth, kQueries, kThreads>(inner, tile, tensors.q, queries_head, tensors.dout,
                                             gradients_head, problem);
    const std::int64_t of_head = static_cast<std::int64_t>(sequence) * problem.length;
#pragma unroll
    for (int first_of = 0; first_of < 3 * kQueries; first_of += kThreads) {
      const int i = first_of + static_cast<int>(threadIdx.x);
      if (i >= 3 * kQueries) continue;
      const bool is_delta = i >= 2 * kQueries;
      const int query = tile * kQueries + (is_delta ? i - 2 * kQueries : i / 2);
      const float* const from =
          is_delta ? tensors.delta + of_head + query
                   : reinterpret_cast<const float*>(tensors.statistics + of_head + query) + i % 2;
      simt::cp_async4(statistics + tile % 2 * 3 * kQueries + i, from, query < problem.length);
    }
    simt::cp_async_commit();
  };
  load_tile<T, kWidth, S::kKeys, kThreads>(keys, tensors.k, tensors.k.of(sequence, problem.heads), first,
                                           problem);
  load_tile<T, kWidth, S::kKeys, kThreads>(values, tensors.v, tensors.v.of(sequence, problem.heads), first,
                                           problem);
  load(begin);
  const T* const key_rows = keys + of_block * kPitch<T, kWidth>;
  const T* const value_rows = values + of_block * kPitch<T, kWidth>;
  float dk[kM][kWidth / 8][4] = {}, dv[kM][kWidth / 8][4] = {};
  for (int tile = begin; tile < tiles; ++tile) {
    simt::cp_async_wait<0>();
    __syncthreads();  // this tile is there for all, and all are done with the one that the next replaces
    if (tile + 1 < tiles) load(tile + 1);
    const int query = tile * kQueries;
    if (row >= problem.length || (problem.causal && row > query + kQueries - 1)) continue;
    const T* const queries = inner + tile % 2 * 2 * kTile;
    const T* const gradients = queries + kTile;
    const float* const of_tile = statistics + tile % 2 * 3 * kQueries;
    float p[kM][kN][4], g[kM][kN][4];
    Fragment rounded[kM][kN / 2];
    score_product<T, kWidth>(key_rows, queries, p);
    probabilities(p, of_tile, problem.exponent, problem.causal && row + 16 * kM - 1 > query, row, query);
    std::uint32_t dropped[kM];
    if constexpr (kDropout) {
      const Dropout dropout(problem);
#pragma unroll
      for (int m = 0; m < kM; ++m)
        dropped[m] = dropped_queries<kN>(dropout, problem, sequence, query, row + 16 * m);
    }
    if (tensors.dv.data != nullptr) {
      if constexpr (kDropout) {
        // g is not in use yet
#pragma unroll
        for (int i = 0; i < 4 * kM * kN; ++i) {
          const int m = i / (4 * kN), n = i / 4 % kN;
          g[m][n][i % 4] = is_dropped(dropped[m], n, i % 4) ? 0.0f : p[m][n][i % 4] * problem.keep_scale;
        }
        pack_scores<T>(g, rounded);
      } else {
        pack_scores<T>(p, rounded);
      }
      add_product<T, kWidth>(rounded, gradients, dv);
    }
    if (tensors.dk.data != nullptr) {
      score_product<T, kWidth>(value_rows, gradients, g);
      if constexpr (kDropout) {
#pragma unroll
        for (int i = 0; i < 4 * kM * kN; ++i) {
          const int m = i / (4 * kN), n = i / 4 % kN;
          g[m][n][i % 4] *= is_dropped(dropped[m], n, i % 4) ? 0.0f : problem.keep_scale;
        }
      }
      score_gradients(p, of_tile + 2 * kQueries, g);
      pack_scores<T>(g, rounded);
      add_product<T, kWidth>(rounded, queries, dk);
    }
  }
  if (row >= problem.length) return;
  float factor[kM][2];
  const auto store = [&](float scale, const auto& values_of, const Heads<T>& target) {
    if (target.data == nullptr) return;
#pragma unroll
    for (int m = 0; m < kM; ++m) factor[m][0] = factor[m][1] = scale;
    store_rows<T, kWidth>(values_of, factor, target, target.of(sequence, problem.heads), row, problem);
  };
  store(problem.scale, dk, tensors.dk);
  store(1.0f, dv, tensors.dv);
}

}  // namespace

template <class T>
void launch_key_gradients(const Queue& queue, const Problem& problem, const Backward<T>& tensors) {
  dispatch_shape<T, Shape>(problem, [&]<int kWidth, bool kDropout, bool kLean>() {
    using S = Shape<kWidth, kLean>;
    launch_tiles(queue, problem, key_gradients_kernel<T, kWidth, kDropout, kLean>, S::kKeys, kThreads,
                 S::template shared_bytes<T>(), tensors);
  });
}

template void launch_key_gradients(const Queue&, const Problem&, const Backward<__nv_bfloat16>&);
template void launch_key_gradients(const Queue&, const Problem&, const Backward<__half>&);

}  // namespace reprise::kernels::cuda::attention
