// Transcendental functions without branches, so that loops over them vectorise (`#pragma omp simd`). The
// float versions are polynomials fitted to a relative error below 2^-24 (minimax, on the intervals named
// beside them); the double versions are the standard library's.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace reprise::kernels::cpu::math {

namespace detail {

/// 2^n for -126 <= n <= 127.
inline float power_of_two(std::int32_t n) { return std::bit_cast<float>((n + 127) << 23); }

}  // namespace detail

/// e^x; subnormal results included, +inf beyond 88.72, 0 below -103.97.
inline float exp(float x) {
  x = x < -104.0f ? -104.0f : x;
  x = x > 89.0f ? 89.0f : x;
  // Adding 1.5 * 2^23 rounds to an integer, which then stands in the low bits.
  constexpr float kRound = 12582912.0f;
  const float shifted = x * 1.44269504f + kRound;
  const float n = shifted - kRound;
  const float r = (x - n * 0.693145752f) - n * 1.42860677e-6f;
  // (e^r - 1 - r) / r^2 on |r| <= ln(2) / 2
  float p = 1.38146902e-3f;
  p = p * r + 8.36870972e-3f;
  p = p * r + 4.16683862e-2f;
  p = p * r + 1.66665207e-1f;
  p = p * r + 4.99999935e-1f;
  p = p * (r * r) + r;
  // Two factors, because 2^n alone may overflow or be subnormal.
  const std::int32_t exponent = std::bit_cast<std::int32_t>(shifted) - std::bit_cast<std::int32_t>(kRound);
  const std::int32_t half = exponent >> 1;
  return (p + 1.0f) * detail::power_of_two(half) * detail::power_of_two(exponent - half);
}

/// Natural logarithm; -inf at 0, NaN below.
inline float log(float x) {
  const bool subnormal = x < std::numeric_limits<float>::min();
  const float scaled = subnormal ? x * 8388608.0f : x;
  const auto bits = std::bit_cast<std::uint32_t>(scaled);
  // x = m * 2^e with m in [sqrt(1/2), sqrt(2))
  constexpr std::uint32_t kSqrtHalf = 0x3F3504F3;
  const std::int32_t exponent = static_cast<std::int32_t>(bits - kSqrtHalf) >> 23;
  const float m = std::bit_cast<float>(bits - (static_cast<std::uint32_t>(exponent) << 23));
  const float e = static_cast<float>(exponent) - (subnormal ? 23.0f : 0.0f);
  const float f = m - 1.0f;
  // (log(1 + f) - f + f^2 / 2) / f^3
  float p = -7.63530861e-2f;
  p = p * f + 1.27619282e-1f;
  p = p * f + -1.31598757e-1f;
  p = p * f + 1.42016e-1f;
  p = p * f + -1.66233763e-1f;
  p = p * f + 2.00012405e-1f;
  p = p * f + -2.50008209e-1f;
  p = p * f + 3.33333315e-1f;
  const float square = f * f;
  const float tail = p * (square * f) + e * 1.42860677e-6f;
  float result = e * 0.693145752f + (f + (tail - 0.5f * square));
  result = x < std::numeric_limits<float>::infinity() ? result : x;  // +inf and NaN
  result = x == 0.0f ? -std::numeric_limits<float>::infinity() : result;
  return x < 0.0f ? std::numeric_limits<float>::quiet_NaN() : result;
}

/// 1 / (1 + e^-x); 0 below -88.72.
inline float sigmoid(float x) { return 1.0f / (1.0f + exp(-x)); }

/// Hyperbolic tangent.
inline float tanh(float x) {
  const float a = std::fabs(x);
  const float square = a * a;
  // (tanh(x) / x - 1) / x^2 on |x| <= 0.625, as a polynomial in x^2
  float p = -5.71699897e-3f;
  p = p * square + 2.06505416e-2f;
  p = p * square + -5.37434823e-2f;
  p = p * square + 1.33314911e-1f;
  p = p * square + -3.33332839e-1f;
  const float small = p * (square * a) + a;
  const float large = 1.0f - 2.0f / (exp(2.0f * a) + 1.0f);
  return std::copysign(a < 0.625f ? small : large, x);
}

/// Error function.
inline float erf(float x) {
  const float a = std::fabs(x);
  const float square = a * a;
  // erf(x) / x - 1 on |x| <= 1, as a polynomial in x^2
  float p = 7.88909918e-5f;
  p = p * square + -8.02083509e-4f;
  p = p * square + 5.18953463e-3f;
  p = p * square + -2.68544442e-2f;
  p = p * square + 1.12836002e-1f;
  p = p * square + -3.76126271e-1f;
  p = p * square + 1.28379167e-1f;
  const float small = p * a + a;
  // log(erfc(x)) on [1, 4]; beyond, erf rounds to 1
  const float b = a > 4.0f ? 4.0f : a;
  float q = -2.16853196e-5f;
  q = q * b + 4.41314679e-4f;
  q = q * b + -4.20443566e-3f;
  q = q * b + 2.52078656e-2f;
  q = q * b + -1.08417878e-1f;
  q = q * b + -6.33220616e-1f;
  q = q * b + -1.12957802f;
  q = q * b + 1.87947763e-4f;
  const float large = 1.0f - exp(q);
  return std::copysign(a < 1.0f ? small : large, x);
}

inline double exp(double x) { return std::exp(x); }
inline double log(double x) { return std::log(x); }
inline double tanh(double x) { return std::tanh(x); }
inline double erf(double x) { return std::erf(x); }
inline double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }

}  // namespace reprise::kernels::cpu::math
