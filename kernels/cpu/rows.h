// Rows in the type of computation, piece by piece, and sums over them.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "convert.h"
#include "reprise/kernels/view.h"

namespace reprise::kernels::cpu {

/// Elements of a piece, at most: a few pieces fit the fastest cache.
inline constexpr std::int64_t kPiece = 1024;

/// Elements of cheap arithmetic, and of exponentials, that are enough work for a thread.
inline constexpr std::int64_t kGrainElements = 32768;
inline constexpr std::int64_t kGrainExponentials = 16384;

/// Rows (of any cost in elements) for each thread.
inline std::int64_t grain_of_rows(std::int64_t grain_elements, std::int64_t row_elements) {
  return std::max<std::int64_t>(1, grain_elements / std::max<std::int64_t>(1, row_elements));
}

template <class T>
inline constexpr bool kIsCompute = std::is_same_v<T, Compute<T>>;

/// Calls f(first, count) for the pieces of n elements.
template <class F>
void for_each_piece(std::int64_t n, F&& f) {
  for (std::int64_t first = 0; first < n; first += kPiece) f(first, std::min(kPiece, n - first));
}

/// n elements in the type of computation: those at `from`, or a copy of them in `buffer` (at most kPiece).
template <class T>
const Compute<T>* read_piece(const T* from, std::int64_t n, Compute<T>* buffer) {
  if constexpr (kIsCompute<T>) {
    return from;
  } else {
    load_row(from, buffer, n);
    return buffer;
  }
}

/// Stores n elements (at most kPiece) at `to` or adds them, rounded once.
template <class T>
void write_row(const Compute<T>* values, T* to, std::int64_t n, Write write) {
  using C = Compute<T>;
  if (write == Write::overwrite) {
    store_row(values, to, n);
  } else if constexpr (kIsCompute<T>) {
#pragma omp simd
    for (std::int64_t i = 0; i < n; ++i) to[i] += values[i];
  } else {
    alignas(64) C sum[kPiece];
    load_row(to, sum, n);
#pragma omp simd
    for (std::int64_t i = 0; i < n; ++i) sum[i] += values[i];
    store_row(sum, to, n);
  }
}

/// Has f(values) compute n elements (at most kPiece) and stores or adds them. f may compute in the memory at
/// `to` itself.
template <class T, class F>
void write_piece(T* to, std::int64_t n, Write write, F&& f) {
  using C = Compute<T>;
  if constexpr (kIsCompute<T>) {
    if (write == Write::overwrite) {
      f(to);
      return;
    }
  }
  alignas(64) C values[kPiece];
  f(static_cast<C*>(values));
  write_row(values, to, n, write);
}

/// A weight or bias over the elements of a row; `absent` everywhere where the view is null.
template <class T>
class Parameter {
  using C = Compute<T>;

 public:
  Parameter(const ConstView& view, C absent) : data_(view.as<T>()) {
    if (data_ == nullptr) std::fill_n(buffer_, kPiece, absent);
  }
  /// Valid until the next call.
  const C* piece(std::int64_t first, std::int64_t n) {
    return data_ == nullptr ? buffer_ : read_piece(data_ + first, n, buffer_);
  }

 private:
  const T* data_;
  alignas(64) C buffer_[kPiece];
};

/// Asks for `count` elements, `distance` beyond `at`, before they are read: hardware does not look far enough
/// ahead of loops that do much with each element. Any address will do.
template <class T>
void prefetch_beyond(const T* at, std::int64_t count, std::int64_t distance) {
  constexpr std::int64_t kCacheLine = 64 / static_cast<std::int64_t>(sizeof(T));
  for (std::int64_t i = 0; i < count; i += kCacheLine) __builtin_prefetch(at + distance + i);
}

/// Partial results of a reduction. A fixed number of them makes results independent of the instruction set's
/// width and of how the data are aligned, and keeps several additions under way.
template <class C>
inline constexpr std::size_t kLanes = 256 / sizeof(C);

/// Folds the upper half of 2 * kHalf lanes onto the lower one until one is left: f(lower, upper).
template <std::size_t kHalf, class C, class F>
C fold_lanes(C* lanes, F f) {
#pragma omp simd
  for (std::size_t lane = 0; lane < kHalf; ++lane) lanes[lane] = f(lanes[lane], lanes[lane + kHalf]);
  if constexpr (kHalf > 1) return fold_lanes<kHalf / 2>(lanes, f);
  return lanes[0];
}

template <class C>
C add_lanes(C* lanes) {
  return fold_lanes<kLanes<C> / 2>(lanes, [](C a, C b) { return a + b; });
}

/// Sum of f(i) over 0 <= i < n. f is a value, so that what it captures is known not to be overwritten by what
/// it stores.
template <class C, class F>
C lane_sum(std::int64_t n, F f) {
  constexpr auto lanes = static_cast<std::int64_t>(kLanes<C>);
  alignas(64) C sums[kLanes<C>] = {};
  std::int64_t i = 0;
  for (; i + lanes <= n; i += lanes) {
#pragma omp simd
    for (std::int64_t lane = 0; lane < lanes; ++lane) sums[lane] += f(i + lane);
  }
  const std::int64_t rest = n - i;
#pragma omp simd
  for (std::int64_t lane = 0; lane < rest; ++lane) sums[lane] += f(i + lane);
  return add_lanes(sums);
}

template <class C>
struct Pair {
  C first = 0, second = 0;
};

/// Two sums at once; f returns a Pair.
template <class C, class F>
Pair<C> lane_sums(std::int64_t n, F f) {
  constexpr auto lanes = static_cast<std::int64_t>(kLanes<C>);
  alignas(64) C first[kLanes<C>] = {}, second[kLanes<C>] = {};
  const auto add = [&](std::int64_t at, std::int64_t lane) {
    const Pair<C> addends = f(at);
    first[lane] += addends.first;
    second[lane] += addends.second;
  };
  std::int64_t i = 0;
  for (; i + lanes <= n; i += lanes) {
#pragma omp simd
    for (std::int64_t lane = 0; lane < lanes; ++lane) add(i + lane, lane);
  }
  const std::int64_t rest = n - i;
#pragma omp simd
  for (std::int64_t lane = 0; lane < rest; ++lane) add(i + lane, lane);
  return {add_lanes(first), add_lanes(second)};
}

/// Largest of n elements, -inf for none; NaN is passed over.
template <class C>
C lane_max(const C* x, std::int64_t n) {
  constexpr auto lanes = static_cast<std::int64_t>(kLanes<C>);
  alignas(64) C most[kLanes<C>];
  std::fill_n(most, lanes, -std::numeric_limits<C>::infinity());
  std::int64_t i = 0;
  for (; i + lanes <= n; i += lanes) {
#pragma omp simd
    for (std::int64_t lane = 0; lane < lanes; ++lane)
      most[lane] = x[i + lane] > most[lane] ? x[i + lane] : most[lane];
  }
  const std::int64_t rest = n - i;
#pragma omp simd
  for (std::int64_t lane = 0; lane < rest; ++lane)
    most[lane] = x[i + lane] > most[lane] ? x[i + lane] : most[lane];
  return fold_lanes<kLanes<C> / 2>(most, [](C a, C b) { return b > a ? b : a; });
}

}  // namespace reprise::kernels::cpu
