// dweight[id] (=, +=) sum of the rows of dy whose id it is, in the order of the ids.
//
// (id, position) are sorted stably; then blocks take kChunk sorted items each and add up rows of dy run by
// run. A run that a chunk holds whole is written at once; pieces of longer runs go to the workspace and are
// added up by a second kernel, in order. So one id that fills half of a batch is spread over many blocks.
#include "cuda/id_sort.cuh"
#include "cuda/packs.cuh"
#include "reprise/kernels/elementwise.h"
#include "reprise/kernels/embedding.h"

namespace reprise::kernels::cuda {

namespace {

constexpr const char* kOperation = "embedding_backward";
constexpr int kChunk = kRunChunk, kAhead = 8, kMaxThreads = 128;

/// What both kernels work on. Sums of pieces: [chunk][0: runs that began before, 1: that begin
/// here][columns].
template <class T>
struct RowSums {
  const std::uint32_t* keys;
  const std::int32_t* positions;
  const T* dy;
  T* dweight;
  float* pieces;
  std::int64_t dy_stride, dweight_stride, entries, columns;
  int count;
  bool accumulate;

  /// Adds a run's sum to its row of dweight.
  template <int kVec>
  __device__ __forceinline__ void write(std::uint32_t key, std::int64_t column, float (&sum)[kVec]) const {
    if (key < entries) write_values(dweight + key * dweight_stride + column, sum, accumulate);
  }
  __device__ float* piece(int chunk, bool begins_here) const {
    return pieces + (2 * std::int64_t{chunk} + (begins_here ? 1 : 0)) * columns;
  }
};

/// First column of this thread.
template <int kVec>
__device__ std::int64_t column_of_thread() {
  return (std::int64_t{blockIdx.y} * blockDim.x + threadIdx.x) * kVec;
}

template <class T, int kVec>
__global__ void __launch_bounds__(kMaxThreads, 1) sum_chunks_kernel(RowSums<T> rows) {
  const std::int64_t column = column_of_thread<kVec>();
  if (column >= rows.columns) return;
  const int chunk = static_cast<int>(blockIdx.x), first = chunk * kChunk;
  const int end = first + kChunk < rows.count ? first + kChunk : rows.count;
  std::uint32_t key = rows.keys[first];
  bool begins_here = first == 0 || rows.keys[first - 1] != key;
  float sum[kVec] = {};
  for (int base = first; base < end; base += kAhead) {
    Pack<T, kVec> packs[kAhead] = {};
    std::uint32_t next[kAhead];  // the key behind each item
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      if (base + i >= end) continue;
      packs[i] = read_pack<kVec>(rows.dy + rows.positions[base + i] * rows.dy_stride + column);
      next[i] = base + i + 1 < rows.count ? rows.keys[base + i + 1] : ~0u;
    }
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      if (base + i >= end) continue;
      float values[kVec];
      convert(packs[i], values);
#pragma unroll
      for (int k = 0; k < kVec; ++k) sum[k] += values[k];
      const bool ends = next[i] != key;
      if (!ends && base + i + 1 < end) continue;
      if (ends && begins_here)
        rows.write(key, column, sum);
      else
        write_piece(rows.piece(chunk, begins_here) + column, sum);
#pragma unroll
      for (int k = 0; k < kVec; ++k) sum[k] = 0;
      key = next[i];
      begins_here = true;
    }
  }
}

/// Adds up the run that begins in a chunk and goes on behind it, if there is one.
template <class T, int kVec>
__global__ void __launch_bounds__(kMaxThreads, 1) join_pieces_kernel(RowSums<T> rows) {
  const std::int64_t column = column_of_thread<kVec>();
  const int chunk = static_cast<int>(blockIdx.x), first = chunk * kChunk, last = first + kChunk - 1;
  if (column >= rows.columns || last + 1 >= rows.count) return;
  const std::uint32_t key = rows.keys[last];
  const bool goes_on = rows.keys[last + 1] == key;
  const bool began_before = rows.keys[first] == key && first > 0 && rows.keys[first - 1] == key;
  if (!goes_on || began_before) return;
  // The run reaches into the chunks [chunk + 1, end): those whose first key is its own.
  int end = chunk + 2, beyond = static_cast<int>(gridDim.x);
  while (end < beyond) {
    const int middle = (end + beyond) / 2;
    if (rows.keys[middle * kChunk] == key)
      end = middle + 1;
    else
      beyond = middle;
  }
  float sum[kVec];
  read_piece(rows.piece(chunk, true) + column, sum);
#pragma unroll kAhead
  for (int i = chunk + 1; i < end; ++i) {
    float more[kVec];
    read_piece(rows.piece(i, false) + column, more);
#pragma unroll
    for (int k = 0; k < kVec; ++k) sum[k] += more[k];
  }
  rows.write(key, column, sum);
}

template <class T, int kVec>
void sum_runs(const Queue& queue, const RowSums<T>& rows) {
  const std::int64_t packs = ceil_div(rows.columns, kVec);
  const dim3 block(static_cast<unsigned>(std::min<std::int64_t>(packs, kMaxThreads)));
  const dim3 grid(static_cast<unsigned>(ceil_div(rows.count, kChunk)),
                  static_cast<unsigned>(ceil_div(packs, block.x)));
  launch(kOperation, queue, sum_chunks_kernel<T, kVec>, grid, block, 0, rows);
  launch(kOperation, queue, join_pieces_kernel<T, kVec>, grid, block, 0, rows);
}

}  // namespace

void embedding_backward(const Queue& queue, const ConstView& ids, const ConstView& dy, const Target& dweight,
                        const Workspace& workspace) {
  dispatch_trained(kOperation, dy.dtype, [&]<class T>() {
    if (!dweight || dweight.view.numel() == 0) return;
    if (dweight.write == Write::overwrite) fill(queue, 0.0, dweight.view);
    const std::int64_t count = dy.sizes[0], columns = dy.sizes[1], entries = dweight.view.sizes[0];
    if (count == 0) return;
    const RunSpace space(workspace.data, count, columns);
    require_workspace(kOperation, workspace, space.bytes);
    const int side = sort_ids(kOperation, queue, Indices(ids), static_cast<int>(count), entries, space.sort);
    const RowSums<T> rows{space.sort.keys[side],
                          space.sort.positions[side],
                          dy.as<T>(),
                          dweight.view.as<T>(),
                          space.pieces,
                          dy.strides[0],
                          dweight.view.strides[0],
                          entries,
                          columns,
                          static_cast<int>(count),
                          dweight.write == Write::accumulate};
    const bool packed = lines_aligned16<T>(dy.data, dy.strides[0]) && columns % kPack<T> == 0 &&
                        lines_aligned16<T>(dweight.view.data, dweight.view.strides[0]);
    dispatch_pack<T>(packed, [&]<int kVec>() { sum_runs<T, kVec>(queue, rows); });
  });
}

}  // namespace reprise::kernels::cuda
