// Matrix products for the stand-in libraries: blocked, deterministic, in a choice of summation orders.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "simt/runtime/elements.h"

namespace simt::runtime {

/// A matrix in memory, with its strides in elements.
struct MatrixView {
  const void* data = nullptr;
  cudaDataType type = CUDA_R_32F;
  std::size_t rows = 0, columns = 0;
  std::ptrdiff_t row_stride = 0, column_stride = 0;

  MatrixView transposed() const { return {data, type, columns, rows, column_stride, row_stride}; }
};

/// In which order the terms of a sum are added. Two algorithms differ in this, and hence in their last bits.
struct SumOrder {
  enum Kind { kForward, kBackward, kEvenOdd, kRandom } kind = kForward;
  /// The terms are added in this many groups, and the groups then.
  std::size_t splits = 1;
};

/// a * b, by columns: entry (i, j) is result[i + j * a.rows]. T is float or double.
template <class T>
std::vector<T> multiply(const MatrixView& a, const MatrixView& b, SumOrder order, bool tf32 = false);

/// The sum of each row.
template <class T>
std::vector<T> sum_rows(const MatrixView& matrix);

}  // namespace simt::runtime
