// How operands of matrix products reach cuBLASLt: where they lie, or as copies in the workspace, with the
// library's scratch behind them. Only strides decide: how memory is aligned does not change the size.
#pragma once

#include "cpu/product_operands.h"
#include "cuda/workspace/library.h"

namespace reprise::kernels::cuda {

/// An operand as cuBLASLt reads it: the caller's memory, or a copy to be made in the workspace.
struct ProductInput {
  ConstView given, view;
  View copy{};  // no memory where it is the caller's
  bool is_copy = false;
};

/// The operands of c = a b, and where they are when it runs.
struct PreparedProduct {
  const char* operation = nullptr;
  ProductInput a, b;
  View given_c, c;
  bool c_in_workspace = false;
  cpu::Product product;
};

/// The batch axis that one call takes whole: the longest of those along which the matrices of c do not lie
/// between each other, which cuBLASLt does not promise to take; -1 when there is none.
inline int axis_of_calls(const cpu::Product& p) {
  int best = -1;
  for (int axis = 0; axis < p.batch_rank; ++axis) {
    const bool apart = p.c.batch[axis] >= (p.m - 1) * p.c.row + p.n;
    if (apart && (best < 0 || p.batch[axis] > p.batch[best])) best = axis;
  }
  return best;
}

inline ProductInput prepare_input(const ConstView& given, cpu::Carver& carver) {
  if (cpu::has_dense_rows(given) || cpu::has_dense_columns(given)) return {given, given};
  const View copy = cpu::packed(given, given.dtype, carver);
  return {given, copy, copy, true};
}

inline PreparedProduct prepare_product(const char* operation, const ConstView& a, const ConstView& b,
                                       const View& c, cpu::Carver& carver) {
  if (!is_floating(c.dtype)) refuse(operation, c.dtype);
  PreparedProduct p;
  p.operation = operation;
  p.a = prepare_input(a, carver);
  p.b = prepare_input(b, carver);
  p.given_c = c;
  p.c_in_workspace = !cpu::has_dense_rows(c);
  p.c = p.c_in_workspace ? cpu::packed(c, c.dtype, carver) : c;
  p.product = cpu::describe(p.a.view, p.b.view, p.c);
  return p;
}

/// Everything that a product needs of the workspace; without memory it is only counted.
struct ProductSpace {
  PreparedProduct prepared;
  View bias{};              // a linear layer's bias, where cuBLASLt wants it
  void* scratch = nullptr;  // cuBLASLt's
  std::size_t bytes = 0;

  void take_scratch(cpu::Carver& carver) {
    const cpu::Product& p = prepared.product;
    const int axis = axis_of_calls(p);
    const std::int64_t results = p.m * p.n * (axis < 0 ? 1 : p.batch[axis]);
    scratch = take_library_scratch(carver, product_library_bytes(results, p.k));
    bytes = carver.bytes();
  }
};

/// c = a b, computed as c^T = b^T a^T where that spares a copy of c. No size is 0.
inline ProductSpace matmul_space(ConstView a, ConstView b, View c, const Workspace& workspace = {}) {
  if (!cpu::has_dense_rows(c) && cpu::has_dense_columns(c)) {
    std::swap(a, b);
    a = cpu::transposed(a);
    b = cpu::transposed(b);
    c = cpu::transposed(c);
  }
  cpu::Carver carver(workspace);
  ProductSpace space{.prepared = prepare_product("matmul", a, b, c, carver)};
  space.take_scratch(carver);
  return space;
}

/// A dense vector of the workspace, aligned to 16 bytes.
inline View vector_of(std::int64_t size, DType dtype, cpu::Carver& carver) {
  View vector;
  vector.rank = 1;
  vector.sizes[0] = size;
  vector.strides[0] = 1;
  vector.dtype = dtype;
  vector.data = carver.take(static_cast<std::size_t>(size) * size_of(dtype));
  return vector;
}

/// The product of a linear layer, and its bias. No size is 0.
inline ProductSpace linear_space(const ConstView& x, const ConstView& w, const View& result,
                                 const Workspace& workspace = {}) {
  cpu::Carver carver(workspace);
  ProductSpace space{.prepared = prepare_product("linear_forward", x, w, result, carver)};
  space.bias = vector_of(result.sizes[1], result.dtype, carver);
  space.take_scratch(carver);
  return space;
}

}  // namespace reprise::kernels::cuda
