// Table look-up: y[i] = weight[ids[i]], rows of weight (V, C) copied as bytes, 16 at a time where they allow
// it. A row of threads copies a row, or several short rows share a warp.
#include "reprise/kernels/embedding.h"

#include "cuda/indices.cuh"
#include "cuda/packs.cuh"
#include "cuda/reduce.cuh"

namespace reprise::kernels::cuda {

namespace {

constexpr const char* kOperation = "embedding";
constexpr int kThreads = 256, kUnrolled = 4;

/// Sizes and strides in units of a copy.
struct Table {
  std::int64_t entries, weight_stride, y_stride, rows;
  int width;
};

template <class Unit>
__global__ void __launch_bounds__(kThreads, 1)
    gather_rows_kernel(Table table, const Unit* __restrict__ weight, Indices ids, Unit* __restrict__ y,
                       DeviceReport* report) {
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
  if (row >= table.rows) return;
  const std::int64_t id = ids[row];
  const bool known = id >= 0 && id < table.entries;
  if (!known && threadIdx.x == 0) report_fault(report, DeviceFault::embedding_id, id, table.entries);
  const Unit* const from = weight + (known ? id : 0) * table.weight_stride;
  Unit* const to = y + row * table.y_stride;
  const int step = static_cast<int>(blockDim.x);
#pragma unroll kUnrolled
  for (int i = static_cast<int>(threadIdx.x); i < table.width; i += step) to[i] = known ? from[i] : Unit{};
}

template <class Unit>
void gather_rows(const Queue& queue, const ConstView& weight, const ConstView& ids, const View& y) {
  const auto units = [&](std::int64_t elements) {
    return elements * static_cast<std::int64_t>(size_of(y.dtype)) / static_cast<std::int64_t>(sizeof(Unit));
  };
  const Table table{weight.sizes[0], units(weight.strides[0]), units(y.strides[0]), y.sizes[0],
                    static_cast<int>(units(y.sizes[1]))};
  const auto across = static_cast<unsigned>(std::min(table.width, kWarp));
  const dim3 block(across, kThreads / across);
  const dim3 grid(static_cast<unsigned>(ceil_div(table.rows, block.y)));
  launch(kOperation, queue, gather_rows_kernel<Unit>, grid, block, 0, table,
         static_cast<const Unit*>(weight.data), Indices(ids), static_cast<Unit*>(y.data), queue.report);
}

}  // namespace

std::optional<std::int64_t> embedding_forward(const Queue& queue, const ConstView& weight,
                                              const ConstView& ids, const View& y) {
  if (!is_floating(weight.dtype)) refuse(kOperation, weight.dtype);
  if (y.numel() == 0) return std::nullopt;
  const auto element = static_cast<std::int64_t>(size_of(y.dtype));
  const bool packed = aligned16(weight.data) && aligned16(y.data) && weight.strides[0] * element % 16 == 0 &&
                      y.strides[0] * element % 16 == 0 && y.sizes[1] * element % 16 == 0;
  if (packed)
    gather_rows<uint4>(queue, weight, ids, y);
  else if (element == 2)
    gather_rows<std::uint16_t>(queue, weight, ids, y);
  else if (element == 4)
    gather_rows<std::uint32_t>(queue, weight, ids, y);
  else
    gather_rows<std::uint64_t>(queue, weight, ids, y);
  return std::nullopt;
}

}  // namespace reprise::kernels::cuda
