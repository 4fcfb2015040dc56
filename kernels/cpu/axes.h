// Loops over operands of any strides: axes that lie in memory order are merged, and what is left is cut into
// tiles.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>

#include "reprise/kernels/view.h"

namespace reprise::kernels::cpu {

/// Sizes and the strides of N operands (in elements), the outermost axis first. Rank is at least 1.
template <std::size_t N>
struct Axes {
  int rank = 1;
  std::array<std::int64_t, kMaxRank> sizes{1};
  std::array<std::array<std::int64_t, kMaxRank>, N> strides{};

  std::int64_t numel() const {
    std::int64_t n = 1;
    for (int axis = 0; axis < rank; ++axis) n *= sizes[static_cast<std::size_t>(axis)];
    return n;
  }
};

/// Merges the axes of operands of equal sizes: operand 0 (not null) gives the order of memory, axes of size 1
/// vanish, and two axes become one where that leaves every operand's addresses as they are. A null operand
/// counts as broadcast.
template <std::size_t N>
Axes<N> collapse(const std::array<const Layout*, N>& operands) {
  const Layout& lead = *operands[0];
  std::array<std::size_t, kMaxRank> order{};
  std::size_t count = 0;
  for (std::size_t axis = 0; axis < static_cast<std::size_t>(lead.rank); ++axis) {
    if (lead.sizes[axis] == 1) continue;
    std::size_t place = count++;
    for (; place > 0 && lead.strides[order[place - 1]] < lead.strides[axis]; --place)
      order[place] = order[place - 1];
    order[place] = axis;
  }

  Axes<N> axes;
  std::size_t last = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t axis = order[i];
    const std::int64_t size = lead.sizes[axis];
    const auto stride = [&](std::size_t k) { return operands[k] ? operands[k]->strides[axis] : 0; };
    bool merge = i > 0;
    for (std::size_t k = 0; k < N && merge; ++k) merge = axes.strides[k][last] == stride(k) * size;
    if (i > 0 && !merge) ++last;
    axes.sizes[last] = merge ? axes.sizes[last] * size : size;
    for (std::size_t k = 0; k < N; ++k) axes.strides[k][last] = stride(k);
  }
  axes.rank = static_cast<int>(last) + 1;
  return axes;
}

/// A block of the two innermost axes, and where it begins in every operand (in elements).
template <std::size_t N>
struct Tile {
  std::int64_t rows = 0, cols = 0;
  std::array<std::int64_t, N> offsets{};
};

/// Calls f(tile) on tiles of at most `limit` elements that cover the elements [begin, end) in the order of
/// the axes.
template <std::size_t N, class F>
void for_each_tile(const Axes<N>& axes, std::int64_t begin, std::int64_t end, std::int64_t limit, F&& f) {
  const auto inner = static_cast<std::size_t>(axes.rank) - 1;
  const std::int64_t cols = axes.sizes[inner];
  const std::int64_t rows = axes.rank > 1 ? axes.sizes[inner - 1] : 1;
  for (std::int64_t i = begin; i < end;) {
    const std::int64_t col = i % cols;
    std::int64_t rest = i / cols;
    Tile<N> tile;
    if (col != 0 || cols > limit || end - i < cols) {
      tile.rows = 1;
      tile.cols = std::min({cols - col, limit, end - i});
    } else {
      tile.rows = std::min({rows - rest % rows, limit / cols, (end - i) / cols});
      tile.cols = cols;
    }
    for (std::size_t k = 0; k < N; ++k) tile.offsets[k] = col * axes.strides[k][inner];
    for (std::size_t axis = inner; axis-- > 0;) {
      const std::int64_t at = rest % axes.sizes[axis];
      rest /= axes.sizes[axis];
      for (std::size_t k = 0; k < N; ++k) tile.offsets[k] += at * axes.strides[k][axis];
    }
    f(std::as_const(tile));
    i += tile.rows * tile.cols;
  }
}

}  // namespace reprise::kernels::cpu
