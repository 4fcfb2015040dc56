// The sum of exponentials of a row, in one pass over its memory.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "math.h"
#include "rows.h"

namespace reprise::kernels::cpu {

/// The largest element of a row and the sum of exp(x - largest): NaN where the row has a NaN or +inf, 0 where
/// it has only -inf.
template <class C>
struct RowExponentials {
  C largest = -std::numeric_limits<C>::infinity();
  C sum = 0;

  C log_sum() const { return static_cast<C>(std::log(static_cast<double>(sum))); }
};

template <class T>
RowExponentials<Compute<T>> row_exponentials(const T* row, std::int64_t n) {
  using C = Compute<T>;
  RowExponentials<C> result;
  alignas(64) C buffer[kPiece];
  for_each_piece(n, [&](std::int64_t first, std::int64_t count) {
    if (first + count < n) prefetch_beyond(row + first, std::min(kPiece, n - first - count), count);
    const C* const x = read_piece(row + first, count, buffer);
    const C largest = lane_max(x, count);
    if (largest > result.largest) {
      result.sum *= math::exp(result.largest - largest);
      result.largest = largest;
    }
    // While all elements are -inf, a shift by 0 keeps the sum 0 and lets a NaN through.
    const C shift = result.largest == -std::numeric_limits<C>::infinity() ? C{0} : result.largest;
    result.sum += lane_sum<C>(count, [=](std::int64_t i) { return math::exp(x[i] - shift); });
  });
  return result;
}

}  // namespace reprise::kernels::cpu
