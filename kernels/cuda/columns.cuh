// Sums over the rows of (rows, columns), column by column: a thread owns a pack of columns and walks down
// some of the rows, a block combines its threads, and a second kernel the blocks; every order is fixed by the
// shapes.
#pragma once

#include <utility>

#include "cuda/packs.cuh"
#include "cuda/reduce.cuh"
#include "cuda/workspace/columns.h"

namespace reprise::kernels::cuda {

/// The shares of `ColumnPlan` as launches take them.
inline dim3 grid_of(const ColumnPlan& plan) {
  return dim3(static_cast<unsigned>(plan.tiles), static_cast<unsigned>(plan.chunks));
}
inline dim3 block_of(const ColumnPlan& plan) {
  return dim3(static_cast<unsigned>(plan.width), static_cast<unsigned>(plan.height));
}

/// A thread's part of a ColumnPlan.
struct ColumnTask {
  std::int64_t column, begin, end;  // first row of the thread, and the end of its chunk

  __device__ ColumnTask(int vec, std::int64_t rows, std::int64_t chunk_rows)
      : column((static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) * vec),
        begin(blockIdx.y * chunk_rows + threadIdx.y),
        end(std::int64_t{blockIdx.y + 1} * chunk_rows) {
    if (end > rows) end = rows;
  }
};

/// Adds up `sums` over threadIdx.y; the result is in the threads whose threadIdx.y is 0.
template <int kSums>
__device__ void add_up_rows(float (&sums)[kSums]) {
  SIMT_SHARED(float, parts, [kSums][kColumnThreads]);
  const unsigned thread = threadIdx.y * blockDim.x + threadIdx.x;
#pragma unroll
  for (int i = 0; i < kSums; ++i) parts[i][thread] = sums[i];
  __syncthreads();
  unsigned count = blockDim.y;
  while (count > 1) {
    const unsigned half = (count + 1) / 2;
    if (threadIdx.y + half < count) {
#pragma unroll
      for (int i = 0; i < kSums; ++i) parts[i][thread] += parts[i][thread + half * blockDim.x];
    }
    __syncthreads();
    count = half;
  }
#pragma unroll
  for (int i = 0; i < kSums; ++i) sums[i] = parts[i][thread];
}

/// Threads of the kernels that combine chunks: threadIdx.x is a column, threadIdx.y every kWarp-th chunk.
inline const dim3 kCombineBlock(kWarp, kWarp);
inline dim3 combine_grid(std::int64_t columns) {
  return dim3(static_cast<unsigned>(ceil_div(columns, kWarp)));
}

/// Adds `value` up over threadIdx.y in a block of kCombineBlock; all threads get the result. A warp takes a
/// column.
template <class C>
__device__ C add_up_groups(C value) {
  SIMT_SHARED(C, parts, [kWarp][kWarp + 1]);
  SIMT_SHARED(C, totals, [kWarp]);
  parts[threadIdx.y][threadIdx.x] = value;
  __syncthreads();
  value = warp_sum(parts[threadIdx.x][threadIdx.y]);
  if (threadIdx.x == 0) totals[threadIdx.y] = value;
  __syncthreads();
  return totals[threadIdx.x];
}

/// Sum over the chunks of partials[chunk * stride + at]; 0 where the thread's column lies beyond the last.
__device__ inline double add_up_chunks(const float* partials, std::int64_t at, int chunks,
                                       std::int64_t stride, bool inside) {
  constexpr int kAhead = 8;  // loads under way
  double sum = 0;
  const int end = inside ? chunks : 0;
  for (int first = static_cast<int>(threadIdx.y); first < end; first += kAhead * kWarp) {
    float parts[kAhead] = {};
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const int chunk = first + i * kWarp;
      if (chunk < end) parts[i] = partials[chunk * stride + at];
    }
#pragma unroll
    for (int i = 0; i < kAhead; ++i) sum += static_cast<double>(parts[i]);
  }
  return add_up_groups(sum);
}

/// Sums over chunks that become one tensor.
template <class T>
struct ChunkSums {
  std::int64_t offset = 0;  // among the partial sums of a chunk
  T* to = nullptr;
  std::int64_t step = 0;
  bool accumulate = false;

  ChunkSums() = default;
  ChunkSums(std::int64_t first, const Target& target) : offset(first) {
    if (!target) return;
    to = target.view.as<T>();
    step = target.view.strides[0];
    accumulate = target.write == Write::accumulate;
  }
};

/// to[column * step] (=, +=) sum over the chunks of partials[chunk * stride + offset + column], for `first`
/// and, in the second half of the grid, for `second`.
template <class T>
__global__ void __launch_bounds__(kWarp* kWarp)
    combine_chunks_kernel(const float* __restrict__ partials, int chunks, std::int64_t stride,
                          std::int64_t columns, ChunkSums<T> first, ChunkSums<T> second) {
  const ChunkSums<T> sums = blockIdx.y == 0 ? first : second;
  const std::int64_t column = std::int64_t{blockIdx.x} * kWarp + threadIdx.x;
  const bool inside = column < columns;
  const auto sum = static_cast<float>(add_up_chunks(partials, sums.offset + column, chunks, stride, inside));
  if (threadIdx.y != 0 || !inside) return;
  T& result = sums.to[column * sums.step];
  result = from_compute<T>(sums.accumulate ? to_compute(result) + sum : sum);
}

/// The tensors of `first` and `second` (=, +=) sums over `chunks` partial sums of `columns` columns that lie
/// `stride` apart; those that are not wanted are left out.
template <class T>
void combine_chunks(const char* operation, const Queue& queue, const float* partials, int chunks,
                    std::int64_t stride, std::int64_t columns, ChunkSums<T> first, ChunkSums<T> second = {}) {
  if (first.to == nullptr) std::swap(first, second);
  if (first.to == nullptr || columns == 0) return;
  dim3 grid = combine_grid(columns);
  grid.y = second.to == nullptr ? 1 : 2;
  launch(operation, queue, combine_chunks_kernel<T>, grid, kCombineBlock, 0, partials, chunks, stride,
         columns, first, second);
}

}  // namespace reprise::kernels::cuda
