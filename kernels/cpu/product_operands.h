// How operands of matrix products become a Product: which of them a library can read where they lie, copies
// of the others in the workspace, batch axes that merge. For every backend.
#pragma once

#include <algorithm>
#include <array>
#include <tuple>
#include <utility>

#include "product.h"
#include "reprise/kernels/elementwise.h"
#include "reprise/kernels/matmul.h"
#include "workspace.h"

namespace reprise::kernels::cpu {

/// The strides of the last two axes, with a useful value where an axis of size 1 leaves them open.
inline std::pair<std::int64_t, std::int64_t> matrix_strides(const Layout& view) {
  const std::int64_t rows = view.sizes[view.rank - 2], columns = view.sizes[view.rank - 1];
  std::int64_t row = view.strides[view.rank - 2], column = view.strides[view.rank - 1];
  if (columns == 1 && (rows == 1 || row >= 1)) column = 1;
  if (rows == 1) row = column == 1 ? columns : 1;
  return {row, column};
}

inline bool has_dense_rows(const Layout& view) {
  const auto [row, column] = matrix_strides(view);
  return column == 1 && row >= view.sizes[view.rank - 1];
}

inline bool has_dense_columns(const Layout& view) {
  const auto [row, column] = matrix_strides(view);
  return row == 1 && column >= view.sizes[view.rank - 2];
}

/// Broadcast batch axes shrink to size 1: what is left are the distinct elements.
inline Layout without_broadcast(Layout layout) {
  for (int axis = 0; axis < layout.rank - 2; ++axis) {
    if (layout.strides[axis] == 0) layout.sizes[axis] = 1;
  }
  return layout;
}

/// A row-major view in the workspace with the sizes of `layout`; what is broadcast stays so.
inline View packed(const Layout& layout, DType dtype, Carver& carver) {
  View result;
  static_cast<Layout&>(result) = layout;
  result.dtype = dtype;
  const Layout distinct = without_broadcast(layout);
  std::int64_t stride = 1;
  for (int axis = layout.rank - 1; axis >= 0; --axis) {
    result.strides[axis] = distinct.sizes[axis] == layout.sizes[axis] ? stride : 0;
    stride *= distinct.sizes[axis];
  }
  result.data = carver.take(static_cast<std::size_t>(stride) * size_of(dtype));
  return result;
}

/// Batch axes become rows of one taller product where b is the same for all of them.
inline void batches_to_rows(Product& p) {
  while (p.batch_rank > 0) {
    const int last = p.batch_rank - 1;
    const auto continues = [&](const MatrixStrides& s, std::int64_t columns) {
      return s.column == 1 && (p.m == 1 ? s.batch[last] >= columns : s.batch[last] == s.row * p.m);
    };
    if (p.b.batch[last] != 0 || !continues(p.a, p.k) || !continues(p.c, p.n)) return;
    for (MatrixStrides* s : {&p.a, &p.c}) {
      if (p.m == 1) s->row = s->batch[last];
      s->batch[last] = 0;
    }
    p.m *= p.batch[last];
    p.batch[last] = 0;
    p.batch_rank = last;
  }
}

/// The product of these views; batch axes merge where the strides of all three allow it.
inline Product describe(const ConstView& a, const ConstView& b, const View& c) {
  const int matrix_axis = c.rank - 2;
  Product p;
  p.dtype = a.dtype;
  p.result_dtype = c.dtype;
  p.m = c.sizes[matrix_axis];
  p.n = c.sizes[matrix_axis + 1];
  p.k = a.sizes[matrix_axis + 1];
  const std::array<const Layout*, 3> views{&a, &b, &c};
  const std::array<MatrixStrides*, 3> strides{&p.a, &p.b, &p.c};
  for (std::size_t i = 0; i < 3; ++i)
    std::tie(strides[i]->row, strides[i]->column) = matrix_strides(*views[i]);

  for (int axis = 0; axis < matrix_axis; ++axis) {
    const std::int64_t size = c.sizes[axis];
    if (size == 1) continue;
    bool merge = p.batch_rank > 0;
    for (std::size_t i = 0; i < 3 && merge; ++i) {
      merge = strides[i]->batch[p.batch_rank - 1] == views[i]->strides[axis] * size;
    }
    if (!merge) p.batch[p.batch_rank++] = 1;
    const int last = p.batch_rank - 1;
    p.batch[last] *= size;
    for (std::size_t i = 0; i < 3; ++i) strides[i]->batch[last] = views[i]->strides[axis];
  }
  batches_to_rows(p);
  return p;
}

/// The same matrices with rows and columns exchanged.
template <class AnyView>
AnyView transposed(AnyView view) {
  std::swap(view.sizes[view.rank - 2], view.sizes[view.rank - 1]);
  std::swap(view.strides[view.rank - 2], view.strides[view.rank - 1]);
  return view;
}

/// True for a product that has no elements, or whose elements are sums of nothing.
inline bool has_no_terms(const ConstView& a, const View& c) {
  return c.numel() == 0 || a.sizes[a.rank - 1] == 0;
}

/// The bias as a matrix whose rows are all the same.
inline ConstView repeated(ConstView bias, const Layout& matrix) {
  const std::int64_t stride = bias.strides[0];
  static_cast<Layout&>(bias) = matrix;
  bias.strides[0] = 0;
  bias.strides[1] = stride;
  return bias;
}

/// The elementwise function of an activation other than none.
inline Unary function_of(Activation activation) {
  switch (activation) {
    case Activation::gelu_tanh:
      return Unary::gelu_tanh;
    case Activation::gelu_erf:
      return Unary::gelu_erf;
    case Activation::silu:
      return Unary::silu;
    default:
      return Unary::relu;
  }
}

}  // namespace reprise::kernels::cpu
