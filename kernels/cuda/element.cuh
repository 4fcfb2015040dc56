// Elements on the device: conversion to and from the type that is computed in, and 16-byte accesses.
#pragma once

#include <cstdint>
#include <cstring>
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

/// A word as a pair of elements, or the other way round.
template <class To, class From>
__device__ __forceinline__ To same_bits(const From& from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  memcpy(static_cast<void*>(&to), static_cast<const void*>(&from), sizeof to);
  return to;
}

/// Two 16-bit elements in a word, the first of which is the low half.
template <class T>
struct Pair;

template <>
struct Pair<__nv_bfloat16> {
  __device__ __forceinline__ static std::uint32_t join(__nv_bfloat16 first, __nv_bfloat16 second) {
    return same_bits<std::uint32_t>(__halves2bfloat162(first, second));
  }
  __device__ __forceinline__ static std::uint32_t round(float first, float second) {
    return same_bits<std::uint32_t>(__floats2bfloat162_rn(first, second));
  }
  __device__ __forceinline__ static __nv_bfloat16 first(std::uint32_t word) {
    return __low2bfloat16(same_bits<__nv_bfloat162>(word));
  }
  __device__ __forceinline__ static __nv_bfloat16 second(std::uint32_t word) {
    return __high2bfloat16(same_bits<__nv_bfloat162>(word));
  }
  __device__ __forceinline__ static float2 convert(std::uint32_t word) {
    return make_float2(same_bits<float>(word << 16), same_bits<float>(word & 0xffff0000u));
  }
};

/// Elements whose bits alone matter.
template <>
struct Pair<std::uint16_t> {
  __device__ __forceinline__ static std::uint32_t join(std::uint16_t first, std::uint16_t second) {
    return static_cast<std::uint32_t>(first) | static_cast<std::uint32_t>(second) << 16;
  }
};

template <>
struct Pair<__half> {
  __device__ __forceinline__ static std::uint32_t join(__half first, __half second) {
    return same_bits<std::uint32_t>(__halves2half2(first, second));
  }
  __device__ __forceinline__ static std::uint32_t round(float first, float second) {
    return same_bits<std::uint32_t>(__floats2half2_rn(first, second));
  }
  __device__ __forceinline__ static __half first(std::uint32_t word) {
    return __low2half(same_bits<__half2>(word));
  }
  __device__ __forceinline__ static __half second(std::uint32_t word) {
    return __high2half(same_bits<__half2>(word));
  }
  __device__ __forceinline__ static float2 convert(std::uint32_t word) {
    return __half22float2(same_bits<__half2>(word));
  }
};

/// Alignment of N elements that are moved together.
template <class T, int N>
inline constexpr std::size_t kPackAlignment = static_cast<std::size_t>(N) * sizeof(T) <= 16
                                                  ? static_cast<std::size_t>(N) * sizeof(T)
                                                  : 16;

/// Whether N elements are moved as words of two.
template <class T, int N>
inline constexpr bool kInPairs = sizeof(T) == 2 && N % 2 == 0;

/// N elements that are moved together; N * sizeof(T) is at most 16 for one access.
template <class T, int N>
struct alignas(kPackAlignment<T, N>) Pack {
  T element[N];
};

/// Words, not elements: a compiler takes elements apart where it loads them, and so waits for one load before
/// it issues the next.
template <class T, int N>
requires(kInPairs<T, N>) struct alignas(kPackAlignment<T, N>) Pack<T, N> {
  std::uint32_t word[N / 2];
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

/// Makes a pack of elements.
template <class T, int N>
__device__ __forceinline__ Pack<T, N> join_elements(const T (&elements)[N]) {
  Pack<T, N> pack;
  if constexpr (kInPairs<T, N>) {
#pragma unroll
    for (int i = 0; i < N; i += 2) pack.word[i / 2] = Pair<T>::join(elements[i], elements[i + 1]);
  } else {
#pragma unroll
    for (int i = 0; i < N; ++i) pack.element[i] = elements[i];
  }
  return pack;
}

template <class T, int N>
__device__ __forceinline__ T element_of(const Pack<T, N>& pack, int i) {
  if constexpr (kInPairs<T, N>)
    return i % 2 == 0 ? Pair<T>::first(pack.word[i / 2]) : Pair<T>::second(pack.word[i / 2]);
  else
    return pack.element[i];
}

template <class T, int N>
__device__ __forceinline__ void convert(const Pack<T, N>& pack, ComputeOf<T> (&to)[N]) {
  if constexpr (kInPairs<T, N>) {
#pragma unroll
    for (int i = 0; i < N; i += 2) {
      const float2 pair = Pair<T>::convert(pack.word[i / 2]);
      to[i] = pair.x;
      to[i + 1] = pair.y;
    }
  } else {
#pragma unroll
    for (int i = 0; i < N; ++i) to[i] = to_compute(pack.element[i]);
  }
}

template <class T, int N>
__device__ __forceinline__ Pack<T, N> round_pack(const ComputeOf<T> (&values)[N]) {
  Pack<T, N> pack;
  if constexpr (kInPairs<T, N>) {
#pragma unroll
    for (int i = 0; i < N; i += 2) pack.word[i / 2] = Pair<T>::round(values[i], values[i + 1]);
  } else {
#pragma unroll
    for (int i = 0; i < N; ++i) pack.element[i] = from_compute<T>(values[i]);
  }
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
