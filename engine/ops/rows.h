// Tensors as matrices, and their products.
#pragma once

#include "reprise/kernels/matmul.h"
#include "reprise/operation.h"

namespace reprise::ops {

/// A contiguous view as rows (M, V): all axes but the last become one; a scalar is one row of one.
template <class V>
V as_rows(V view) {
  const std::int64_t columns = view.rank == 0 ? 1 : view.sizes[view.rank - 1];
  std::int64_t rows = 1;
  for (int axis = 0; axis < view.rank - 1; ++axis) rows *= view.sizes[axis];
  view.rank = 2;
  view.sizes[0] = rows;
  view.sizes[1] = columns;
  view.strides[0] = columns;
  view.strides[1] = 1;
  return view;
}

/// The same, but no rows where they would be empty.
template <class V>
V filled_rows(V view) {
  view = as_rows(view);
  if (view.sizes[1] == 0) view.sizes[0] = 0;
  return view;
}

inline kernels::Target filled_rows(const kernels::Target& target) {
  return target ? kernels::Target{filled_rows(target.view), target.write} : target;
}

/// Rows [first, first + count) of a matrix or of a vector.
template <class V>
V rows_of(V view, std::int64_t first, std::int64_t count) {
  view.sizes[0] = count;
  if (view.data != nullptr) {
    auto* const bytes =
        static_cast<std::conditional_t<std::is_const_v<std::remove_pointer_t<decltype(view.data)>>,
                                       const std::byte*, std::byte*>>(view.data);
    view.data = bytes + first * view.strides[0] * static_cast<std::int64_t>(size_of(view.dtype));
  }
  return view;
}

/// The last two axes exchanged.
template <class V>
V transposed(V view) {
  std::swap(view.sizes[view.rank - 1], view.sizes[view.rank - 2]);
  std::swap(view.strides[view.rank - 1], view.strides[view.rank - 2]);
  return view;
}

/// c (=, +=) a b.
inline void product(const Exec& exec, const kernels::ConstView& a, const kernels::ConstView& b,
                    const kernels::Target& c) {
  const std::size_t bytes = kernels::matmul_workspace_bytes(exec.queue().device, a, b, c.view);
  kernels::matmul(exec.queue(), 1.0, a, b, c, exec.scratch(bytes));
}

}  // namespace reprise::ops
