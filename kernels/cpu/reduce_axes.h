// The axes of a reduction, split into those that the result keeps and those that vanish.
#pragma once

#include "axes.h"
#include "expanded_layout.h"

namespace reprise::kernels::cpu {

/// Kept and reduced axes of N operands of which operand 0 is x; each part in the order of x's memory.
template <std::size_t N>
struct ReductionAxes {
  Axes<N> kept, reduced;
  /// True when x's innermost axis is a reduced one.
  bool inner_reduced = false;
};

/// Operand 0 is x, operand 1 has the result's layout expanded to x's sizes; x is not empty.
template <std::size_t N>
ReductionAxes<N> split_axes(const std::array<const Layout*, N>& operands) {
  const Axes<N> all = collapse(operands);
  ReductionAxes<N> split;
  std::size_t kept = 0, reduced = 0;
  for (std::size_t axis = 0; axis < static_cast<std::size_t>(all.rank); ++axis) {
    const bool vanishes = all.strides[1][axis] == 0;
    Axes<N>& part = vanishes ? split.reduced : split.kept;
    std::size_t& count = vanishes ? reduced : kept;
    part.sizes[count] = all.sizes[axis];
    for (std::size_t k = 0; k < N; ++k) part.strides[k][count] = all.strides[k][axis];
    ++count;
    split.inner_reduced = vanishes;
  }
  split.kept.rank = std::max(1, static_cast<int>(kept));
  split.reduced.rank = std::max(1, static_cast<int>(reduced));
  return split;
}

/// Blocks of consecutive results along the innermost kept axis: the unit of work of a reduction.
template <std::size_t N>
struct ResultBlocks {
  const Axes<N>& kept;
  std::int64_t width;      // the most results in a block
  std::int64_t inner;      // results along the innermost kept axis
  std::int64_t per_inner;  // blocks along it

  ResultBlocks(const Axes<N>& kept_axes, std::int64_t most)
      : kept(kept_axes), inner(kept_axes.sizes[static_cast<std::size_t>(kept_axes.rank) - 1]) {
    width = std::min(most, inner);
    per_inner = (inner + width - 1) / width;
  }

  std::int64_t count() const { return kept.numel() / inner * per_inner; }

  struct Block {
    std::int64_t first = 0, width = 0;      // results in memory order of x
    std::array<std::int64_t, N> offsets{};  // of the first one, in elements
    std::array<std::int64_t, N> strides{};  // from one to the next
  };

  Block operator[](std::int64_t index) const {
    const auto last = static_cast<std::size_t>(kept.rank) - 1;
    const std::int64_t column = index % per_inner * width;
    std::int64_t rest = index / per_inner;
    Block block;
    block.first = rest * inner + column;
    block.width = std::min(width, inner - column);
    for (std::size_t k = 0; k < N; ++k) {
      block.strides[k] = kept.strides[k][last];
      block.offsets[k] = column * block.strides[k];
    }
    for (std::size_t axis = last; axis-- > 0;) {
      const std::int64_t at = rest % kept.sizes[axis];
      rest /= kept.sizes[axis];
      for (std::size_t k = 0; k < N; ++k) block.offsets[k] += at * kept.strides[k][axis];
    }
    return block;
  }
};

}  // namespace reprise::kernels::cpu
