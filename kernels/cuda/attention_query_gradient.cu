// dq of attention for 16-bit elements: dq = scale ds k, ds = p * (g - delta), p and g as in
// attention_key_gradients.cu.
//
// A block takes some queries of a head and passes over the keys that they see; both factors of ds are
// computed again (seven products in all for the backward instead of five), which costs less than partial sums
// of dq between blocks and keeps the result independent of timing.
#include "cuda/attention_mma.cuh"

namespace reprise::kernels::cuda::attention {

namespace {

constexpr int kThreads = 128;

/// Rows of a warp (in sixteens) and of an inner tile for one width. A lean block keeps its queries, so that
/// every ldmatrix of keys still feeds four products.
template <int kWidth, bool kLean>
struct Shape {
  static constexpr int kM = 2, kQueries = 16 * kM * kThreads / kWarp, kKeys = kLean ? 16 : 32, kN = kKeys / 8;

  template <class T>
  static constexpr std::size_t shared_bytes() {
    return sizeof(T) * kPitch<T, kWidth> * (2 * kQueries + 4 * kKeys);
  }
};

/// Scores become exp(score - shift), 0 where a query must not see a key.
template <int kM, int kN>
__device__ __forceinline__ void probabilities(float (&s)[kM][kN][4], const float (&shift)[kM][2], bool masked,
                                              int query, int key, const Problem& problem) {
  const int g = lane_id() / 4, t = lane_id() % 4;
#pragma unroll
  for (int m = 0; m < kM; ++m) {
#pragma unroll
    for (int i = 0; i < 4 * kN; ++i) {
      float& score = s[m][i / 4][i % 4];
      score = exp2f(fmaf(score, problem.exponent, -shift[m][i % 4 / 2]));
    }
    if (!masked) continue;
#pragma unroll
    for (int i = 0; i < 4 * kN; ++i) {
      const int after = query + 16 * m + i % 4 / 2 * 8 + g + 1;
      const int end = problem.causal && after < problem.length ? after : problem.length;
      if (key + i / 4 * 8 + 2 * t + i % 2 >= end) s[m][i / 4][i % 4] = 0.0f;
    }
  }
}

template <class T, int kWidth, bool kDropout, bool kLean>
__global__ void __launch_bounds__(kThreads, 2) query_gradient_kernel(Problem problem, Backward<T> tensors) {
  using S = Shape<kWidth, kLean>;
  constexpr int kM = S::kM, kN = S::kN, kKeys = S::kKeys, kTile = kKeys * kPitch<T, kWidth>;
  SIMT_DYN_SHARED(raw);
  T* const queries = reinterpret_cast<T*>(raw);
  T* const gradients = queries + S::kQueries * kPitch<T, kWidth>;
  T* const inner = gradients + S::kQueries * kPitch<T, kWidth>;  // [2][keys, values]
  const int blocks = (problem.length + S::kQueries - 1) / S::kQueries;
  const Work work = work_of_block(problem, blocks);
  const int sequence = work.sequence;
  const int first = (blocks - 1 - work.part) * S::kQueries;
  const int of_block = 16 * kM * warp_id(), row = first + of_block, last_row = row + 16 * kM - 1;
  const int seen = problem.causal ? min(problem.length, first + S::kQueries) : problem.length;
  const int tiles = (seen + kKeys - 1) / kKeys;
  const T* const keys_head = tensors.k.of(sequence, problem.heads);
  const T* const values_head = tensors.v.of(sequence, problem.heads);
  const auto load = [&](int tile) {
    load_pair<T, kWidth, kKeys, kThreads>(inner, tile, tensors.k, keys_head, tensors.v, values_head, problem);
    simt::cp_async_commit();
  };
  load_tile<T, kWidth, S::kQueries, kThreads>(queries, tensors.q, tensors.q.of(sequence, problem.heads),
                                              first, problem);
  load_tile<T, kWidth, S::kQueries, kThreads>(gradients, tensors.dout,
                                              tensors.dout.of(sequence, problem.heads), first, problem);
  load(0);
  // ds = exp(score - shift) * (g * inverse - delta * inverse)
  float shift[kM][2], inverse[kM][2], delta[kM][2];
#pragma unroll
  for (int i = 0; i < 2 * kM; ++i) {
    const int query = row + 8 * i + lane_id() / 4;
    const std::int64_t at = static_cast<std::int64_t>(sequence) * problem.length + query;
    const float2 statistics = query < problem.length ? tensors.statistics[at] : make_float2(0.0f, 0.0f);
    shift[i / 2][i % 2] = shift_of(statistics.x);
    inverse[i / 2][i % 2] = statistics.y;
    delta[i / 2][i % 2] = query < problem.length ? tensors.delta[at] * statistics.y : 0.0f;
  }
  const T* const query_rows = queries + of_block * kPitch<T, kWidth>;
  const T* const gradient_rows = gradients + of_block * kPitch<T, kWidth>;
  float dq[kM][kWidth / 8][4] = {};
  for (int tile = 0; tile < tiles; ++tile) {
    simt::cp_async_wait<0>();
    __syncthreads();  // this tile is there for all, and all are done with the one that the next replaces
    if (tile + 1 < tiles) load(tile + 1);
    const int key = tile * kKeys;
    if (row >= problem.length || (problem.causal && key > last_row)) continue;
    const T* const keys = inner + tile % 2 * 2 * kTile;
    float p[kM][kN][4], g[kM][kN][4];
    score_product<T, kWidth>(query_rows, keys, p);
    const bool masked = key + kKeys > problem.length || (problem.causal && key + kKeys - 1 > row);
    probabilities(p, shift, masked, row, key, problem);
    score_product<T, kWidth>(gradient_rows, keys + kTile, g);
    if constexpr (kDropout) {
      const Dropout dropout(problem);
#pragma unroll
      for (int m = 0; m < kM; ++m) {
        const std::uint32_t dropped = dropped_keys<kN>(dropout, problem, sequence, row + 16 * m, key);
#pragma unroll
        for (int i = 0; i < 4 * kN; ++i)
          g[m][i / 4][i % 4] *= is_dropped(dropped, i / 4, i % 4) ? 0.0f : problem.keep_scale;
      }
    }
#pragma unroll
    for (int i = 0; i < 4 * kM * kN; ++i) {
      float& x = g[i / (4 * kN)][i / 4 % kN][i % 4];
      const int m = i / (4 * kN), half = i % 4 / 2;
      x = p[m][i / 4 % kN][i % 4] * fmaf(x, inverse[m][half], -delta[m][half]);
    }
    Fragment rounded[kM][kN / 2];
    pack_scores<T>(g, rounded);
    add_product<T, kWidth>(rounded, keys, dq);
  }
  if (row >= problem.length) return;
  float factor[kM][2];
#pragma unroll
  for (int i = 0; i < 2 * kM; ++i) factor[i / 2][i % 2] = problem.scale;
  store_rows<T, kWidth>(dq, factor, tensors.dq, tensors.dq.of(sequence, problem.heads), row, problem);
}

}  // namespace

template <class T>
void launch_query_gradient(const Queue& queue, const Problem& problem, const Backward<T>& tensors) {
  dispatch_shape<T, Shape>(problem, [&]<int kWidth, bool kDropout, bool kLean>() {
    using S = Shape<kWidth, kLean>;
    launch_tiles(queue, problem, query_gradient_kernel<T, kWidth, kDropout, kLean>, S::kQueries, kThreads,
                 S::template shared_bytes<T>(), tensors);
  });
}

template void launch_query_gradient(const Queue&, const Problem&, const Backward<__nv_bfloat16>&);
template void launch_query_gradient(const Queue&, const Problem&, const Backward<__half>&);

}  // namespace reprise::kernels::cuda::attention
