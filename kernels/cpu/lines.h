// Several rows at once, column by column, so that what belongs to a column can stay in registers: weights and
// the sums over rows.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "rows.h"

namespace reprise::kernels::cpu {

/// Elements of the lines that are handled at once, at most: they fit the fastest cache.
inline constexpr std::int64_t kSlab = 2048;

/// Lines of numbers: line l begins at data + l * stride.
template <class C>
struct Lines {
  C* data;
  std::int64_t stride;
  std::int64_t ahead = 0;  // distance in memory of lines that will be wanted later

  /// A group of columns of a line; with `prefetch`, the same of a later line is asked for.
  C* group(std::int64_t line, std::int64_t first, bool prefetch = false) const {
    C* const at = data + line * stride + first;
    if (prefetch) prefetch_beyond(at, static_cast<std::int64_t>(kLanes<C>), ahead);
    return at;
  }
};

/// How far ahead in memory lines of this width will be wanted.
inline std::int64_t distance_ahead(std::int64_t width, std::int64_t stride) {
  constexpr std::int64_t kElementsAhead = 1024;
  return std::max<std::int64_t>(1, kElementsAhead / width) * stride;
}

/// Lines in the type of computation: those at `from`, or copies in `buffer` (kSlab elements).
template <class T>
Lines<const Compute<T>> read_lines(const T* from, std::int64_t stride, std::int64_t lines, std::int64_t width,
                                   Compute<T>* buffer) {
  if constexpr (kIsCompute<T>) {
    return {from, stride, distance_ahead(width, stride)};
  } else {
    for (std::int64_t line = 0; line < lines; ++line)
      load_row(from + line * stride, buffer + line * width, width);
    return {buffer, width};
  }
}

/// Has f(Lines) compute lines and stores or adds them at `to`, rounded once. f may compute in the memory at
/// `to` itself.
template <class T, class F>
void write_lines(T* to, std::int64_t stride, std::int64_t lines, std::int64_t width, Write write, F&& f) {
  using C = Compute<T>;
  if constexpr (kIsCompute<T>) {
    if (write == Write::overwrite) {
      f(Lines<C>{to, stride, distance_ahead(width, stride)});
      return;
    }
  }
  alignas(64) C values[kSlab];
  f(Lines<C>{values, width});
  for (std::int64_t line = 0; line < lines; ++line)
    write_row(values + line * width, to + line * stride, width, write);
}

/// Calls f(first, count) for columns in groups of kLanes; count is a constant for all groups but the last.
template <class C, class F>
void for_each_column_group(std::int64_t width, F&& f) {
  constexpr auto lanes = static_cast<std::int64_t>(kLanes<C>);
  std::int64_t first = 0;
  for (; first + lanes <= width; first += lanes) f(first, std::integral_constant<std::int64_t, lanes>());
  if (first < width) f(first, width - first);
}

/// A number for each column of a group; a copy, so that it is known not to change while other memory is
/// written.
template <class C>
struct ColumnGroup {
  C values[kLanes<C>];

  static ColumnGroup load(const C* from, std::int64_t count) {
    ColumnGroup group;
    std::copy_n(from, count, group.values);
    return group;
  }
  void store(C* to, std::int64_t count) const { std::copy_n(values, count, to); }
  C operator[](std::int64_t i) const { return values[i]; }
  C& operator[](std::int64_t i) { return values[i]; }
};

}  // namespace reprise::kernels::cpu
