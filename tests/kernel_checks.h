// What the tests of the row kernels share: comparisons that name the element, central differences, a
// workspace that is exactly as large as asked for.
#pragma once

#include <catch2/catch.hpp>
#include <cmath>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "kernel_tensor.h"

namespace reprise::kernels {

using Doubles = std::vector<double>;

inline const Queue kCpu;
inline constexpr DType kFloatTypes[] = {DType::float32, DType::float64, DType::bfloat16, DType::float16};

/// The type in which statistics and losses of this type are kept.
inline DType compute_dtype(DType dtype) { return dtype == DType::float64 ? DType::float64 : DType::float32; }

inline Doubles random_values(std::int64_t n, unsigned seed, double mean = 0, double deviation = 1) {
  std::mt19937 generator(seed);
  std::normal_distribution<double> normal(mean, deviation);
  Doubles values(static_cast<std::size_t>(n));
  for (double& value : values) value = normal(generator);
  return values;
}

/// A tensor that holds `values`, in row-major order of the sizes and rounded to the type.
inline KernelTensor tensor_of(DType dtype, std::vector<std::int64_t> sizes, const Doubles& values,
                              std::vector<int> order = {}, std::int64_t gap = 0) {
  KernelTensor tensor(dtype, std::move(sizes), std::move(order), gap);
  tensor.fill([&](std::int64_t i) { return values[static_cast<std::size_t>(i)]; });
  return tensor;
}

/// The first element that is further from `expected` than atol + rtol |expected|, in words; empty where there
/// is none. NaN is close to NaN, an infinity to itself.
inline std::string difference(const Doubles& got, const Doubles& expected, double atol, double rtol) {
  if (got.size() != expected.size()) return "sizes differ";
  for (std::size_t i = 0; i < got.size(); ++i) {
    if (std::isnan(got[i]) && std::isnan(expected[i])) continue;
    if (got[i] == expected[i]) continue;
    if (std::abs(got[i] - expected[i]) <= atol + rtol * std::abs(expected[i])) continue;
    return "element " + std::to_string(i) + ": " + std::to_string(got[i]) + ", expected " +
           std::to_string(expected[i]) + ", off by " + std::to_string((got[i] - expected[i]) * 1e9) + "e-9";
  }
  return "";
}

/// Close as results of a type should be that were computed in float32 (or float64) and rounded once.
inline std::string difference(const KernelTensor& got, const Doubles& expected, double scale = 1) {
  if (!got.guards_intact()) return "guard bytes were written";
  const DType dtype = got.view().dtype;
  const double computed = scale * 64 * unit_roundoff(compute_dtype(dtype));
  return difference(got.values(), expected, computed, unit_roundoff(dtype) + computed);
}

/// d f / d x by central differences.
inline Doubles central_differences(const std::function<double(const Doubles&)>& f, Doubles x) {
  constexpr double kStep = 1e-6;
  Doubles gradient(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double before = x[i];
    x[i] = before + kStep;
    const double above = f(x);
    x[i] = before - kStep;
    gradient[i] = (above - f(x)) / (2 * kStep);
    x[i] = before;
  }
  return gradient;
}

inline std::string gradient_difference(const KernelTensor& got, const Doubles& expected) {
  if (!got.guards_intact()) return "guard bytes were written";
  return difference(got.values(), expected, 1e-5, 1e-3);
}

inline double dot(const Doubles& a, const Doubles& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

/// Scratch memory with guard bytes behind it, poisoned.
class Scratch {
 public:
  explicit Scratch(std::size_t bytes) : bytes_(bytes), memory_(bytes + kGuard, kPattern) {}
  Workspace get() { return {memory_.data(), bytes_}; }
  bool guards_intact() const {
    return std::all_of(memory_.begin() + static_cast<std::ptrdiff_t>(bytes_), memory_.end(),
                       [](unsigned char byte) { return byte == kPattern; });
  }

 private:
  static constexpr std::size_t kGuard = 64;
  static constexpr unsigned char kPattern = 0xFF;
  std::size_t bytes_;
  std::vector<unsigned char> memory_;
};

/// a + b
inline Doubles sum_of(Doubles a, const Doubles& b) {
  for (std::size_t i = 0; i < a.size(); ++i) a[i] += b[i];
  return a;
}

}  // namespace reprise::kernels
