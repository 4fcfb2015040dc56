// The axes of a reduction, split into those that the result keeps and those that vanish.
#pragma once

#include <limits>

#include "cpu/expanded_layout.h"
#include "cuda/workspace/axes.h"
#include "reprise/error.h"

namespace reprise::kernels::cuda {

/// Kept and reduced axes of N operands of which operand 0 is x; each part in the order of x's memory.
template <std::size_t N>
struct ReductionAxes {
  Axes<N> kept = no_axes<N>(), reduced = no_axes<N>();
  bool inner_reduced = false;  // x's innermost axis is a reduced one
};

/// Operand 0 is x, operand 1 has the result's layout expanded to x's sizes; x is not empty.
template <std::size_t N>
ReductionAxes<N> split_axes(const std::array<const Layout*, N>& operands) {
  const Axes<N> all = collapse(operands);
  ReductionAxes<N> split;
  for (int axis = 0; axis < all.rank; ++axis) {
    const bool vanishes = all.strides[1][axis] == 0;
    std::array<std::int64_t, N> step{};
    for (std::size_t k = 0; k < N; ++k) step[k] = all.strides[k][axis];
    (vanishes ? split.reduced : split.kept).append(all.sizes[axis], step);
    split.inner_reduced = vanishes;
  }
  finish(split.kept);
  finish(split.reduced);
  return split;
}

/// Axes of the first M of N operands.
template <std::size_t M, std::size_t N>
Axes<M> first_operands(const Axes<N>& axes) {
  Axes<M> part;
  part.rank = axes.rank;
  part.sizes = axes.sizes;
  for (std::size_t k = 0; k < M; ++k) part.strides[k] = axes.strides[k];
  return part;
}

/// Throws where the elements of one result are too many to be counted by 32 bits.
inline void require_countable(const char* operation, std::int64_t elements) {
  if (elements <= std::numeric_limits<std::int32_t>::max()) return;
  throw Error(std::string("[") + operation + "] " + std::to_string(elements) +
              " accesses for one result are too many for a layout without packs of 16 bytes");
}

/// Lanes of a warp, as a power of two, for `units` of work; `most` at most.
inline int lanes_for(std::int64_t units, int most) {
  int lanes = 1;
  while (lanes < most && lanes < units) lanes *= 2;
  return lanes;
}

}  // namespace reprise::kernels::cuda
