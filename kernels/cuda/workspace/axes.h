// Axes of tensors of any strides, merged where memory allows it, and pieces of what 32 bits cannot count.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>

#include "cuda/workspace/device.h"

namespace reprise::kernels::cuda {

/// Sizes and the strides of N operands (in elements), the outermost axis first. Rank is at least 1.
template <std::size_t N>
struct Axes {
  int rank = 1;
  PerAxis sizes{{1}};
  std::array<PerAxis, N> strides{};

  std::int64_t numel() const {
    std::int64_t n = 1;
    for (int axis = 0; axis < rank; ++axis) n *= sizes[axis];
    return n;
  }
  int inner() const { return rank - 1; }
  void append(std::int64_t size, const std::array<std::int64_t, N>& step) {
    sizes[rank] = size;
    for (std::size_t k = 0; k < N; ++k) strides[k][rank] = step[k];
    ++rank;
  }
};

/// No axes at all; `finish` makes the rank at least 1.
template <std::size_t N>
Axes<N> no_axes() {
  Axes<N> axes;
  axes.rank = 0;
  return axes;
}
template <std::size_t N>
void finish(Axes<N>& axes) {
  if (axes.rank == 0) axes.append(1, {});
}

/// The order in which elements are counted: that of operand 0's memory, or row-major in the given sizes.
enum class Order { memory, given };

/// Merges the axes of operands of equal sizes: axes of size 1 vanish, and two axes become one where that
/// leaves every operand's addresses as they are. Operand 0 is not null; another null one counts as broadcast.
template <std::size_t N>
Axes<N> collapse(const std::array<const Layout*, N>& operands, Order wanted = Order::memory) {
  const Layout& lead = *operands[0];
  std::array<int, kMaxRank> order{};
  int count = 0;
  for (int axis = 0; axis < lead.rank; ++axis) {
    if (lead.sizes[axis] == 1) continue;
    order[static_cast<std::size_t>(count++)] = axis;
  }
  if (wanted == Order::memory)
    std::stable_sort(order.begin(), order.begin() + count,
                     [&](int a, int b) { return lead.strides[a] > lead.strides[b]; });
  Axes<N> axes = no_axes<N>();
  for (int i = 0; i < count; ++i) {
    const int axis = order[static_cast<std::size_t>(i)];
    const std::int64_t size = lead.sizes[axis];
    std::array<std::int64_t, N> step{};
    bool merge = axes.rank > 0;
    for (std::size_t k = 0; k < N; ++k) {
      step[k] = operands[k] ? operands[k]->strides[axis] : 0;
      merge = merge && axes.strides[k][axes.rank - 1] == step[k] * size;
    }
    if (!merge) {
      axes.append(size, step);
      continue;
    }
    axes.sizes[axes.inner()] *= size;
    for (std::size_t k = 0; k < N; ++k) axes.strides[k][axes.inner()] = step[k];
  }
  finish(axes);
  return axes;
}

/// Elements of a piece, at most.
inline constexpr std::int64_t kPieceElements = std::int64_t{1} << 30;

/// Calls f(axes, offsets) for pieces of at most `limit` elements (a power of two) that make up the whole, in
/// the order of their elements.
template <std::size_t N, class F>
void for_each_piece(const Axes<N>& axes, F&& f, std::int64_t limit = kPieceElements,
                    const std::array<std::int64_t, N>& offsets = {}) {
  if (axes.numel() <= limit) return f(axes, offsets);
  int axis = 0;
  while (axes.sizes[axis] == 1) ++axis;
  // What follows has at least one element, so a power of two that divides `limit` fits and keeps alignment.
  const std::int64_t step = std::min(
      limit, static_cast<std::int64_t>(std::bit_floor(static_cast<std::uint64_t>(axes.sizes[axis] - 1))));
  for (std::int64_t begin = 0; begin < axes.sizes[axis]; begin += step) {
    Axes<N> piece = axes;
    piece.sizes[axis] = std::min(step, axes.sizes[axis] - begin);
    std::array<std::int64_t, N> at = offsets;
    for (std::size_t k = 0; k < N; ++k) at[k] += begin * axes.strides[k][axis];
    for_each_piece(piece, f, limit, at);
  }
}

}  // namespace reprise::kernels::cuda
