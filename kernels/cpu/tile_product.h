// Small dense products on tiles that lie in the first two caches, made of register blocks of the processor's
// own vectors.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

namespace reprise::kernels::cpu {

#if defined(__AVX512F__)
inline constexpr int kVectorBytes = 64;
#elif defined(__AVX__)
inline constexpr int kVectorBytes = 32;
#else
inline constexpr int kVectorBytes = 16;
#endif

/// Elements of one vector.
template <class C>
inline constexpr int kVectorLanes = kVectorBytes / static_cast<int>(sizeof(C));

using FloatVector = float __attribute__((vector_size(kVectorBytes)));
using DoubleVector = double __attribute__((vector_size(kVectorBytes)));
template <class C>
using Vector = std::conditional_t<std::is_same_v<C, float>, FloatVector, DoubleVector>;

template <class C>
Vector<C> load_vector(const C* from) {
  Vector<C> v;
  std::memcpy(&v, from, sizeof v);
  return v;
}

template <class C>
void store_vector(C* to, const Vector<C>& v) {
  std::memcpy(to, &v, sizeof v);
}

/// Stops the compiler from loading a value again at each of its uses, which costs more than the register.
template <class V>
inline void keep_in_register([[maybe_unused]] V& v) {
#if defined(__x86_64__)
  asm("" : "+v"(v));
#endif
}

/// The left factor of a product: element (m, k) is at data[m * row + k * column].
template <class C>
struct Factor {
  const C* data;
  std::int64_t row, column;

  Factor from(std::int64_t m, std::int64_t k) const { return {data + m * row + k * column, row, column}; }
};

namespace tile_detail {

/// c (kRows, kVectors vectors) (=, +=) a (kRows, depth) b (depth, kVectors vectors).
template <class C, unsigned kRows, unsigned kVectors>
[[gnu::noinline]] void register_block(Factor<C> a, const C* b, std::int64_t b_row, C* c, std::int64_t c_row,
                                      std::int64_t depth, bool add) {
  constexpr int kLanes = kVectorLanes<C>;
  Vector<C> sum[kRows][kVectors];
#pragma GCC unroll 16
  for (unsigned m = 0; m < kRows; ++m) {
#pragma GCC unroll 4
    for (unsigned v = 0; v < kVectors; ++v)
      sum[m][v] = add ? load_vector(c + m * c_row + v * kLanes) : Vector<C>{};
  }
  for (std::int64_t k = 0; k < depth; ++k) {
    Vector<C> right[kVectors];
#pragma GCC unroll 4
    for (unsigned v = 0; v < kVectors; ++v) {
      right[v] = load_vector(b + k * b_row + v * kLanes);
      keep_in_register(right[v]);
    }
#pragma GCC unroll 16
    for (unsigned m = 0; m < kRows; ++m) {
      const Vector<C> left = a.data[m * a.row + k * a.column] - Vector<C>{};  // x - 0 is x, x + 0 is not
#pragma GCC unroll 4
      for (unsigned v = 0; v < kVectors; ++v) sum[m][v] += left * right[v];
    }
  }
#pragma GCC unroll 16
  for (unsigned m = 0; m < kRows; ++m) {
#pragma GCC unroll 4
    for (unsigned v = 0; v < kVectors; ++v) store_vector(c + m * c_row + v * kLanes, sum[m][v]);
  }
}

/// All rows of one panel of kVectors vectors, kRows at a time and the rest in halves.
template <class C, unsigned kRows, unsigned kVectors>
inline void panel_product(Factor<C> a, const C* b, std::int64_t b_row, C* c, std::int64_t c_row,
                          std::int64_t rows, std::int64_t depth, bool add) {
  std::int64_t m = 0;
  for (; m + kRows <= rows; m += kRows) {
    register_block<C, kRows, kVectors>(a.from(m, 0), b, b_row, c + m * c_row, c_row, depth, add);
  }
  if constexpr (kRows > 1) {
    if (m < rows) {
      panel_product<C, kRows / 2, kVectors>(a.from(m, 0), b, b_row, c + m * c_row, c_row, rows - m, depth,
                                            add);
    }
  }
}

/// a0 b0 a1 b1 ... from the lower (kUpper = 0) or upper halves of a and b.
template <int kUpper, class V, int... kLane>
V interleave(const V& a, const V& b, std::integer_sequence<int, kLane...>) {
  constexpr int kLanes = sizeof...(kLane);
  return __builtin_shufflevector(a, b, ((kLane % 2) * kLanes + kLane / 2 + kUpper * kLanes / 2)...);
}

/// Transposes a square of vectors: interleaving the two halves of its rows log2(lanes) times does it.
template <class C>
inline void transpose_square(Vector<C>* rows) {
  constexpr unsigned kLanes = kVectorLanes<C>;
  constexpr auto kSequence = std::make_integer_sequence<int, kVectorLanes<C>>();
#pragma GCC unroll 4
  for (unsigned step = 1; step < kLanes; step *= 2) {
    Vector<C> mixed[kLanes];
#pragma GCC unroll 8
    for (unsigned r = 0; r < kLanes / 2; ++r) {
      mixed[2 * r] = interleave<0>(rows[r], rows[r + kLanes / 2], kSequence);
      mixed[2 * r + 1] = interleave<1>(rows[r], rows[r + kLanes / 2], kSequence);
    }
#pragma GCC unroll 16
    for (unsigned r = 0; r < kLanes; ++r) rows[r] = mixed[r];
  }
}

}  // namespace tile_detail

/// c (rows, columns) (=, +=) a (rows, depth) b (depth, columns); `columns` is a multiple of the vector's
/// lanes, the rows of b and c are b_row and c_row elements apart. Each element of c is summed in the order of
/// the depth.
template <class C>
void tile_product(Factor<C> a, const C* b, std::int64_t b_row, C* c, std::int64_t c_row, std::int64_t rows,
                  std::int64_t columns, std::int64_t depth, bool add) {
  using namespace tile_detail;
  constexpr int kLanes = kVectorLanes<C>;
  std::int64_t n = 0;
#if defined(__AVX512F__)
  constexpr int kRows = 8;  // with two vectors a row, half of the registers hold sums
#else
  constexpr int kRows = 4;
#endif
  for (; n + 2 * kLanes <= columns; n += 2 * kLanes) {
    panel_product<C, kRows, 2>(a, b + n, b_row, c + n, c_row, rows, depth, add);
  }
  for (; n < columns; n += kLanes) panel_product<C, 8, 1>(a, b + n, b_row, c + n, c_row, rows, depth, add);
}

/// y (columns, rows) = factor * x (rows, columns) transposed; both numbers are multiples of the vector's
/// lanes.
template <class C>
void tile_transpose(const C* x, std::int64_t x_row, std::int64_t rows, std::int64_t columns, C factor, C* y,
                    std::int64_t y_row) {
  constexpr unsigned kLanes = kVectorLanes<C>;
  for (std::int64_t i = 0; i < rows; i += kLanes) {
    for (std::int64_t j = 0; j < columns; j += kLanes) {
      Vector<C> square[kLanes];
      for (unsigned r = 0; r < kLanes; ++r) square[r] = load_vector(x + (i + r) * x_row + j) * factor;
      tile_detail::transpose_square<C>(square);
      for (unsigned r = 0; r < kLanes; ++r) store_vector(y + (j + r) * y_row + i, square[r]);
    }
  }
}

}  // namespace reprise::kernels::cpu
