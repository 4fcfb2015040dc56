// Matrix products: both sides are packed into panels in the order of the sum, and multiplied tile by tile.
#include "simt/runtime/products.h"

#include <algorithm>
#include <cstring>
#include <numeric>

namespace simt::runtime {
namespace {

constexpr std::size_t kTileRows = 16, kTileColumns = 4;

std::uint64_t next_random() {
  static std::uint64_t state =
      0x853c49e6748fea9bu;  // differs from call to call, as the order of atomics does
  state = state * 6364136223846793005u + 1442695040888963407u;
  return state >> 33;
}

std::vector<std::size_t> terms_in_order(std::size_t count, SumOrder::Kind kind) {
  std::vector<std::size_t> terms(count);
  std::iota(terms.begin(), terms.end(), std::size_t{0});
  if (kind == SumOrder::kBackward) std::reverse(terms.begin(), terms.end());
  if (kind == SumOrder::kEvenOdd) {
    std::stable_partition(terms.begin(), terms.end(), [](std::size_t term) { return term % 2 == 0; });
  }
  if (kind == SumOrder::kRandom) {
    for (std::size_t i = count; i > 1; --i) std::swap(terms[i - 1], terms[next_random() % i]);
  }
  return terms;
}

// Panels of kWidth rows of the matrix, each by terms: element (row, term) is panel[term * kWidth + row].
// Zeros fill up.
template <class T, std::size_t kWidth>
std::vector<T> pack(const MatrixView& matrix, const std::vector<std::size_t>& terms, bool tf32) {
  const std::size_t panels = (matrix.rows + kWidth - 1) / kWidth;
  std::vector<T> packed(panels * terms.size() * kWidth);
  with_element(matrix.type, [&](auto element) {
    const auto* data = static_cast<const decltype(element)*>(matrix.data);
    T* to = packed.data();
    for (std::size_t panel = 0; panel < panels; ++panel) {
      const std::size_t first = panel * kWidth, rows = std::min(kWidth, matrix.rows - first);
      for (const std::size_t term : terms) {
        const auto* from = data + static_cast<std::ptrdiff_t>(first) * matrix.row_stride +
                           static_cast<std::ptrdiff_t>(term) * matrix.column_stride;
        for (std::size_t row = 0; row < rows; ++row) {
          to[row] = to_number<T>(from[static_cast<std::ptrdiff_t>(row) * matrix.row_stride]);
        }
        to += kWidth;
      }
    }
  });
  if constexpr (std::is_same_v<T, float>) {
    if (tf32) std::transform(packed.begin(), packed.end(), packed.begin(), to_tf32);
  }
  return packed;
}

// A vector type keeps the tile in registers, which the loops alone do not.
template <class T>
void multiply_tile(std::size_t terms, const T* a, const T* b, T* sums) {
  using Rows [[gnu::vector_size(kTileRows * sizeof(T))]] = T;
  Rows tile[kTileColumns] = {};
  for (std::size_t term = 0; term < terms; ++term) {
    Rows rows;
    std::memcpy(&rows, a, sizeof rows);
    for (std::size_t j = 0; j < kTileColumns; ++j) tile[j] += rows * b[j];
    a += kTileRows;
    b += kTileColumns;
  }
  std::memcpy(sums, tile, sizeof tile);
}

}  // namespace

template <class T>
std::vector<T> multiply(const MatrixView& a, const MatrixView& b, SumOrder order, bool tf32) {
  const std::size_t rows = a.rows, columns = b.columns, terms = a.columns;
  const std::vector<std::size_t> sequence = terms_in_order(terms, order.kind);
  const std::vector<T> left = pack<T, kTileRows>(a, sequence, tf32);
  const std::vector<T> right = pack<T, kTileColumns>(b.transposed(), sequence, tf32);
  std::vector<T> result(rows * columns);
  const std::size_t splits = std::clamp<std::size_t>(order.splits, 1, std::max<std::size_t>(terms, 1));
  T sums[kTileRows * kTileColumns];
  for (std::size_t column = 0; column < columns; column += kTileColumns) {
    for (std::size_t row = 0; row < rows; row += kTileRows) {
      const T* a_panel = left.data() + row * terms;
      const T* b_panel = right.data() + column * terms;
      const std::size_t tile_rows = std::min(kTileRows, rows - row);
      const std::size_t tile_columns = std::min(kTileColumns, columns - column);
      for (std::size_t split = 0; split < splits; ++split) {
        const std::size_t begin = terms * split / splits, end = terms * (split + 1) / splits;
        multiply_tile(end - begin, a_panel + begin * kTileRows, b_panel + begin * kTileColumns, sums);
        for (std::size_t j = 0; j < tile_columns; ++j) {
          T* to = result.data() + row + (column + j) * rows;
          for (std::size_t i = 0; i < tile_rows; ++i) to[i] += sums[j * kTileRows + i];
        }
      }
    }
  }
  return result;
}

template <class T>
std::vector<T> sum_rows(const MatrixView& matrix) {
  std::vector<T> sums(matrix.rows);
  with_element(matrix.type, [&](auto element) {
    const auto* data = static_cast<const decltype(element)*>(matrix.data);
    for (std::size_t column = 0; column < matrix.columns; ++column) {
      for (std::size_t row = 0; row < matrix.rows; ++row) {
        sums[row] += to_number<T>(data[static_cast<std::ptrdiff_t>(row) * matrix.row_stride +
                                       static_cast<std::ptrdiff_t>(column) * matrix.column_stride]);
      }
    }
  });
  return sums;
}

template std::vector<float> multiply<float>(const MatrixView&, const MatrixView&, SumOrder, bool);
template std::vector<double> multiply<double>(const MatrixView&, const MatrixView&, SumOrder, bool);
template std::vector<float> sum_rows<float>(const MatrixView&);
template std::vector<double> sum_rows<double>(const MatrixView&);

}  // namespace simt::runtime
