// The backward pass of layer and RMS norm where a block holds its rows:
//   dx = rstd * (dy * weight - offset - (x - mean) * slope),  dweight = sum dy * xhat,  dbias = sum dy
// from one read of x and dy. Blocks stay and loop over rows, a thread always meets the same columns and sums
// their gradients in registers. It holds few columns, so that many threads fit in, and has the next row under
// way while it works on one.
#pragma once

#include "cuda/columns.cuh"
#include "cuda/workspace/norms.h"

namespace reprise::kernels::cuda {

/// What the backward pass reads and writes; `mean` and `bias gradients` are absent from RMS norm.
template <class T>
struct NormGradients {
  const T *x, *weight;
  const float *mean, *rstd;
  const T* dy;
  T* dx;            // null when not wanted
  float* partials;  // per block sums for dweight and dbias; null when neither is wanted
  std::int64_t rows;
  int columns;
  bool accumulate;
};

/// How a block of up to kThreads threads holds rows: threadIdx.x counts packs, threadIdx.y rows.
template <int kVec_, int kPacks_, int kThreads_>
struct NormShape {
  static constexpr int kVec = kVec_, kPacks = kPacks_, kThreads = kThreads_;
  static constexpr bool kAhead = kVec > 1 && kPacks == 1;                  // the next row is under way
  static constexpr bool kSeveral = kThreads <= kNormThreads || kVec == 1;  // rows of a block
  static constexpr int kMinBlocks = kThreads <= kNormThreads ? 3 : 1;

  __device__ static int pack(int slot) {
    return slot * static_cast<int>(blockDim.x) + static_cast<int>(threadIdx.x);
  }
};

/// A thread's share of a row, as it comes from memory; zeros behind the row's end.
template <class T, class Shape>
struct NormRow {
  Pack<T, Shape::kVec> x[Shape::kPacks] = {}, dy[Shape::kPacks] = {};
  float mean = 0, rstd = 0;

  template <bool kCentred>
  __device__ __forceinline__ void load(const NormGradients<T>& call, std::int64_t row, int packs) {
    if (row >= call.rows) return;
#pragma unroll
    for (int slot = 0; slot < Shape::kPacks; ++slot) {
      const int pack = Shape::pack(slot);
      const std::int64_t at = row * call.columns + pack * Shape::kVec;
      if (pack < packs) x[slot] = read_pack<Shape::kVec>(call.x + at);
      if (pack < packs) dy[slot] = read_pack<Shape::kVec>(call.dy + at);
    }
    if (kCentred) mean = call.mean[row];
    rstd = call.rstd[row];
  }
};

/// Two sums over the threads of each row, in all of them; calls take turns with `side` 0 and 1, so that the
/// one barrier also keeps a call's writes behind the reads of the call before the last.
template <int kThreads>
__device__ __forceinline__ float2 row_sums(float2 value, int side) {
  value = make_float2(warp_sum(value.x), warp_sum(value.y));
  if (blockDim.x == kWarp) return value;
  SIMT_SHARED(float2, of_warp, [2][kThreads / kWarp]);
  const int warps = static_cast<int>(blockDim.x) / kWarp, first = static_cast<int>(threadIdx.y) * warps;
  if (threadIdx.x % kWarp == 0) of_warp[side][first + static_cast<int>(threadIdx.x) / kWarp] = value;
  __syncthreads();
  value = of_warp[side][first];
#pragma unroll 1
  for (int warp = 1; warp < warps; ++warp) {
    const float2 more = of_warp[side][first + warp];
    value.x += more.x;
    value.y += more.y;
  }
  return value;
}

/// Of a thread: sums over rows for the columns that it holds.
template <class Shape>
struct ParameterSums {
  float weight[Shape::kPacks][Shape::kVec] = {};
  float bias[Shape::kPacks][Shape::kVec] = {};

  /// to[column] and to[columns + column] = the sums of the block, its rows added in order.
  __device__ __forceinline__ void write(float* to, int columns) const {
    if (blockDim.y == 1) {
      for_each_sum(columns, [&](int column, float w, float b) {
        to[column] = w;
        to[columns + column] = b;
      });
    } else if constexpr (Shape::kSeveral) {
      SIMT_SHARED(float, sums, [2][kNormThreads / 2 * Shape::kPacks * Shape::kVec]);
      for (unsigned row = 0; row < blockDim.y; ++row) {
        if (threadIdx.y == row) {
          for_each_sum(columns, [&](int column, float w, float b) {
            sums[0][column] = row == 0 ? w : sums[0][column] + w;
            sums[1][column] = row == 0 ? b : sums[1][column] + b;
          });
        }
        __syncthreads();
      }
      const int threads = static_cast<int>(blockDim.x * blockDim.y);
      for (int i = static_cast<int>(threadIdx.y * blockDim.x + threadIdx.x); i < columns; i += threads) {
        to[i] = sums[0][i];
        to[columns + i] = sums[1][i];
      }
    }
  }

 private:
  template <class F>
  __device__ __forceinline__ void for_each_sum(int columns, F&& f) const {
#pragma unroll
    for (int slot = 0; slot < Shape::kPacks; ++slot) {
      const int first = Shape::pack(slot) * Shape::kVec;
      if (first >= columns) continue;
#pragma unroll
      for (int i = 0; i < Shape::kVec; ++i) f(first + i, weight[slot][i], bias[slot][i]);
    }
  }
};

/// Blocks loop over rows that they hold.
template <bool kCentred, class T, class Shape>
__global__ void __launch_bounds__(Shape::kThreads, Shape::kMinBlocks)
    norm_backward_kernel(NormGradients<T> call) {
  constexpr int kVec = Shape::kVec, kPacks = Shape::kPacks;
  const int packs = call.columns / kVec;
  Pack<T, kVec> weight[kPacks] = {};
#pragma unroll
  for (int slot = 0; slot < kPacks; ++slot) {
    const int pack = Shape::pack(slot);
    if (call.weight != nullptr && pack < packs) weight[slot] = read_pack<kVec>(call.weight + pack * kVec);
  }
  ParameterSums<Shape> sums;
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * blockDim.y;
  const std::int64_t first = std::int64_t{blockIdx.x} * blockDim.y;
  const float share = 1.0f / static_cast<float>(call.columns);
  NormRow<T, Shape> next;
  if constexpr (Shape::kAhead) next.template load<kCentred>(call, first + threadIdx.y, packs);
  const bool adds = call.accumulate && call.dx != nullptr;
  int side = 0;
  for (std::int64_t base = first; base < call.rows; base += step, side ^= 1) {
    const std::int64_t row = base + threadIdx.y;
    const bool exists = row < call.rows;
    NormRow<T, Shape> own;
    if constexpr (Shape::kAhead) {
      own = next;
      next.template load<kCentred>(call, row + step, packs);
    } else {
      own.template load<kCentred>(call, row, packs);
    }
    Pack<T, kVec> before[kPacks] = {};
#pragma unroll
    for (int slot = 0; slot < kPacks && adds && exists; ++slot) {
      const int pack = Shape::pack(slot);
      if (pack < packs) before[slot] = read_pack<kVec>(call.dx + row * call.columns + pack * kVec);
    }
    const auto values = [&](int slot, float(&distance)[kVec], float(&grad)[kVec]) {
      convert(own.x[slot], distance);
      convert(own.dy[slot], grad);
#pragma unroll
      for (int i = 0; i < kVec; ++i) distance[i] -= own.mean;
    };
    const auto weigh = [&](int slot, float(&grad)[kVec]) {
      if (call.weight == nullptr) return;
      float w[kVec];
      convert(weight[slot], w);
#pragma unroll
      for (int i = 0; i < kVec; ++i) grad[i] *= w[i];
    };
    float2 of_row = make_float2(0.0f, 0.0f);  // offset and slope
#pragma unroll
    for (int slot = 0; slot < kPacks && exists; ++slot) {
      float distance[kVec], grad[kVec];
      values(slot, distance, grad);
#pragma unroll
      for (int i = 0; i < kVec; ++i) {
        sums.weight[slot][i] += grad[i] * (distance[i] * own.rstd);
        if (kCentred) sums.bias[slot][i] += grad[i];
      }
      weigh(slot, grad);
#pragma unroll
      for (int i = 0; i < kVec; ++i) {
        if (kCentred) of_row.x += grad[i];
        of_row.y += grad[i] * distance[i];
      }
    }
    if (call.dx == nullptr) continue;
    of_row = row_sums<Shape::kThreads>(of_row, side);
    const float offset = of_row.x * share, slope = of_row.y * own.rstd * share * own.rstd;
#pragma unroll
    for (int slot = 0; slot < kPacks; ++slot) {
      const int pack = Shape::pack(slot);
      if (!exists || pack >= packs) continue;
      float distance[kVec], grad[kVec];
      values(slot, distance, grad);
      weigh(slot, grad);
#pragma unroll
      for (int i = 0; i < kVec; ++i) grad[i] = own.rstd * ((grad[i] - offset) - distance[i] * slope);
      if (adds) {
        float sum[kVec];
        convert(before[slot], sum);
#pragma unroll
        for (int i = 0; i < kVec; ++i) grad[i] = sum[i] + grad[i];
      }
      write_pack(call.dx + row * call.columns + pack * kVec, round_pack<T>(grad));
    }
  }
  if (call.partials != nullptr)
    sums.write(call.partials + std::int64_t{blockIdx.x} * 2 * call.columns, call.columns);
}

/// Calls f.template operator()<Shape>() for a plan that holds rows in packs of kVec.
template <int kVec, class F>
void dispatch_norm_shape(const NormPlan& plan, F&& f) {
  if constexpr (kVec == 1) {
    f.template operator()<NormShape<1, 8, kNormMostThreads>>();
  } else if (plan.packs == 1 && plan.width <= kNormThreads) {
    f.template operator()<NormShape<kVec, 1, kNormThreads>>();
  } else if (plan.packs == 1) {
    f.template operator()<NormShape<kVec, 1, kNormMostThreads>>();
  } else if (plan.packs == 2) {
    f.template operator()<NormShape<kVec, 2, kNormMostThreads>>();
  } else {
    if constexpr (kVec == 4) f.template operator()<NormShape<kVec, 4, kNormMostThreads>>();
  }
}

}  // namespace reprise::kernels::cuda
