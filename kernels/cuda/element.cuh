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

template <int N, class T>
__device__ __forceinline__ Pack<T, N> read_pack(const T* from) {
  return *reinterpret_cast<const Pack<T, N>*>(from);
}

template <class T, int N>
__device__ __forceinline__ void write_pack(T* to, const Pack<T, N>& pack) {
  *reinterpret_cast<Pack<T, N>*>(to) = pack;
}

template <class T, int N>
__device__ __forceinline__ void convert(const Pack<T, N>& pack, ComputeOf<T> (&to)[N]) {
#pragma unroll
  for (int i = 0; i < N; ++i) to[i] = to_compute(pack.element[i]);
}

template <class T, int N>
__device__ __forceinline__ Pack<T, N> round_pack(const ComputeOf<T> (&values)[N]) {
  Pack<T, N> pack;
#pragma unroll
  for (int i = 0; i < N; ++i) pack.element[i] = from_compute<T>(values[i]);
  return pack;
}

/// 16 bytes of T from an aligned address, converted.
template <class T>
__device__ __forceinline__ void load_pack(const T* from, ComputeOf<T> (&to)[kPack<T>]) {
  convert(read_pack<kPack<T>>(from), to);
}

/// Converts and writes 16 bytes of T to an aligned address.
template <class T>
__device__ __forceinline__ void store_pack(T* to, const ComputeOf<T> (&from)[kPack<T>]) {
  write_pack(to, round_pack<T>(from));
}

}  // namespace reprise::kernels::cuda
