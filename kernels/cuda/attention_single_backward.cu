// Attention backward in float32: the formulas and the two passes (keys, then queries) are those of
// attention_key_gradients.cu and attention_query_gradient.cu, the tiles those of attention_single.cuh.
// Probabilities and score gradients pass through a tile in shared memory, 64 outer rows by 32 inner ones:
// with 64 there would be room for only one block of the widest head. Lean tiles have 16 inner rows.
#include "cuda/attention_single.cuh"

namespace reprise::kernels::cuda::attention {

namespace single {
namespace {

template <int kWidth, bool kLean>
struct Shape {
  static constexpr int kN = kLean ? 1 : 2, kInner = 16 * kN;

  template <class T>
  static constexpr std::size_t shared_bytes() {
    return sizeof(T) * (2 * kTileOf<kWidth> + 2 * kInner * kPitch<T, kWidth> + kRows * kPitch<T, kInner>);
  }
};

/// The block's tiles in shared memory; the two outer ones are on their way when it is made.
template <int kWidth, bool kLean>
struct Tiles {
  static constexpr int kInner = Shape<kWidth, kLean>::kInner;
  float *outer[2], *inner[2], *scores;

  __device__ __forceinline__ Tiles(unsigned char* raw, const Problem& problem, const Heads<const float>& x,
                                   const Heads<const float>& y, int sequence, int first) {
    outer[0] = reinterpret_cast<float*>(raw);
    outer[1] = outer[0] + kTileOf<kWidth>;
    inner[0] = outer[1] + kTileOf<kWidth>;
    inner[1] = inner[0] + kInner * kPitch<float, kWidth>;
    scores = inner[1] + kInner * kPitch<float, kWidth>;
    load_tile<float, kWidth, kRows, kThreads>(outer[0], x, x.of(sequence, problem.heads), first, problem);
    load_tile<float, kWidth, kRows, kThreads>(outer[1], y, y.of(sequence, problem.heads), first, problem);
  }
  /// Brings the inner tiles and waits for everything.
  __device__ __forceinline__ void load(const Problem& problem, const Heads<const float>& x,
                                       const Heads<const float>& y, int sequence, int first) const {
    __syncthreads();  // all are done with the tiles that were there
    load_tile<float, kWidth, kInner, kThreads>(inner[0], x, x.of(sequence, problem.heads), first, problem);
    load_tile<float, kWidth, kInner, kThreads>(inner[1], y, y.of(sequence, problem.heads), first, problem);
    simt::cp_async_commit();
    simt::cp_async_wait<0>();
    __syncthreads();  // all tiles are there for all
  }
};

template <int kWidth, bool kDropout, bool kLean>
__global__ void __launch_bounds__(kThreads, 2)
    key_gradients_kernel(Problem problem, Backward<float> tensors) {
  SIMT_DYN_SHARED(raw);
  constexpr int kN = Shape<kWidth, kLean>::kN, kInner = Shape<kWidth, kLean>::kInner;
  const int blocks = (problem.length + kRows - 1) / kRows;
  const Work work = work_of_block(problem, blocks);
  const int sequence = work.sequence;
  const int first = work.part * kRows;
  const std::int64_t rows = static_cast<std::int64_t>(sequence) * problem.length;
  const Tiles<kWidth, kLean> tiles(raw, problem, tensors.k, tensors.v, sequence, first);
  float dk[kOfThread][kWidth / 16] = {}, dv[kOfThread][kWidth / 16] = {};
  for (int query = problem.causal ? first : 0; query < problem.length; query += kInner) {
    tiles.load(problem, tensors.q, tensors.dout, sequence, query);
    float p[kOfThread][kN], g[kOfThread][kN];
    score_product<kWidth>(tiles.outer[0], tiles.inner[0], p);
    score_product<kWidth>(tiles.outer[1], tiles.inner[1], g);
    std::uint32_t dropped = 0;
    if constexpr (kDropout) dropped = dropped_queries<kN>(Dropout(problem), problem, sequence, query, first);
#pragma unroll
    for (int j = 0; j < kN; ++j) {
      const int column = query + tx() + 16 * j;
      const bool exists = column < problem.length;
      const float2 of_query = exists ? tensors.statistics[rows + column] : make_float2(0.0f, 0.0f);
      const float shift = shift_of(of_query.x), inverse = of_query.y;
      const float delta = exists ? tensors.delta[rows + column] : 0.0f;
#pragma unroll
      for (int i = 0; i < kOfThread; ++i) {
        const bool visible = exists && !(problem.causal && first + row_of(i) > column);
        const float factor = !kDropout                             ? 1.0f
                             : (dropped >> (i * kN + j) & 1u) != 0 ? 0.0f
                                                                   : problem.keep_scale;
        const float probability = visible ? exp2f(fmaf(p[i][j], problem.exponent, -shift)) * inverse : 0.0f;
        g[i][j] = probability * (g[i][j] * factor - delta);
        p[i][j] = probability * factor;
      }
    }
    if (tensors.dv.data != nullptr) {
      share_scores(p, tiles.scores);
      add_product<kWidth, kN>(tiles.scores, tiles.inner[1], dv);
    }
    if (tensors.dk.data != nullptr) {
      share_scores(g, tiles.scores);
      add_product<kWidth, kN>(tiles.scores, tiles.inner[0], dk);
    }
  }
  const auto store = [&](float scale, const auto& values, const Heads<float>& target) {
    if (target.data == nullptr) return;
    float factor[kOfThread];
#pragma unroll
    for (int i = 0; i < kOfThread; ++i) factor[i] = scale;
    store_rows<kWidth>(values, factor, target, target.of(sequence, problem.heads), first, problem);
  };
  store(problem.scale, dk, tensors.dk);
  store(1.0f, dv, tensors.dv);
}

template <int kWidth, bool kDropout, bool kLean>
__global__ void __launch_bounds__(kThreads, 2)
    query_gradient_kernel(Problem problem, Backward<float> tensors) {
  SIMT_DYN_SHARED(raw);
  constexpr int kN = Shape<kWidth, kLean>::kN, kInner = Shape<kWidth, kLean>::kInner;
  const int blocks = (problem.length + kRows - 1) / kRows;
  const Work work = work_of_block(problem, blocks);
  const int sequence = work.sequence;
  const int first = (blocks - 1 - work.part) * kRows;
  const int seen = problem.causal ? min(problem.length, first + kRows) : problem.length;
  const Tiles<kWidth, kLean> tiles(raw, problem, tensors.q, tensors.dout, sequence, first);
  float shift[kOfThread], inverse[kOfThread], delta[kOfThread], dq[kOfThread][kWidth / 16] = {};
#pragma unroll
  for (int i = 0; i < kOfThread; ++i) {
    const int row = first + row_of(i);
    const std::int64_t at = static_cast<std::int64_t>(sequence) * problem.length + row;
    const float2 of_query = row < problem.length ? tensors.statistics[at] : make_float2(0.0f, 0.0f);
    shift[i] = shift_of(of_query.x);
    inverse[i] = of_query.y;
    delta[i] = row < problem.length ? tensors.delta[at] : 0.0f;
  }
  for (int key = 0; key < seen; key += kInner) {
    tiles.load(problem, tensors.k, tensors.v, sequence, key);
    float p[kOfThread][kN], g[kOfThread][kN];
    score_product<kWidth>(tiles.outer[0], tiles.inner[0], p);
    score_product<kWidth>(tiles.outer[1], tiles.inner[1], g);
    std::uint32_t dropped = 0;
    if constexpr (kDropout) dropped = dropped_keys<kN>(Dropout(problem), problem, sequence, first, key);
#pragma unroll
    for (int i = 0; i < kOfThread; ++i) {
      const int after = first + row_of(i) + 1;
      const int end = problem.causal && after < problem.length ? after : problem.length;
#pragma unroll
      for (int j = 0; j < kN; ++j) {
        const float factor = !kDropout                             ? 1.0f
                             : (dropped >> (i * kN + j) & 1u) != 0 ? 0.0f
                                                                   : problem.keep_scale;
        const float probability =
            key + tx() + 16 * j < end ? exp2f(fmaf(p[i][j], problem.exponent, -shift[i])) * inverse[i] : 0.0f;
        g[i][j] = probability * (g[i][j] * factor - delta[i]);
      }
    }
    share_scores(g, tiles.scores);
    add_product<kWidth, kN>(tiles.scores, tiles.inner[0], dq);
  }
  float factor[kOfThread];
#pragma unroll
  for (int i = 0; i < kOfThread; ++i) factor[i] = problem.scale;
  store_rows<kWidth>(dq, factor, tensors.dq, tensors.dq.of(sequence, problem.heads), first, problem);
}

}  // namespace
}  // namespace single

template <>
void launch_key_gradients(const Queue& queue, const Problem& problem, const Backward<float>& tensors) {
  dispatch_shape<float, single::Shape>(problem, [&]<int kWidth, bool kDropout, bool kLean>() {
    launch_tiles(queue, problem, single::key_gradients_kernel<kWidth, kDropout, kLean>, single::kRows,
                 single::kThreads, single::Shape<kWidth, kLean>::template shared_bytes<float>(), tensors);
  });
}

template <>
void launch_query_gradient(const Queue& queue, const Problem& problem, const Backward<float>& tensors) {
  dispatch_shape<float, single::Shape>(problem, [&]<int kWidth, bool kDropout, bool kLean>() {
    launch_tiles(queue, problem, single::query_gradient_kernel<kWidth, kDropout, kLean>, single::kRows,
                 single::kThreads, single::Shape<kWidth, kLean>::template shared_bytes<float>(), tensors);
  });
}

}  // namespace reprise::kernels::cuda::attention
