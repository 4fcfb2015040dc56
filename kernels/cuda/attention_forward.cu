// Attention forward for 16-bit elements: out = dropout(softmax(scale q k^T + mask)) v, and the rows'
// statistics.
//
// A block takes 128 queries of a head, a warp 32 of them, and passes over the keys 64 at a time; the next
// keys and values arrive (cp.async) while the present ones are used. Scores stay in registers; what was
// summed is rescaled whenever a row's maximum grows (Milakov and Gimelshein 2018; Dao 2023). Thirty-two
// queries a warp let every ldmatrix of keys or values feed four products: with 16 shared memory would be the
// limit, not the tensor cores. Blocks of late queries, which see the most keys, start first.
#include "cuda/attention_mma.cuh"

namespace reprise::kernels::cuda::attention {

namespace {

constexpr int kThreads = 128, kM = 2, kQueries = 16 * kM * kThreads / kWarp;

/// Keys of a tile: as many as there are registers for their scores beside the outputs, with two blocks on a
/// multiprocessor.
template <int kWidth>
struct Shape {
  static constexpr int kKeys = kWidth <= 64 ? 64 : 32, kN = kKeys / 8;

  template <class T>
  static constexpr std::size_t shared_bytes() {
    return sizeof(T) * kPitch<T, kWidth> * (kQueries + 4 * kKeys);
  }
};

/// -inf wherever a row must not see a key; rows and keys count from `row` and `key`.
template <int kN>
__device__ __forceinline__ void mask_scores(float (&s)[kM][kN][4], int row, int key, const Problem& problem) {
  const int g = lane_id() / 4, t = lane_id() % 4;
#pragma unroll
  for (int m = 0; m < kM; ++m) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int after = row + 16 * m + 8 * half + g + 1;
      const int end = (problem.causal && after < problem.length ? after : problem.length) - key - 2 * t;
#pragma unroll
      for (int n = 0; n < kN; ++n) {
#pragma unroll
        for (int j = 0; j < 2; ++j) {
          if (8 * n + j >= end) s[m][n][2 * half + j] = -INFINITY;
        }
      }
    }
  }
}

/// Combines the four lanes that share a row.
template <class F>
__device__ __forceinline__ float quad_combine(float value, F combine) {
  value = combine(value, __shfl_xor_sync(kAllLanes, value, 1));
  return combine(value, __shfl_xor_sync(kAllLanes, value, 2));
}
struct LargerOf {
  __device__ __forceinline__ float operator()(float a, float b) const { return fmaxf(a, b); }
};

/// A warp's running shifts (powers of two), sums of the shifted exponentials (each lane's part of them) and
/// outputs.
template <int kWidth>
struct Rows {
  float shift[kM][2], sum[kM][2];
  float out[kM][kWidth / 8][4];

  __device__ __forceinline__ Rows() {
#pragma unroll
    for (int m = 0; m < kM; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        shift[m][half] = -INFINITY;
        sum[m][half] = 0.0f;
      }
#pragma unroll
      for (int i = 0; i < kWidth / 2; ++i) out[m][i / 4][i % 4] = 0.0f;
    }
  }

  /// Rows whose scores have outgrown their shift take a new one. Any shift gives the same softmax; keeping
  /// one until exponentials exceed 2^kSlack spares nearly all of the rescaling.
  __device__ __forceinline__ void grow(int m, int half, float largest) {
    constexpr float kSlack = 8.0f;
    const bool outgrown = largest > shift[m][half] + kSlack;
    if (!__any_sync(kAllLanes, outgrown)) return;
    const float factor = outgrown ? exp2f(shift[m][half] - largest) : 1.0f;
    if (outgrown) shift[m][half] = largest;
    sum[m][half] *= factor;
#pragma unroll
    for (int n = 0; n < kWidth / 8; ++n) {
      out[m][n][2 * half] *= factor;
      out[m][n][2 * half + 1] *= factor;
    }
  }

  /// Scores become exp2(exponent * score - shift).
  template <int kN>
  __device__ __forceinline__ void softmax(float (&s)[kM][kN][4], float exponent) {
#pragma unroll
    for (int m = 0; m < kM; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float largest = -INFINITY;
#pragma unroll
        for (int n = 0; n < kN; ++n)
          largest = fmaxf(largest, fmaxf(s[m][n][2 * half], s[m][n][2 * half + 1]));
        grow(m, half, quad_combine(largest, LargerOf{}) * exponent);
        // A row that has only seen -inf must not compute inf - inf.
        const float subtract = shift[m][half] == -INFINITY ? 0.0f : shift[m][half];
#pragma unroll
        for (int n = 0; n < kN; ++n) {
#pragma unroll
          for (int j = 2 * half; j < 2 * half + 2; ++j) {
            s[m][n][j] = exp2f(fmaf(s[m][n][j], exponent, -subtract));
            sum[m][half] += s[m][n][j];
          }
        }
      }
    }
  }

  /// The factor that makes outputs of the sums' row; writes its statistics.
  __device__ __forceinline__ float finish(int m, int half, float keep_scale, float2* statistics) const {
    const float total = quad_combine(sum[m][half], SumOf{});
    if (statistics != nullptr && lane_id() % 4 == 0) *statistics = row_statistics(shift[m][half], total);
    return keep_scale / total;
  }
};

template <class T, int kWidth, bool kDropout>
__global__ void __launch_bounds__(kThreads, 2) forward_kernel(Problem problem, Forward<T> tensors) {
  SIMT_DYN_SHARED(raw);
  constexpr int kKeys = Shape<kWidth>::kKeys, kN = Shape<kWidth>::kN, kTile = kKeys * kPitch<T, kWidth>;
  T* const queries = reinterpret_cast<T*>(raw);
  T* const inner = queries + kQueries * kPitch<T, kWidth>;  // [2][keys, values]
  const int blocks = (problem.length + kQueries - 1) / kQueries;
  const Work work = work_of_block(problem, blocks);
  const int sequence = work.sequence;
  const int first = (blocks - 1 - work.part) * kQueries;
  const int row = first + 16 * kM * warp_id(), last_row = row + 16 * kM - 1;
  const int seen = problem.causal ? min(problem.length, first + kQueries) : problem.length;
  const int tiles = (seen + kKeys - 1) / kKeys;
  const T* const keys_head = tensors.k.of(sequence, problem.heads);
  const T* const values_head = tensors.v.of(sequence, problem.heads);
  const auto load = [&](int tile) {
    load_pair<T, kWidth, kKeys, kThreads>(inner, tile, tensors.k, keys_head, tensors.v, values_head, problem);
    simt::cp_async_commit();
  };
  load_tile<T, kWidth, kQueries, kThreads>(queries, tensors.q, tensors.q.of(sequence, problem.heads), first,
                                           problem);
  load(0);
  const T* const query_rows = queries + 16 * kM * warp_id() * kPitch<T, kWidth>;
  Rows<kWidth> rows;
  for (int tile = 0; tile < tiles; ++tile) {
    simt::cp_async_wait<0>();
    __syncthreads();  // this tile is there for all, and all are done with the one that the next replaces
    if (tile + 1 < tiles) load(tile + 1);
    const int key = tile * kKeys;
    if (row >= problem.length || (problem.causal && key > last_row)) continue;
    const T* const keys = inner + tile % 2 * 2 * kTile;
    float s[kM][kN][4];
    score_product<T, kWidth>(query_rows, keys, s);
    if (problem.sign != 1.0f) {
#pragma unroll
      for (int i = 0; i < kM * kN * 4; ++i) s[i / (4 * kN)][i / 4 % kN][i % 4] *= problem.sign;
    }
    if (key + kKeys > problem.length || (problem.causal && key + kKeys - 1 > row))
      mask_scores(s, row, key, problem);
    rows.softmax(s, problem.magnitude);
    if constexpr (kDropout) {
      const Dropout dropout(problem);
#pragma unroll
      for (int m = 0; m < kM; ++m) {
        const std::uint32_t dropped = dropped_keys<kN>(dropout, problem, sequence, row + 16 * m, key);
#pragma unroll
        for (int i = 0; i < 4 * kN; ++i) {
          if (is_dropped(dropped, i / 4, i % 4)) s[m][i / 4][i % 4] = 0.0f;
        }
      }
    }
    Fragment p[kM][kN / 2];
    pack_scores<T>(s, p);
    add_product<T, kWidth>(p, keys + kTile, rows.out);
  }
  if (row >= problem.length) return;
  float factor[kM][2];
#pragma unroll
  for (int i = 0; i < 2 * kM; ++i) {
    const int query = row + 8 * i + lane_id() / 4;
    float2* const statistics =
        tensors.statistics + static_cast<std::int64_t>(sequence) * problem.length + query;
    factor[i / 2][i % 2] = rows.finish(i / 2, i % 2, kDropout ? problem.keep_scale : 1.0f,
                                       query < problem.length ? statistics : nullptr);
  }
  store_rows<T, kWidth>(rows.out, factor, tensors.out, tensors.out.of(sequence, problem.heads), row, problem);
}

}  // namespace

template <class T>
void launch_forward(const Queue& queue, const Problem& problem, const Forward<T>& tensors) {
  dispatch_width(problem, [&]<int kWidth, bool kDropout>() {
    constexpr std::size_t kBytes = Shape<kWidth>::template shared_bytes<T>();
    static_assert(kBytes <= kLeastSharedBytes);
    launch_tiles(queue, problem, forward_kernel<T, kWidth, kDropout>, kQueries, kThreads, kBytes, tensors);
  });
}

template void launch_forward(const Queue&, const Problem&, const Forward<__nv_bfloat16>&);
template void launch_forward(const Queue&, const Problem&, const Forward<__half>&);

}  // namespace reprise::kernels::cuda::attention
