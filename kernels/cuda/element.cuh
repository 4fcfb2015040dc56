// Elements on the device: conversion to and from the type that is computed in, and 16-byte accesses.
#pragma once

#include <cstdint>
#include <type_traits>

#include "cuda/workspace/device.h"
#include "simt/simt.h"

namespace reprise::kernels::cuda {

/// float for the 16-bit floats, T itself otherwise.
template <class T>
using ComputeOf = std::conditional_t<std::is_same_v<T, __nv_bfloat16> || std::is_same_v<T, __half>, float, T>;

template <class T>
__device__ __forceinline__ ComputeOf<T> to_compute(T value) {
  if constexpr (std::is_same_v<T, __nv_bfloat16>)
    return __bfloat162float(value);
  else if constexpr (std::is_same_v<T, __half>)
    return __half2float(value);
  else
    return value;
}

/// Rounds to nearest, ties to even, as the CPU does.
template <class T>
__device__ __forceinline__ T from_compute(ComputeOf<T> value) {
  if constexpr (std::is_same_v<T, __nv_bfloat16>)
    return __float2bfloat16_rn(value);
  else if constexpr (std::is_same_v<T, __half>)
    return __float2half_rn(value);
  else
    return value;
}

/// N elements that are moved together; N * sizeof(T) is at most 16 for one access.
template <class T, int N>
struct alignas(static_cast<std::size_t>(N) * sizeof(T) <= 16 ? static_cast<std::size_t>(N) * sizeof(T)
                                                             : 16) Pack {
  T element[N];
};

/// Elements of T in a 16-byte access.
template <class T>
inline constexpr int kPack = 16 / static_cast<int>(sizeof(T));

/// 16 bytes of T from an aligned address, converted.
template <class T>
__device__ __forceinline__ void load_pack(const T* from, ComputeOf<T> (&to)[kPack<T>]) {
  const Pack<T, kPack<T>> pack = *reinterpret_cast<const Pack<T, kPack<T>>*>(from);
#pragma unroll
  for (int i = 0; i < kPack<T>; ++i) to[i] = to_compute(pack.element[i]);
}

/// Converts and writes 16 bytes of T to an aligned address.
template <class T>
__device__ __forceinline__ void store_pack(T* to, const ComputeOf<T> (&from)[kPack<T>]) {
  Pack<T, kPack<T>> pack;
#pragma unroll
  for (int i = 0; i < kPack<T>; ++i) pack.element[i] = from_compute<T>(from[i]);
  *reinterpret_cast<Pack<T, kPack<T>>*>(to) = pack;
}

}  // namespace reprise::kernels::cuda
