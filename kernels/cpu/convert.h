// Rows between a tensor's element type and the type in which kernels compute.
#pragma once

#include <bit>
#include <cstdint>

#include "reprise/kernels/dtype.h"

#if defined(__F16C__)
#include <immintrin.h>
#endif

namespace reprise::kernels::cpu {

/// to[i] = from[i] for n contiguous elements.
template <class T>
void load_row(const T* from, Compute<T>* to, std::int64_t n) {
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i) to[i] = static_cast<Compute<T>>(from[i]);
}

/// to[i] = from[i], rounded once, for n contiguous elements.
template <class T>
void store_row(const Compute<T>* from, T* to, std::int64_t n) {
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i) to[i] = static_cast<T>(from[i]);
}

/// As bfloat16's constructor rounds, in a form that vectorises.
template <>
inline void store_row<bfloat16>(const float* from, bfloat16* to, std::int64_t n) {
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i) {
    const auto word = std::bit_cast<std::uint32_t>(from[i]);
    const std::uint32_t rounded = (word + 0x7FFFu + ((word >> 16) & 1u)) >> 16;
    const std::uint32_t quiet = (word >> 16) | 0x40u;
    to[i].bits = static_cast<std::uint16_t>((word & 0x7FFFFFFFu) > 0x7F800000u ? quiet : rounded);
  }
}

#if defined(__F16C__)
// Compilers before AVX512-FP16 turn _Float16 loops into scalar conversions.
template <>
inline void load_row<float16>(const float16* from, float* to, std::int64_t n) {
  std::int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m128i half = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i));
    _mm256_storeu_ps(to + i, _mm256_cvtph_ps(half));
  }
  for (; i < n; ++i) to[i] = from[i];
}

template <>
inline void store_row<float16>(const float* from, float16* to, std::int64_t n) {
  std::int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m128i half = _mm256_cvtps_ph(_mm256_loadu_ps(from + i), _MM_FROUND_TO_NEAREST_INT);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to + i), half);
  }
  for (; i < n; ++i) to[i] = float16(from[i]);
}
#endif

}  // namespace reprise::kernels::cpu
