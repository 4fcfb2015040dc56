// Sums and maxima over a warp or a block, in an order that depends on the shape of the block alone.
#pragma once

#include "cuda/workspace/device.h"
#include "reprise/kernels/elementwise_functors.h"
#include "simt/simt.h"

namespace reprise::kernels::cuda {

inline constexpr unsigned kAllLanes = 0xffffffffu;

struct SumOf {
  template <class C>
  __device__ __forceinline__ C operator()(C a, C b) const {
    return functors::wrapping_add(a, b);
  }
};

/// The larger of two; NaN wins.
struct MaxOf {
  template <class C>
  __device__ __forceinline__ C operator()(C a, C b) const {
    return a > b || a != a ? a : b;
  }
};

/// Combines one value of every lane; all lanes get the result.
template <class C, class F>
__device__ __forceinline__ C warp_combine(C value, F combine) {
#pragma unroll
  for (int offset = kWarp / 2; offset > 0; offset /= 2)
    value = combine(value, __shfl_xor_sync(kAllLanes, value, offset));
  return value;
}

/// Combines one value of every thread of a block of whole warps; all threads get the result. May be called
/// again at once: it ends with everybody past their reads.
template <class C, class F>
__device__ __forceinline__ C block_combine(C value, F combine, C neutral) {
  SIMT_SHARED(C, of_warp, [kWarp]);
  const int thread = static_cast<int>(threadIdx.x + blockDim.x * threadIdx.y);
  const int warps = static_cast<int>(blockDim.x * blockDim.y) / kWarp;
  value = warp_combine(value, combine);
  if (thread % kWarp == 0) of_warp[thread / kWarp] = value;
  __syncthreads();
  value = warp_combine(thread % kWarp < warps ? of_warp[thread % kWarp] : neutral, combine);
  __syncthreads();
  return value;
}

template <class C>
__device__ __forceinline__ C warp_sum(C value) {
  return warp_combine(value, SumOf{});
}
template <class C>
__device__ __forceinline__ C warp_max(C value) {
  return warp_combine(value, MaxOf{});
}
template <class C>
__device__ __forceinline__ C block_sum(C value) {
  return block_combine(value, SumOf{}, C(0));
}

}  // namespace reprise::kernels::cuda
