// The largest element of a row and the sum of exp(x - largest), which softmax and cross entropy begin with.
#pragma once

#include "cuda/rows.cuh"

namespace reprise::kernels::cuda {

/// exp(x), to the accuracy that T can show.
template <class T>
__device__ __forceinline__ float exp_for(float x) {
  if constexpr (std::is_same_v<T, float>)
    return expf(x);
  else
    return __expf(x);
}

/// While all elements are -inf, a shift by 0 keeps the sum 0 and lets a NaN through.
__device__ __forceinline__ float shift_of(float largest) { return largest == -INFINITY ? 0.0f : largest; }

/// sum is NaN where the row has a NaN or +inf, and 0 where it has only -inf.
struct Exponentials {
  float largest = -INFINITY, sum = 0;
};

/// The row's exponentials, in all of its threads: from registers where the row is held, else in one pass over
/// it, in which a larger element scales down what was summed before (Milakov and Gimelshein 2018).
template <class Shape, class T>
__device__ __forceinline__ Exponentials row_exponentials(const RowPacks<T, Shape>& packs,
                                                         RowShare<T, Shape>& x) {
  Exponentials own;
  for_each_pack<Shape>(
      packs,
      [&](int slot, int) {
        float values[Shape::kVec];
        x.values(slot, values);
        float largest = own.largest;
#pragma unroll
        for (int i = 0; i < Shape::kVec; ++i) largest = fmaxf(largest, values[i]);
        if (largest > own.largest) {
          own.sum *= exp_for<T>(own.largest - largest);
          own.largest = largest;
        }
        const float shift = shift_of(own.largest);
#pragma unroll
        for (int i = 0; i < Shape::kVec; ++i) own.sum += exp_for<T>(values[i] - shift);
      },
      x);
  const float largest = Shape::max(own.largest);
  if (own.largest != -INFINITY) own.sum *= exp_for<T>(own.largest - largest);
  return {largest, Shape::sum(own.sum)};
}

}  // namespace reprise::kernels::cuda
