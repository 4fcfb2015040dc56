// Matrix products as the libraries see them: every operand dense along one axis, element types that they can
// multiply.
#pragma once

#include <cstddef>
#include <optional>

#include "reprise/kernels/view.h"

namespace reprise::kernels::cpu {

/// Where the elements of a stack of matrices lie, in elements. Either `column` is 1 and `row` at least the
/// number of columns, or `row` is 1 and `column` at least the number of rows. A batch stride of 0 broadcasts.
struct MatrixStrides {
  PerAxis batch{};
  std::int64_t row = 0, column = 1;
  bool operator==(const MatrixStrides&) const = default;
};

/// c (batch..., m, n) (=, +=) alpha a (batch..., m, k) b (batch..., k, n) + bias (n): everything but the
/// addresses. No size is 0, and c's columns are dense.
struct Product {
  DType dtype = DType::float32;         // of a, b and the bias
  DType result_dtype = DType::float32;  // of c: dtype, or float32
  int batch_rank = 0;
  PerAxis batch{};
  std::int64_t m = 0, n = 0, k = 0;
  MatrixStrides a, b, c;
  double alpha = 1;
  bool bias = false;
  bool accumulate = false;
  bool operator==(const Product&) const = default;

  std::int64_t batches() const {
    std::int64_t count = 1;
    for (int axis = 0; axis < batch_rank; ++axis) count *= batch[axis];
    return count;
  }
  double multiplications() const {
    return static_cast<double>(batches()) * static_cast<double>(m) * static_cast<double>(n) *
           static_cast<double>(k);
  }
};

struct ProductData {
  const void* a = nullptr;
  const void* b = nullptr;
  const void* bias = nullptr;
  void* c = nullptr;
};

#if defined(REPRISE_ONEDNN)
namespace onednn {

/// Scratch for `multiply`, or nothing when oneDNN has no fast way for this product. float32 and bfloat16.
std::optional<std::size_t> scratch_bytes(const Product&);

void multiply(const Product&, const ProductData&, void* scratch);

}  // namespace onednn
#endif

namespace eigen {

/// float32 and float64. Divides the work among the threads; needs no scratch.
void multiply(const Product&, const ProductData&);

/// One operand of `multiply_block`.
template <class T>
struct Block {
  const T* data;
  std::int64_t row, column;  // as in MatrixStrides
};

/// c (m, n) (=, +=) alpha a (m, k) b (k, n) on the calling thread; c's rows are `c_row` elements apart.
template <class T>
void multiply_block(std::int64_t m, std::int64_t n, std::int64_t k, T alpha, Block<T> a, Block<T> b, T* c,
                    std::int64_t c_row, bool accumulate);

extern template void multiply_block(std::int64_t, std::int64_t, std::int64_t, float, Block<float>,
                                    Block<float>, float*, std::int64_t, bool);
extern template void multiply_block(std::int64_t, std::int64_t, std::int64_t, double, Block<double>,
                                    Block<double>, double*, std::int64_t, bool);

}  // namespace eigen

}  // namespace reprise::kernels::cpu
