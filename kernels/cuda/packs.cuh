// Packs of elements: 16 bytes where a tensor allows it, else single elements, by the same kernels.
#pragma once

#include <initializer_list>

#include "cuda/element.cuh"
#include "cuda/launch.h"

namespace reprise::kernels::cuda {

/// Whether lines that begin `stride` elements apart from `data` on can be accessed 16 bytes at a time.
template <class T>
bool lines_aligned16(const void* data, std::int64_t stride = 0) {
  return aligned16(data) && stride % kPack<T> == 0;
}

/// Calls f.template operator()<N>() with N = kPack<T> where `packed`, else with 1.
template <class T, class F>
void dispatch_pack(bool packed, F&& f) {
  if (packed)
    f.template operator()<kPack<T>>();
  else
    f.template operator()<1>();
}

/// What `to` becomes by (=, +=) values, rounded once.
template <class T, int kVec>
__device__ __forceinline__ Pack<T, kVec> result_pack(const T* to, ComputeOf<T> (&values)[kVec],
                                                     bool accumulate) {
  if (accumulate) {
    ComputeOf<T> before[kVec];
    convert(read_pack<kVec>(to), before);
#pragma unroll
    for (int i = 0; i < kVec; ++i) values[i] = before[i] + values[i];
  }
  return round_pack<T>(values);
}

/// to (=, +=) values
template <class T, int kVec>
__device__ __forceinline__ void write_values(T* to, ComputeOf<T> (&values)[kVec], bool accumulate) {
  write_pack(to, result_pack(to, values, accumulate));
}

/// Sums that wait in float32, kVec of them, at a multiple of 16 bytes where kVec is more than 1.
template <int kVec>
__device__ __forceinline__ void read_piece(const float* from, float (&to)[kVec]) {
  convert(read_pack<kVec>(from), to);
}
template <int kVec>
__device__ __forceinline__ void write_piece(float* to, const float (&from)[kVec]) {
  write_pack(to, round_pack<float>(from));
}

/// Parameters of columns [column, column + kVec), or `absent` where there are none.
template <int kVec, class T>
__device__ __forceinline__ void read_parameters(const T* parameters, std::int64_t column, ComputeOf<T> absent,
                                                ComputeOf<T> (&to)[kVec]) {
  if (parameters != nullptr) return convert(read_pack<kVec>(parameters + column), to);
#pragma unroll
  for (int i = 0; i < kVec; ++i) to[i] = absent;
}

}  // namespace reprise::kernels::cuda
