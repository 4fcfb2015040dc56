// Attention forward in float32; see attention_forward.cu for the method and attention_single.cuh for the
// tiles. Loads do not overlap the products of their own block but those of the others on a multiprocessor:
// one buffer of keys and values, of which the scores take the place of the keys, leaves room for two blocks
// of the widest head.
#include "cuda/attention_single.cuh"

namespace reprise::kernels::cuda::attention {

namespace single {
namespace {

constexpr int kN = 4, kKeys = 16 * kN;

/// A thread's part of the running maxima, sums and outputs of its rows.
template <int kWidth>
struct Rows {
  float maximum[kOfThread], sum[kOfThread];
  float out[kOfThread][kWidth / 16];

  __device__ __forceinline__ Rows() {
#pragma unroll
    for (int i = 0; i < kOfThread; ++i) {
      maximum[i] = -INFINITY;
      sum[i] = 0.0f;
#pragma unroll
      for (int j = 0; j < kWidth / 16; ++j) out[i][j] = 0.0f;
    }
  }

  /// Scores become exp2(exponent * score - maximum).
  __device__ __forceinline__ void softmax(float (&s)[kOfThread][kN], float exponent) {
#pragma unroll
    for (int i = 0; i < kOfThread; ++i) {
      float largest = -INFINITY;
#pragma unroll
      for (int j = 0; j < kN; ++j) largest = fmaxf(largest, s[i][j]);
#pragma unroll
      for (int step = 1; step < 16; step *= 2)
        largest = fmaxf(largest, __shfl_xor_sync(kAllLanes, largest, step));
      largest = fmaxf(maximum[i], largest * exponent);
      // A row that has only seen -inf must not compute inf - inf.
      const float shift = largest == -INFINITY ? 0.0f : largest;
      const float growth = exp2f(maximum[i] - shift);
      maximum[i] = largest;
      sum[i] *= growth;
#pragma unroll
      for (int j = 0; j < kN; ++j) {
        s[i][j] = exp2f(fmaf(s[i][j], exponent, -shift));
        sum[i] += s[i][j];
      }
#pragma unroll
      for (int j = 0; j < kWidth / 16; ++j) out[i][j] *= growth;
    }
  }
};

/// Scores get the sign, and are -inf where a query must not see a key.
__device__ __forceinline__ void sign_and_mask(float (&s)[kOfThread][kN], float sign, int query, int key,
                                              const Problem& problem) {
#pragma unroll
  for (int i = 0; i < kOfThread; ++i) {
    const int after = query + row_of(i) + 1;
    const int end = problem.causal && after < problem.length ? after : problem.length;
#pragma unroll
    for (int j = 0; j < kN; ++j) s[i][j] = key + tx() + 16 * j < end ? s[i][j] * sign : -INFINITY;
  }
}

template <int kWidth, bool kDropout>
__global__ void __launch_bounds__(kThreads, 2) forward_kernel(Problem problem, Forward<float> tensors) {
  SIMT_DYN_SHARED(raw);
  float* const queries = reinterpret_cast<float*>(raw);
  float* const values = queries + kTileOf<kWidth>;
  float* const keys = values + kTileOf<kWidth>;  // later the probabilities
  const int blocks = (problem.length + kRows - 1) / kRows;
  const Work work = work_of_block(problem, blocks);
  const int sequence = work.sequence;
  const int first = (blocks - 1 - work.part) * kRows;
  const int seen = problem.causal ? min(problem.length, first + kRows) : problem.length;
  load_tile<float, kWidth, kRows, kThreads>(queries, tensors.q, tensors.q.of(sequence, problem.heads), first,
                                            problem);
  Rows<kWidth> rows;
  for (int key = 0; key < seen; key += kKeys) {
    load_tile<float, kWidth, kKeys, kThreads>(keys, tensors.k, tensors.k.of(sequence, problem.heads), key,
                                              problem);
    load_tile<float, kWidth, kKeys, kThreads>(values, tensors.v, tensors.v.of(sequence, problem.heads), key,
                                              problem);
    simt::cp_async_commit();
    simt::cp_async_wait<0>();
    __syncthreads();  // all tiles are there for all
    float s[kOfThread][kN];
    score_product<kWidth>(queries, keys, s);
    sign_and_mask(s, problem.sign, first, key, problem);
    rows.softmax(s, problem.magnitude);
    if constexpr (kDropout) {
      const std::uint32_t dropped = dropped_keys<kN>(Dropout(problem), problem, sequence, first, key);
#pragma unroll
      for (int i = 0; i < kOfThread * kN; ++i) {
        if ((dropped >> i & 1u) != 0) s[i / kN][i % kN] = 0.0f;
      }
    }
    __syncthreads();  // all are done with the keys
    share_scores(s, keys);
    add_product<kWidth, kN>(keys, values, rows.out);
    __syncthreads();  // all are done with the values and the probabilities
  }
  float factor[kOfThread];
#pragma unroll
  for (int i = 0; i < kOfThread; ++i) {
    float sum = rows.sum[i];
#pragma unroll
    for (int step = 1; step < 16; step *= 2) sum += __shfl_xor_sync(kAllLanes, sum, step);
    factor[i] = (kDropout ? problem.keep_scale : 1.0f) / sum;
    const int row = first + row_of(i);
    if (tx() == 0 && row < problem.length)
      tensors.statistics[static_cast<std::int64_t>(sequence) * problem.length + row] =
          row_statistics(rows.maximum[i], sum);
  }
  store_rows<kWidth>(rows.out, factor, tensors.out, tensors.out.of(sequence, problem.heads), first, problem);
}

}  // namespace
}  // namespace single

template <>
void launch_forward(const Queue& queue, const Problem& problem, const Forward<float>& tensors) {
  dispatch_width(problem, [&]<int kWidth, bool kDropout>() {
    constexpr std::size_t kBytes = sizeof(float) * (2 * single::kTileOf<kWidth> +
                                                    std::max(single::kTileOf<kWidth>, single::kTileOf<64>));
    static_assert(kBytes <= kLeastSharedBytes);
    launch_tiles(queue, problem, single::forward_kernel<kWidth, kDropout>, single::kRows, single::kThreads,
                 kBytes, tensors);
  });
}

}  // namespace reprise::kernels::cuda::attention
