// The gradient of a bias: dbias[j] (=, +=) sum over i of dy[i, j], dy being (M, N) with any strides. Chunks
// of rows first, see columns.cuh.
#include "cuda/columns.cuh"
#include "reprise/kernels/matmul.h"

namespace reprise::kernels::cuda {

namespace {

constexpr const char* kOperation = "bias_backward";
constexpr int kLoads = 8;  // that a thread has under way

struct Strides {
  std::int64_t row, column;
};

template <class T, int kVec>
__global__ void __launch_bounds__(kColumnThreads, kColumnBlocks)
    column_sums_kernel(const T* __restrict__ dy, Strides strides, std::int64_t rows, std::int64_t columns,
                       std::int64_t chunk_rows, float* __restrict__ partials) {
  const ColumnTask task(kVec, rows, chunk_rows);
  const bool inside = task.column < columns;
  const T* const from = dy + task.column * strides.column;
  float sums[kVec] = {};
  const std::int64_t step = blockDim.y, end = inside ? task.end : task.begin;
  for (std::int64_t first = task.begin; first < end; first += kLoads * step) {
    Pack<T, kVec> packs[kLoads];
#pragma unroll
    for (int k = 0; k < kLoads; ++k) {
      const std::int64_t row = first + k * step;
      if (row < end) packs[k] = read_pack<kVec>(from + row * strides.row);
    }
#pragma unroll
    for (int k = 0; k < kLoads; ++k) {
      if (first + k * step >= end) continue;
      float values[kVec];
      convert(packs[k], values);
#pragma unroll
      for (int i = 0; i < kVec; ++i) sums[i] += values[i];
    }
  }
  add_up_rows(sums);
  if (threadIdx.y != 0 || !inside) return;
#pragma unroll
  for (int i = 0; i < kVec; ++i) partials[blockIdx.y * columns + task.column + i] = sums[i];
}

}  // namespace

void bias_backward(const Queue& queue, const ConstView& dy, const Target& dbias, const Workspace& workspace) {
  dispatch_trained(kOperation, dy.dtype, [&]<class T>() {
    const std::int64_t rows = dy.sizes[0], columns = dy.sizes[1];
    if (!dbias || columns == 0) return;
    require_workspace(kOperation, workspace, bias_sums_bytes(dy));
    auto* const partials = static_cast<float*>(workspace.data);
    int chunks = 0;
    const bool packed =
        lines_aligned16<T>(dy.data, dy.strides[0]) && dy.strides[1] == 1 && columns % kPack<T> == 0;
    dispatch_pack<T>(packed, [&]<int kVec>() {
      const ColumnPlan plan(multiprocessors(), rows, columns, kVec, kVec == 1 && is_transposed(dy));
      chunks = plan.chunks;
      launch(kOperation, queue, column_sums_kernel<T, kVec>, grid_of(plan), block_of(plan), 0, dy.as<T>(),
             Strides{dy.strides[0], dy.strides[1]}, rows, columns, plan.chunk_rows, partials);
    });
    combine_chunks<T>(kOperation, queue, partials, chunks, columns, columns, {0, dbias});
  });
}

}  // namespace reprise::kernels::cuda
