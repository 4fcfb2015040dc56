// What the tests of matrix products and convolutions share: each library in turn, a guarded workspace,
// tolerances.
#pragma once

#include <catch2/catch.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string>
#include <vector>

#include "kernel_tensor.h"
#include "reprise/kernels/matmul.h"

namespace reprise::kernels {

inline constexpr CpuLibrary kLibraries[] = {CpuLibrary::automatic, CpuLibrary::onednn, CpuLibrary::eigen};
inline constexpr DType kFloatingTypes[] = {DType::float32, DType::float64, DType::bfloat16, DType::float16};

inline std::string name_of(CpuLibrary library) {
  const std::string names[] = {"automatic", "oneDNN", "Eigen"};
  return names[static_cast<std::size_t>(library)];
}

/// Makes all products go through one library for a scope.
class LibraryScope {
 public:
  explicit LibraryScope(CpuLibrary library) { use_cpu_library(library); }
  LibraryScope(const LibraryScope&) = delete;
  LibraryScope& operator=(const LibraryScope&) = delete;
  ~LibraryScope() { use_cpu_library(CpuLibrary::automatic); }
};

/// Scratch of exactly so many bytes, aligned no better than to 16 bytes, with guard bytes around.
class GuardedWorkspace {
 public:
  explicit GuardedWorkspace(std::size_t bytes) : size_(bytes), bytes_(bytes + 2 * kGuard, kPattern) {}

  operator Workspace() { return {size_ == 0 ? nullptr : bytes_.data() + kGuard, size_}; }

  bool guards_intact() const {
    const auto guard = [](unsigned char byte) { return byte == kPattern; };
    return std::all_of(bytes_.begin(), bytes_.begin() + kGuard, guard) &&
           std::all_of(bytes_.end() - kGuard, bytes_.end(), guard);
  }

 private:
  static constexpr std::ptrdiff_t kGuard = 48;
  static constexpr unsigned char kPattern = 0x5A;
  std::size_t size_;
  std::vector<unsigned char> bytes_;
};

/// Numbers that 16-bit floats hold exactly, of both signs.
inline KernelTensor& fill_exact(KernelTensor& tensor, std::int64_t seed) {
  return tensor.fill(
      [&](std::int64_t i) { return static_cast<double>((i * 37 + seed * 11) % 29 - 14) / 16; });
}

/// The error of a sum of `terms` products whose absolute values add up to `magnitude`, rounded to `dtype` at
/// the end.
inline double sum_tolerance(DType dtype, std::int64_t terms, double magnitude, double result) {
  const double compute = unit_roundoff(dtype == DType::float64 ? DType::float64 : DType::float32);
  return static_cast<double>(terms + 4) * compute * magnitude + unit_roundoff(dtype) * std::abs(result);
}

/// The elements of a view in row-major order of its sizes.
inline std::vector<double> values_of(const ConstView& view) {
  std::vector<double> values;
  for (std::int64_t i = 0; i < view.numel(); ++i) {
    std::int64_t at = 0, rest = i;
    for (int axis = view.rank - 1; axis >= 0; --axis) {
      at += rest % view.sizes[axis] * view.strides[axis];
      rest /= view.sizes[axis];
    }
    dispatch_floating(
        view.dtype, [&]<class T>() { values.push_back(static_cast<double>(Compute<T>(view.as<T>()[at]))); });
  }
  return values;
}

}  // namespace reprise::kernels
