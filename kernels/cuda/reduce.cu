// Sum, mean and max over axes: y[kept] (=, +=) f over reduced of x[kept, reduced].
//
// Where x's innermost axis is reduced, a few lanes, a warp or a block read a row in packs of 16 bytes. Where
// it is kept, a lane owns a pack of columns, and the lines of a block go down the rows. Either way a thread
// has several loads under way, and where there are too few rows or columns to fill the device, the reduced
// elements are split over blocks, whose partial results a second launch of the same kernel combines. All
// orders are fixed by the shape.
#include "reprise/kernels/reduce.h"

#include <limits>
#include <stdexcept>

#include "cuda/element.cuh"
#include "cuda/reduce.cuh"
#include "cuda/strided.cuh"
#include "cuda/workspace/reduction_plan.h"
#include "reprise/kernels/elementwise.h"

namespace reprise::kernels::cuda {

namespace {

constexpr int kBlock = kReduceThreads, kLoads = kReduceLoads;

template <class T>
using Accumulator = std::conditional_t<std::is_integral_v<T>, std::int64_t, ComputeOf<T>>;

struct Sum : SumOf {
  template <class A>
  static constexpr A start = A(0);
};
struct Max : MaxOf {
  template <class A>
  static constexpr A start = -std::numeric_limits<A>::infinity();
};

/// Where results go: to y, or to partial results.
template <class A>
struct Sink {
  std::byte* y;
  DType dtype;
  bool add;
  A divisor;
  A* partial;

  template <class T>
  __device__ __forceinline__ void store_as(std::int64_t at, A value) const {
    T* to = reinterpret_cast<T*>(y) + at;
    const auto result = static_cast<ComputeOf<T>>(value);
    *to = from_compute<T>(add ? functors::wrapping_add(to_compute(*to), result) : result);
  }
  __device__ __forceinline__ void store(std::int64_t at, A value) const {
    if constexpr (std::is_integral_v<A>) {
      store_as<std::int64_t>(at, value);
    } else {
      value /= divisor;
      if (dtype == DType::float32) return store_as<float>(at, value);
      if (dtype == DType::bfloat16) return store_as<__nv_bfloat16>(at, value);
      if (dtype == DType::float16) return store_as<__half>(at, value);
      store_as<double>(at, value);
    }
  }
};

/// The share of one of `gridDim.y` blocks in the reduced elements (or packs of them).
struct Share {
  std::uint32_t each;  // of them in a share
  unsigned tail;       // elements behind the last pack
};

template <class Op, class A, class T, int V>
__device__ __forceinline__ A join_pack(A value, const Pack<T, V>& pack) {
  ComputeOf<T> values[V];
  convert(pack, values);
#pragma unroll
  for (int i = 0; i < V; ++i) value = Op{}(value, static_cast<A>(values[i]));
  return value;
}

/// The elements of one row from `first` on, `step` packs apart: several packs at once.
template <class Op, int V, class A, class T>
__device__ __forceinline__ A join_row(const Walk<1>& reduced, const T* row, std::uint32_t first,
                                      std::uint32_t end, std::uint32_t step) {
  A value = Op::template start<A>;
  for (std::uint32_t i = first; i < end; i += step * kLoads) {
    Pack<T, V> packs[kLoads];
#pragma unroll
    for (int k = 0; k < kLoads; ++k) {
      const std::uint32_t at = i + static_cast<std::uint32_t>(k) * step;
      if (at < end) packs[k] = read_pack<V>(row + reduced.locate(at).at[0]);
    }
#pragma unroll
    for (int k = 0; k < kLoads; ++k) {
      if (i + static_cast<std::uint32_t>(k) * step < end) value = join_pack<Op, A>(value, packs[k]);
    }
  }
  return value;
}

/// `group` threads (a power of two up to a warp, or the block) reduce a row; `kept` gives x and y.
template <class Op, class T, int V>
__global__ void __launch_bounds__(kBlock)
    rows_kernel(const __grid_constant__ Walk<2> kept, const __grid_constant__ Walk<1> reduced, Share share,
                int group, const T* __restrict__ x, Sink<Accumulator<T>> sink) {
  using A = Accumulator<T>;
  const std::uint32_t step = static_cast<std::uint32_t>(group);
  const std::uint32_t row = blockIdx.x * (kBlock / step) + threadIdx.x / step, lane = threadIdx.x % step;
  const bool valid = row < kept.numel;
  A value = Op::template start<A>;
  Offsets<2> offsets{};
  if (valid) {
    offsets = kept.locate(row);
    const T* from = x + offsets.at[0];
    const std::uint32_t begin = blockIdx.y * share.each, end = min(begin + share.each, reduced.numel);
    value = join_row<Op, V, A>(reduced, from, begin + lane, end, step);
    if (V > 1 && blockIdx.y + 1 == gridDim.y) {
      for (std::uint32_t i = lane; i < share.tail; i += step)
        value = Op{}(value, static_cast<A>(to_compute(from[std::int64_t{reduced.numel} * V + i])));
    }
  }
  if (group == kBlock) {
    value = block_combine(value, Op{}, Op::template start<A>);
  } else {
    for (int offset = group / 2; offset > 0; offset /= 2)
      value = Op{}(value, __shfl_xor_sync(kAllLanes, value, offset));
  }
  if (!valid || lane != 0) return;
  if (sink.partial != nullptr)
    sink.partial[std::int64_t{row} * gridDim.y + blockIdx.y] = value;
  else
    sink.store(offsets.at[1], value);
}

/// A column's values from `first` on, `step` rows apart, V columns at once.
template <class Op, int V, class A, class T>
__device__ __forceinline__ void join_columns(const Walk<1>& reduced, const T* column, std::uint32_t first,
                                             std::uint32_t end, std::uint32_t step, A (&value)[V]) {
  for (std::uint32_t i = first; i < end; i += step * kLoads) {
    Pack<T, V> packs[kLoads];
#pragma unroll
    for (int k = 0; k < kLoads; ++k) {
      const std::uint32_t at = i + static_cast<std::uint32_t>(k) * step;
      if (at < end) packs[k] = read_pack<V>(column + reduced.locate(at).at[0]);
    }
#pragma unroll
    for (int k = 0; k < kLoads; ++k) {
      if (i + static_cast<std::uint32_t>(k) * step >= end) continue;
      ComputeOf<T> values[V];
      convert(packs[k], values);
#pragma unroll
      for (int c = 0; c < V; ++c) value[c] = Op{}(value[c], static_cast<A>(values[c]));
    }
  }
}

/// A block is `lanes` packs of columns wide; its lines are joined in shared memory. `kept` counts packs.
template <class Op, class T, int V>
__global__ void __launch_bounds__(kBlock)
    columns_kernel(const __grid_constant__ Walk<2> kept, const __grid_constant__ Walk<1> reduced, Share share,
                   int lanes, std::int64_t y_step, const T* __restrict__ x, Sink<Accumulator<T>> sink) {
  using A = Accumulator<T>;
  SIMT_SHARED(A, of_thread, [V][kBlock]);
  const std::uint32_t width = static_cast<std::uint32_t>(lanes), lines = kBlock / width;
  const std::uint32_t column = blockIdx.x * width + threadIdx.x % width, line = threadIdx.x / width;
  const bool valid = column < kept.numel;
  A value[V];
#pragma unroll
  for (int c = 0; c < V; ++c) value[c] = Op::template start<A>;
  Offsets<2> offsets{};
  if (valid) {
    offsets = kept.locate(column);
    const std::uint32_t begin = blockIdx.y * share.each, end = min(begin + share.each, reduced.numel);
    join_columns<Op, V>(reduced, x + offsets.at[0], begin + line, end, lines, value);
  }
#pragma unroll
  for (int c = 0; c < V; ++c) of_thread[c][threadIdx.x] = value[c];
  for (std::uint32_t half = lines / 2; half > 0; half /= 2) {
    __syncthreads();
    if (line >= half) continue;
#pragma unroll
    for (int c = 0; c < V; ++c) {
      value[c] = Op{}(value[c], of_thread[c][threadIdx.x + half * width]);
      of_thread[c][threadIdx.x] = value[c];
    }
  }
  if (!valid || line != 0) return;
#pragma unroll
  for (int c = 0; c < V; ++c) {
    if (sink.partial != nullptr)
      sink.partial[(std::int64_t{blockIdx.y} * kept.numel + column) * V + c] = value[c];
    else
      sink.store(offsets.at[1] + c * y_step, value[c]);
  }
}

/// Partial results as the x of a second reduction: (results, splits) for rows, (splits, results) for columns.
ReductionSplit split_of_partial(const ReductionSplit& first, const ReductionPlan& plan) {
  ReductionSplit second = first;
  std::int64_t step = first.inner_reduced ? plan.splits : 1;
  for (int axis = second.kept.inner(); axis >= 0; --axis) {
    second.kept.strides[0][axis] = step;
    step *= second.kept.sizes[axis];
  }
  second.reduced = no_axes<2>();
  second.reduced.append(plan.splits, {first.inner_reduced ? 1 : first.kept.numel(), 0});
  return second;
}

/// Axes whose packs count as elements; the rest of the innermost axis is left out.
template <std::size_t N>
Axes<N> in_packs(Axes<N> axes, std::int64_t width) {
  axes.sizes[axes.inner()] /= width;
  for (PerAxis& strides : axes.strides) strides[axes.inner()] *= width;
  return axes;
}

template <class Op, int V, class T>
void launch_reduction(const Queue& queue, const ReductionSplit& split, const ReductionPlan& plan, const T* x,
                      const Sink<Accumulator<T>>& whole_sink) {
  const Walk<1> reduced(first_operands<1>(split.inner_reduced ? in_packs(split.reduced, V) : split.reduced));
  const Share share{plan.each, plan.tail};
  for_each_piece(split.inner_reduced ? split.kept : in_packs(split.kept, V),
                 [&](const Axes<2>& axes, const auto& offsets) {
                   const Walk<2> kept(axes);
                   Sink<Accumulator<T>> sink = whole_sink;
                   if (sink.y != nullptr)
                     sink.y += offsets[1] * static_cast<std::int64_t>(size_of(sink.dtype));
                   const T* from = x + offsets[0];
                   const int results = split.inner_reduced ? kBlock / plan.group : plan.group;
                   const dim3 grid(static_cast<unsigned>(ceil_div(kept.numel, results)), plan.splits);
                   if (split.inner_reduced)
                     launch("reduce", queue, rows_kernel<Op, T, V>, grid, dim3(kBlock), 0, kept, reduced,
                            share, plan.group, from, sink);
                   else
                     launch("reduce", queue, columns_kernel<Op, T, V>, grid, dim3(kBlock), 0, kept, reduced,
                            share, plan.group, axes.strides[1][axes.inner()] / V, from, sink);
                 });
}

template <class Op, class T>
void launch_planned(const Queue& queue, const ReductionSplit& split, const ReductionPlan& plan, const T* x,
                    const Sink<Accumulator<T>>& sink) {
  if constexpr (sizeof(T) <= 4 && !std::is_integral_v<T>) {
    if (plan.packed) return launch_reduction<Op, kPack<T>>(queue, split, plan, x, sink);
  }
  launch_reduction<Op, 1>(queue, split, plan, x, sink);
}

template <class Op, class T>
void reduce_as(const Queue& queue, const ConstView& x, const Target& y, double divisor,
               const Workspace& workspace) {
  using A = Accumulator<T>;
  const ReductionSplit split = split_of(x, y.view);
  const ReductionPlan plan = plan_of(multiprocessors(), split, aligned16(x.data), x.dtype);
  Sink<A> sink{static_cast<std::byte*>(y.view.data), y.view.dtype, y.write == Write::accumulate,
               static_cast<A>(divisor), nullptr};
  if (plan.splits == 1) return launch_planned<Op, T>(queue, split, plan, x.as<T>(), sink);

  require_workspace("reduce", workspace, partial_results_bytes(x, y.view));
  Sink<A> partial = sink;
  partial.partial = static_cast<A*>(workspace.data);
  launch_planned<Op, T>(queue, split, plan, x.as<T>(), partial);
  const ReductionSplit rest = split_of_partial(split, plan);
  ReductionPlan last;
  last.kept = split.kept.numel();
  last.reduced = plan.splits;
  last.each = plan.splits;
  last.group = !rest.inner_reduced        ? lanes_for(last.kept, kWarp)
               : last.reduced > 2 * kWarp ? kBlock
                                          : lanes_for(last.reduced, kWarp);
  launch_planned<Op, A>(queue, rest, last, partial.partial, sink);
}

/// The result of reducing nothing: 0, NaN for a mean, -inf for max.
void reduce_nothing(const Queue& queue, Reduce function, const Target& y) {
  const double value = function == Reduce::sum    ? 0.0
                       : function == Reduce::mean ? std::numeric_limits<double>::quiet_NaN()
                                                  : -std::numeric_limits<double>::infinity();
  if (y.write == Write::overwrite) return fill(queue, value, y.view);
  if (function != Reduce::sum) unary_forward(queue, Unary::add_scalar, value, y.view, y.view);
}

}  // namespace

void reduce(const Queue& queue, Reduce function, const ConstView& x, const Target& y,
            const Workspace& workspace) {
  const std::int64_t results = y.view.numel();
  if (!y || results == 0) return;
  const bool numbers = is_floating(x.dtype) ? is_floating(y.view.dtype)
                                            : function == Reduce::sum && y.view.dtype == DType::int64;
  if (!numbers) refuse("reduce", x.dtype);
  if (x.numel() == 0) return reduce_nothing(queue, function, y);
  const double divisor = function == Reduce::mean ? static_cast<double>(x.numel() / results) : 1.0;
  dispatch_any(x.dtype, [&]<class T>() {
    if (function != Reduce::max) return reduce_as<Sum, T>(queue, x, y, divisor, workspace);
    if constexpr (!std::is_integral_v<T>) reduce_as<Max, T>(queue, x, y, divisor, workspace);
  });
}

}  // namespace reprise::kernels::cuda
