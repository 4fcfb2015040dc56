// What one call of cuBLASLt computes of a product; batch axes that one call cannot take are a loop of calls.
#include "cuda/cublaslt_product.h"

#include <string>

#include "cuda/host.h"

namespace reprise::kernels::cuda::cublaslt {
namespace {

using cpu::MatrixStrides;
using cpu::Product;

void copy_input(const Queue& queue, const ProductInput& input) {
  if (!input.is_copy) return;
  ConstView given = input.given;
  View copied = input.copy;
  static_cast<Layout&>(given) = cpu::without_broadcast(given);
  static_cast<Layout&>(copied) = cpu::without_broadcast(copied);
  copy(queue, given, {copied});
}

Matrix matrix_of(const Product& p, DType dtype, const MatrixStrides& strides, const void* address) {
  Matrix matrix;
  matrix.columns_dense = strides.column != 1;
  matrix.ld = matrix.columns_dense ? strides.column : strides.row;
  std::int64_t offsets = 0;
  for (int axis = 0; axis < p.batch_rank; ++axis) offsets |= strides.batch[axis];
  const auto bytes = static_cast<std::int64_t>(size_of(dtype));
  matrix.alignment = alignment_of(address, offsets * bytes);
  if (const int axis = axis_of_calls(p); axis >= 0) matrix.batch_stride = strides.batch[axis];
  return matrix;
}

/// What one call computes of the product.
Problem problem_of(const PreparedProduct& prepared) {
  const Product& p = prepared.product;
  Problem problem{.device = current_device(prepared.operation),
                  .dtype = p.dtype,
                  .result_dtype = p.result_dtype,
                  .m = p.m,
                  .n = p.n,
                  .k = p.k,
                  .a = matrix_of(p, p.dtype, p.a, prepared.a.view.data),
                  .b = matrix_of(p, p.dtype, p.b, prepared.b.view.data),
                  .c = matrix_of(p, p.result_dtype, p.c, prepared.c.data)};
  if (const int axis = axis_of_calls(p); axis >= 0) problem.batch = p.batch[axis];
  return problem;
}

/// The plan of a product without epilogue: there must be one.
Plan& required_plan(const char* operation, const Problem& p) {
  Plan& plan = plan_of(operation, p);
  if (plan.exists()) return plan;
  throw DeviceError(std::string("[") + operation + "] cuBLASLt has no algorithm for (" + std::to_string(p.m) +
                    ", " + std::to_string(p.k) + ") x (" + std::to_string(p.k) + ", " + std::to_string(p.n) +
                    ") in batches of " + std::to_string(p.batch) + ", " + std::string(name_of(p.dtype)));
}

/// Calls `f(a, b, c)` with the addresses of each call: all indices of the batch axes but the one that calls
/// take whole.
template <class F>
void for_each_call(const PreparedProduct& prepared, F&& f) {
  const Product& p = prepared.product;
  PerAxis sizes = p.batch, index{};
  if (const int axis = axis_of_calls(p); axis >= 0) sizes[axis] = 1;
  std::int64_t calls = 1;
  for (int axis = 0; axis < p.batch_rank; ++axis) calls *= sizes[axis];
  const auto at = [&](auto* data, DType dtype, const MatrixStrides& strides) {
    using Byte = std::conditional_t<std::is_const_v<std::remove_pointer_t<decltype(data)>>, const std::byte,
                                    std::byte>;
    std::int64_t offset = 0;
    for (int axis = 0; axis < p.batch_rank; ++axis) offset += index[axis] * strides.batch[axis];
    return static_cast<Byte*>(data) + offset * static_cast<std::int64_t>(size_of(dtype));
  };
  for (std::int64_t call = 0; call < calls; ++call) {
    f(at(prepared.a.view.data, p.dtype, p.a), at(prepared.b.view.data, p.dtype, p.b),
      at(prepared.c.data, p.result_dtype, p.c));
    for (int axis = p.batch_rank - 1; axis >= 0 && ++index[axis] == sizes[axis]; --axis) index[axis] = 0;
  }
}

void run(const Queue& queue, const PreparedProduct& p, Plan& plan, double alpha, Write write, void* scratch,
         const EpilogueData& epilogue) {
  for_each_call(p, [&](const void* a, const void* b, void* c) {
    plan.run(p.operation, stream_of(queue), alpha, {a, b, c, epilogue}, write, scratch);
  });
}

}  // namespace

void copy_inputs(const Queue& queue, const PreparedProduct& p) {
  copy_input(queue, p.a);
  copy_input(queue, p.b);
}

void run_product(const Queue& queue, const PreparedProduct& p, double alpha, Write write, void* scratch) {
  run(queue, p, required_plan(p.operation, problem_of(p)), alpha, write, scratch, {});
}

bool run_epilogue(const Queue& queue, const PreparedProduct& p, const Epilogue& epilogue, Write write,
                  void* scratch) {
  Problem problem = problem_of(p);
  problem.epilogue = epilogue.kind;
  problem.aux_ld = epilogue.aux_ld;
  Plan& plan = plan_of(p.operation, problem, epilogue.data);
  if (plan.exists()) run(queue, p, plan, 1, write, scratch, epilogue.data);
  return plan.exists();
}

std::optional<std::int64_t> aux_ld_of(const ConstView& matrix) {
  const std::int64_t ld = cpu::matrix_strides(matrix).first;
  if (!cpu::has_dense_rows(matrix) || ld % 8 != 0 || !aligned16(matrix.data)) return std::nullopt;
  return ld;
}

}  // namespace reprise::kernels::cuda::cublaslt
