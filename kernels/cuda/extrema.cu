// Where the largest elements are: y[kept] = first index along an axis of the largest x[kept, axis], and the
// gradient of max, dx[kept, reduced] (=, +=) dy[kept] / ties where x equals y.
//
// Where x's innermost axis is reduced, a few lanes, a warp or a block share a result and read neighbours;
// otherwise every thread has a result of its own, and neighbouring threads read neighbours, unless there are
// too few results for that.
#include "cuda/element.cuh"
#include "cuda/reduce.cuh"
#include "cuda/strided.cuh"
#include "cuda/workspace/reduction_axes.h"
#include "reprise/kernels/reduce.h"

namespace reprise::kernels::cuda {

namespace {

constexpr int kBlock = 256;

/// Threads for a result: a power of two up to a warp, or the block.
template <std::size_t N>
int group_of(const ReductionAxes<N>& split) {
  constexpr std::int64_t kFewResults = 8192;
  const std::int64_t elements = split.reduced.numel();
  if (split.inner_reduced) return elements > kBlock ? kBlock : lanes_for(elements, kWarp);
  return elements > kBlock && split.kept.numel() < kFewResults ? kBlock : 1;
}

unsigned blocks_of(std::uint32_t results, int group) {
  return static_cast<unsigned>(ceil_div(results, kBlock / group));
}

/// The result of this thread's group and this thread's place in the group.
struct Place {
  std::uint32_t result, lane;
  __device__ __forceinline__ explicit Place(std::uint32_t group)
      : result(blockIdx.x * (kBlock / group) + threadIdx.x / group), lane(threadIdx.x % group) {}
};

constexpr std::uint32_t kNowhere = 0xffffffffu;

template <class C>
struct Candidate {
  C value;
  std::uint32_t index;  // kNowhere for none

  /// NaN counts as the largest; of equal ones the first is taken.
  __device__ __forceinline__ void take(C other, std::uint32_t at) {
    if (at == kNowhere) return;
    const bool larger = other > value || (other != other && value == value);
    const bool smaller = value > other || (value != value && other == other);
    if (index != kNowhere && !larger && (smaller || at > index)) return;
    value = other;
    index = at;
  }
};

template <class T, class C>
__global__ void __launch_bounds__(kBlock)
    argmax_kernel(const __grid_constant__ Walk<2> kept, std::uint32_t n, std::int64_t stride, int group,
                  const T* __restrict__ x, std::int64_t* y) {
  constexpr int kLoads = 4;
  SIMT_SHARED(C, of_thread, [kBlock]);
  SIMT_SHARED(std::uint32_t, index_of_thread, [kBlock]);
  const std::uint32_t step = static_cast<std::uint32_t>(group);
  const Place place(step);
  const bool valid = place.result < kept.numel;
  Candidate<C> most{C(0), kNowhere};
  Offsets<2> offsets{};
  if (valid) {
    offsets = kept.locate(place.result);
    for (std::uint32_t i = place.lane; i < n; i += step * kLoads) {
      C values[kLoads];
#pragma unroll
      for (int k = 0; k < kLoads; ++k) {
        const std::uint32_t at = i + static_cast<std::uint32_t>(k) * step;
        values[k] = static_cast<C>(to_compute(x[offsets.at[0] + (at < n ? at : i) * stride]));
      }
#pragma unroll
      for (int k = 0; k < kLoads; ++k) {
        const std::uint32_t at = i + static_cast<std::uint32_t>(k) * step;
        if (at < n) most.take(values[k], at);
      }
    }
  }
  of_thread[threadIdx.x] = most.value;
  index_of_thread[threadIdx.x] = most.index;
  for (std::uint32_t half = step / 2; half > 0; half /= 2) {
    __syncthreads();
    if (place.lane >= half) continue;
    most.take(of_thread[threadIdx.x + half], index_of_thread[threadIdx.x + half]);
    of_thread[threadIdx.x] = most.value;
    index_of_thread[threadIdx.x] = most.index;
  }
  if (valid && place.lane == 0) y[offsets.at[1]] = most.index;
}

/// NaN is where the largest is NaN.
template <class C>
__device__ __forceinline__ bool is_largest(C value, C most) {
  return value == most || (value != value && most != most);
}

/// Operands: x, y, dy, dx. The group counts its ties, then goes over the elements again.
template <class T>
__global__ void __launch_bounds__(kBlock)
    max_backward_kernel(const __grid_constant__ Walk<4> kept, const __grid_constant__ Walk<4> reduced,
                        int group, const T* __restrict__ x, const T* __restrict__ y, const T* __restrict__ dy,
                        T* dx, bool add) {
  using C = ComputeOf<T>;
  const std::uint32_t step = static_cast<std::uint32_t>(group);
  const Place place(step);
  const bool valid = place.result < kept.numel;
  int ties = 0;
  C most = 0;
  Offsets<4> base{};
  if (valid) {
    base = kept.locate(place.result);
    most = to_compute(y[base.at[1]]);
    for (std::uint32_t i = place.lane; i < reduced.numel; i += step)
      ties += is_largest(to_compute(x[base.at[0] + reduced.locate(i).at[0]]), most) ? 1 : 0;
  }
  if (group == kBlock) {
    ties = block_sum(ties);
  } else {
    for (int offset = group / 2; offset > 0; offset /= 2) ties += __shfl_xor_sync(kAllLanes, ties, offset);
  }
  if (!valid) return;
  const C share = to_compute(dy[base.at[2]]) / static_cast<C>(ties);
  for (std::uint32_t i = place.lane; i < reduced.numel; i += step) {
    const Offsets<4> at = reduced.locate(i);
    T& out = dx[base.at[3] + at.at[3]];
    const C value = is_largest(to_compute(x[base.at[0] + at.at[0]]), most) ? share : C(0);
    out = from_compute<T>(add ? to_compute(out) + value : value);
  }
}

}  // namespace

void max_backward(const Queue& queue, const ConstView& x, const ConstView& y, const ConstView& dy,
                  const Target& dx) {
  if (!dx || x.numel() == 0) return;
  if (!is_floating(x.dtype)) refuse("max_backward", x.dtype);
  const Layout result = expanded(y, x), result_gradient = expanded(dy, x);
  const auto split = split_axes<4>({&x, &result, &result_gradient, &dx.view});
  require_countable("max_backward", split.reduced.numel());
  const Walk<4> reduced(split.reduced);
  const int group = group_of(split);
  dispatch_any(x.dtype, [&]<class T>() {
    if constexpr (!std::is_integral_v<T>) {
      for_each_piece(split.kept, [&](const Axes<4>& axes, const auto& at) {
        const Walk<4> kept(axes);
        launch("max_backward", queue, max_backward_kernel<T>, dim3(blocks_of(kept.numel, group)),
               dim3(kBlock), 0, kept, reduced, group, x.as<T>() + at[0], y.as<T>() + at[1],
               dy.as<T>() + at[2], dx.view.template as<T>() + at[3], dx.write == Write::accumulate);
      });
    }
  });
}

void argmax(const Queue& queue, const ConstView& x, int axis, const View& y) {
  if (x.numel() == 0) return;
  const Layout result = expanded(y, x);
  const auto split = split_axes<2>({&x, &result});
  require_countable("argmax", x.sizes[axis]);
  const auto n = static_cast<std::uint32_t>(x.sizes[axis]);
  const int group = group_of(split);
  dispatch_any(x.dtype, [&]<class T>() {
    using C = std::conditional_t<std::is_same_v<T, bool>, int, ComputeOf<T>>;
    for_each_piece(split.kept, [&](const Axes<2>& axes, const auto& at) {
      const Walk<2> kept(axes);
      launch("argmax", queue, argmax_kernel<T, C>, dim3(blocks_of(kept.numel, group)), dim3(kBlock), 0, kept,
             n, x.strides[axis], group, x.as<T>() + at[0], y.as<std::int64_t>() + at[1]);
    });
  });
}

}  // namespace reprise::kernels::cuda
