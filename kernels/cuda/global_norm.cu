// Questions about all elements of tensors: the root of the sum of squares over many of them, and whether one
// holds a NaN.
//
// One launch takes a table of up to 128 dense tensors as its parameter; a block sums a chunk of one of them
// in float64, reading packs of 16 bytes, and a last block adds up the chunks in their order. Tensors with
// gaps have launches of their own.
#include "cuda/element.cuh"
#include "cuda/reduce.cuh"
#include "cuda/strided.cuh"
#include "cuda/workspace/square_sums.h"
#include "reprise/kernels/reduce.h"

namespace reprise::kernels::cuda {

namespace {

constexpr int kBlock = 256, kLoads = 4, kTableSize = 128;
constexpr std::int64_t kChunk = kSquareChunk;

/// Calls f(value) for the elements of n, in packs of V, that are this thread's.
template <int V, class T, class F>
__device__ __forceinline__ void for_each_element(const T* data, std::int64_t n, F&& f) {
  const std::int64_t packs = n / V;
  for (std::int64_t i = threadIdx.x; i < packs; i += kBlock * kLoads) {
    Pack<T, V> pack[kLoads];
#pragma unroll
    for (int k = 0; k < kLoads; ++k) {
      if (i + k * kBlock < packs) pack[k] = read_pack<V>(data + (i + k * kBlock) * V);
    }
#pragma unroll
    for (int k = 0; k < kLoads; ++k) {
      if (i + k * kBlock >= packs) continue;
      ComputeOf<T> values[V];
      convert(pack[k], values);
#pragma unroll
      for (int j = 0; j < V; ++j) f(values[j]);
    }
  }
  if (threadIdx.x < n - packs * V) f(to_compute(data[packs * V + threadIdx.x]));
}

struct SquareSum {
  double value = 0;
  template <class C>
  __device__ __forceinline__ void operator()(C x) {
    value += static_cast<double>(x) * static_cast<double>(x);
  }
};

struct NanSearch {
  int found = 0;
  template <class C>
  __device__ __forceinline__ void operator()(C x) {
    found |= x != x ? 1 : 0;
  }
};

/// Gives `visitor` this thread's elements of chunk `chunk` of n dense ones.
template <class T, class Visitor>
__device__ __forceinline__ void visit_chunk(const T* data, std::int64_t n, std::int64_t chunk, bool packed,
                                            Visitor& visitor) {
  const T* from = data + chunk * kChunk;
  const std::int64_t count = min(n - chunk * kChunk, kChunk);
  if (packed)
    for_each_element<kPack<T>>(from, count, visitor);
  else
    for_each_element<1>(from, count, visitor);
}

/// Gives `visitor` this thread's elements of chunk `chunk` of a tensor with gaps.
template <class T, class Visitor>
__device__ __forceinline__ void visit_chunk(const T* data, const Walk<1>& walk, std::uint32_t chunk,
                                            Visitor& visitor) {
  const auto begin = chunk * static_cast<std::uint32_t>(kChunk);
  const std::uint32_t end = min(begin + static_cast<std::uint32_t>(kChunk), walk.numel);
  for (std::uint32_t i = begin + threadIdx.x; i < end; i += kBlock)
    visitor(to_compute(data[walk.locate(i).at[0]]));
}

/// Dense tensors of one element type; tensor i has the blocks [first_block[i], first_block[i + 1]).
template <class T>
struct Table {
  const T* data[kTableSize];
  std::int64_t numel[kTableSize];
  std::uint32_t first_block[kTableSize + 1] = {};
  bool packed[kTableSize];
  int count = 0;

  void add(const T* memory, std::int64_t n) {
    data[count] = memory;
    numel[count] = n;
    packed[count] = aligned16(memory);
    first_block[count + 1] = first_block[count] + static_cast<std::uint32_t>(ceil_div(n, kChunk));
    ++count;
  }
  std::uint32_t blocks() const { return first_block[count]; }
  __device__ __forceinline__ int tensor_of(std::uint32_t block) const {
    int low = 0, high = count;
    while (high - low > 1) {
      const int middle = (low + high) / 2;
      (first_block[middle] <= block ? low : high) = middle;
    }
    return low;
  }
};

template <class T>
__global__ void __launch_bounds__(kBlock)
    squares_kernel(const __grid_constant__ Table<T> table, double* __restrict__ partial) {
  const int tensor = table.tensor_of(blockIdx.x);
  SquareSum sum;
  visit_chunk(table.data[tensor], table.numel[tensor], blockIdx.x - table.first_block[tensor],
              table.packed[tensor], sum);
  const double total = block_sum(sum.value);
  if (threadIdx.x == 0) partial[blockIdx.x] = total;
}

template <class T>
__global__ void __launch_bounds__(kBlock)
    strided_squares_kernel(const __grid_constant__ Walk<1> walk, const T* __restrict__ x,
                           double* __restrict__ partial) {
  SquareSum sum;
  visit_chunk(x, walk, blockIdx.x, sum);
  const double total = block_sum(sum.value);
  if (threadIdx.x == 0) partial[blockIdx.x] = total;
}

/// One block adds up the chunks.
__global__ void __launch_bounds__(1024) norm_kernel(const double* __restrict__ partial, std::int64_t count,
                                                    double max_norm, double* norm, double* scale) {
  double sum = 0;
  for (std::int64_t i = threadIdx.x; i < count; i += blockDim.x) sum += partial[i];
  const double root = sqrt(block_sum(sum));
  if (threadIdx.x != 0) return;
  *norm = root;
  if (scale != nullptr) *scale = max_norm > 0 && !(root <= max_norm) ? max_norm / root : 1.0;
}

template <class T>
__global__ void __launch_bounds__(kBlock)
    dense_nan_kernel(const T* __restrict__ x, std::int64_t n, bool packed, std::int32_t* found) {
  NanSearch search;
  visit_chunk(x, n, blockIdx.x, packed, search);
  if (search.found != 0) atomicOr(found, 1);
}

template <class T>
__global__ void __launch_bounds__(kBlock)
    strided_nan_kernel(const __grid_constant__ Walk<1> walk, const T* __restrict__ x, std::int32_t* found) {
  NanSearch search;
  visit_chunk(x, walk, blockIdx.x, search);
  if (search.found != 0) atomicOr(found, 1);
}

dim3 chunks_of(std::int64_t n) { return dim3(static_cast<unsigned>(ceil_div(n, kChunk))); }

/// Adds the partial sums of all tensors of type T, from `partial` on; returns what follows them.
template <class T>
double* launch_squares(const Queue& queue, std::span<const ConstView> tensors, DType dtype, double* partial) {
  Table<T> table;
  const auto launch_table = [&] {
    launch("global_norm", queue, squares_kernel<T>, dim3(table.blocks()), dim3(kBlock), 0, table, partial);
    partial += table.blocks();
    table = {};
  };
  for (const ConstView& x : tensors) {
    if (x.dtype != dtype || x.numel() == 0) continue;
    const Axes<1> axes = collapse<1>({&x});
    if (is_dense(axes)) {
      table.add(x.as<T>(), x.numel());
      if (table.count == kTableSize) launch_table();
      continue;
    }
    for_each_piece(axes, [&](const Axes<1>& piece, const auto& at) {
      launch("global_norm", queue, strided_squares_kernel<T>, chunks_of(piece.numel()), dim3(kBlock), 0,
             Walk<1>(piece), x.as<T>() + at[0], partial);
      partial += ceil_div(piece.numel(), kChunk);
    });
  }
  launch_table();
  return partial;
}

template <class F>
void dispatch_floating_type(DType dtype, F&& f) {
  dispatch_any(dtype, [&]<class T>() {
    if constexpr (!std::is_integral_v<T>) f.template operator()<T>();
  });
}

}  // namespace

void global_norm(const Queue& queue, std::span<const ConstView> tensors, double max_norm, const View& norm,
                 const View& scale, const Workspace& workspace) {
  for (const ConstView& x : tensors) {
    if (!is_floating(x.dtype)) refuse("global_norm", x.dtype);
  }
  require_workspace("global_norm", workspace, square_sums_bytes(tensors));
  auto* const first = static_cast<double*>(workspace.data);
  double* end = first;
  for (const DType dtype : {DType::float32, DType::bfloat16, DType::float16, DType::float64})
    dispatch_floating_type(dtype, [&]<class T>() { end = launch_squares<T>(queue, tensors, dtype, end); });
  const std::int64_t count = end - first;
  launch("global_norm", queue, norm_kernel, dim3(1), dim3(count > kBlock ? 1024 : kBlock), 0, first, count,
         max_norm, norm.as<double>(), scale.as<double>());
}

bool any_nan(const Queue& queue, const ConstView& x) {
  if (x.numel() == 0) return false;
  if (!is_floating(x.dtype)) refuse("any_nan", x.dtype);
  if (queue.report == nullptr) throw Error("[any_nan] the queue has no report to answer in");
  std::int32_t* const found = &queue.report->found;
  const Axes<1> all = collapse<1>({&x});
  dispatch_floating_type(x.dtype, [&]<class T>() {
    if (is_dense(all))
      return launch("any_nan", queue, dense_nan_kernel<T>, chunks_of(x.numel()), dim3(kBlock), 0, x.as<T>(),
                    x.numel(), aligned16(x.data), found);
    for_each_piece(all, [&](const Axes<1>& axes, const auto& at) {
      launch("any_nan", queue, strided_nan_kernel<T>, chunks_of(axes.numel()), dim3(kBlock), 0, Walk<1>(axes),
             x.as<T>() + at[0], found);
    });
  });
  std::int32_t answer = 0;
  const cudaStream_t stream = stream_of(queue);
  check(cudaMemcpyAsync(&answer, found, sizeof answer, cudaMemcpyDeviceToHost, stream), "any_nan");
  check(cudaMemsetAsync(found, 0, sizeof *found, stream), "any_nan");
  check(cudaStreamSynchronize(stream), "any_nan");
  return answer != 0;
}

}  // namespace reprise::kernels::cuda
