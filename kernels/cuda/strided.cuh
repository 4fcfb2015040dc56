// Elements of tensors of any strides, by number: axes are merged on the host, and a kernel finds the offsets
// of an element with one multiplication an axis. Numbers have 32 bits: larger tensors are cut into pieces.
#pragma once

#include <bit>
#include <cstddef>

#include "cuda/launch.h"
#include "cuda/workspace/axes.h"

namespace reprise::kernels::cuda {

/// Quotients of numbers below 2^31 by a fixed divisor (Granlund and Montgomery 1994).
struct Divisor {
  std::uint32_t divisor = 1, multiplier = 1, shift = 0;

  Divisor() = default;
  explicit Divisor(std::int64_t value) : divisor(static_cast<std::uint32_t>(value)) {
    shift = static_cast<std::uint32_t>(std::bit_width(divisor - 1));
    const std::uint64_t beyond = (std::uint64_t{1} << shift) - divisor;
    multiplier = static_cast<std::uint32_t>((beyond << 32) / divisor + 1);
  }
  __device__ __forceinline__ std::uint32_t quotient(std::uint32_t n) const {
    return (__umulhi(n, multiplier) + n) >> shift;
  }
};

/// Offsets of an element in N operands, in elements.
template <std::size_t N>
struct Offsets {
  std::int64_t at[N];
};

/// Axes as a kernel's parameter, the innermost axis first; fewer than 2^31 elements.
template <std::size_t N>
struct Walk {
  int rank = 1;
  std::uint32_t numel = 0;
  Divisor sizes[kMaxRank];
  std::int64_t strides[kMaxRank][N] = {};

  explicit Walk(const Axes<N>& axes) : rank(axes.rank), numel(static_cast<std::uint32_t>(axes.numel())) {
    for (int axis = 0; axis < rank; ++axis) {
      const int from = rank - 1 - axis;
      sizes[axis] = Divisor(axes.sizes[from]);
      for (std::size_t k = 0; k < N; ++k) strides[axis][k] = axes.strides[k][from];
    }
  }

  __device__ __forceinline__ Offsets<N> locate(std::uint32_t index) const {
    Offsets<N> offsets{};
    const int outermost = rank - 1;
#pragma unroll 1
    for (int axis = 0; axis < outermost; ++axis) {
      const std::uint32_t rest = sizes[axis].quotient(index);
      const std::uint32_t here = index - rest * sizes[axis].divisor;
#pragma unroll
      for (std::size_t k = 0; k < N; ++k) offsets.at[k] += here * strides[axis][k];
      index = rest;
    }
#pragma unroll
    for (std::size_t k = 0; k < N; ++k) offsets.at[k] += index * strides[outermost][k];
    return offsets;
  }
};

}  // namespace reprise::kernels::cuda
