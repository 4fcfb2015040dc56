// Matrix products through cuBLASLt. Operands that it cannot read where they lie are copied into the
// workspace; batch axes that one call cannot take are a loop of calls; activations are part of the product
// where cuBLASLt has them.
#include <string>

#include "cuda/cublaslt_plan.h"
#include "cuda/host.h"
#include "cuda/workspace/products.h"

namespace reprise::kernels::cuda {
namespace {

using cpu::MatrixStrides;
using cpu::Product;
using cublaslt::EpilogueData;
using cublaslt::Plan;
using cublaslt::Problem;

void copy_input(const Queue& queue, const ProductInput& input) {
  if (!input.is_copy) return;
  ConstView given = input.given;
  View copied = input.copy;
  static_cast<Layout&>(given) = cpu::without_broadcast(given);
  static_cast<Layout&>(copied) = cpu::without_broadcast(copied);
  copy(queue, given, {copied});
}

void copy_inputs(const Queue& queue, const PreparedProduct& p) {
  copy_input(queue, p.a);
  copy_input(queue, p.b);
}

cublaslt::Matrix matrix_of(const Product& p, const MatrixStrides& strides, const void* address) {
  cublaslt::Matrix matrix;
  matrix.columns_dense = strides.column != 1;
  matrix.ld = matrix.columns_dense ? strides.column : strides.row;
  std::int64_t offsets = 0;
  for (int axis = 0; axis < p.batch_rank; ++axis) offsets |= strides.batch[axis];
  const auto bytes = static_cast<std::int64_t>(size_of(p.dtype));
  matrix.alignment = cublaslt::alignment_of(address, offsets * bytes);
  if (const int axis = axis_of_calls(p); axis >= 0) matrix.batch_stride = strides.batch[axis];
  return matrix;
}

/// What one call computes of the product.
Problem problem_of(const PreparedProduct& prepared) {
  const Product& p = prepared.product;
  Problem problem{.device = current_device(prepared.operation),
                  .dtype = p.dtype,
                  .m = p.m,
                  .n = p.n,
                  .k = p.k,
                  .a = matrix_of(p, p.a, prepared.a.view.data),
                  .b = matrix_of(p, p.b, prepared.b.view.data),
                  .c = matrix_of(p, p.c, prepared.c.data)};
  if (const int axis = axis_of_calls(p); axis >= 0) problem.batch = p.batch[axis];
  return problem;
}

/// The plan of a product without epilogue: there must be one.
Plan& required_plan(const char* operation, const Problem& p) {
  Plan& plan = cublaslt::plan_of(operation, p);
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
  const auto at = [&](auto* data, const MatrixStrides& strides) {
    using Byte = std::conditional_t<std::is_const_v<std::remove_pointer_t<decltype(data)>>, const std::byte,
                                    std::byte>;
    std::int64_t offset = 0;
    for (int axis = 0; axis < p.batch_rank; ++axis) offset += index[axis] * strides.batch[axis];
    return static_cast<Byte*>(data) + offset * static_cast<std::int64_t>(size_of(p.dtype));
  };
  for (std::int64_t call = 0; call < calls; ++call) {
    f(at(prepared.a.view.data, p.a), at(prepared.b.view.data, p.b), at(prepared.c.data, p.c));
    for (int axis = p.batch_rank - 1; axis >= 0 && ++index[axis] == sizes[axis]; --axis) index[axis] = 0;
  }
}

void run(const Queue& queue, const PreparedProduct& p, Plan& plan, double alpha, Write write, void* scratch,
         const EpilogueData& epilogue = {}) {
  for_each_call(p, [&](const void* a, const void* b, void* c) {
    plan.run(p.operation, stream_of(queue), alpha, {a, b, c, epilogue}, write, scratch);
  });
}

/// The epilogue that also applies the activation; the default one where cuBLASLt has none.
cublasLtEpilogue_t fused_epilogue(Activation activation, bool bias, bool keeps_pre) {
  if (activation == Activation::relu && !keeps_pre)
    return bias ? CUBLASLT_EPILOGUE_RELU_BIAS : CUBLASLT_EPILOGUE_RELU;
  if (activation != Activation::gelu_tanh) return CUBLASLT_EPILOGUE_DEFAULT;
  if (keeps_pre) return bias ? CUBLASLT_EPILOGUE_GELU_AUX_BIAS : CUBLASLT_EPILOGUE_GELU_AUX;
  return bias ? CUBLASLT_EPILOGUE_GELU_BIAS : CUBLASLT_EPILOGUE_GELU;
}

/// One linear layer whose operands are in place.
struct Linear {
  const Queue& queue;
  ProductSpace space;
  ConstView bias;  // dense and aligned, or null

  /// Computes everything in one call; false when cuBLASLt has no way.
  bool run_fused(Activation activation, const View& pre, const View& y) {
    const bool keeps_pre = static_cast<bool>(pre);
    const cublasLtEpilogue_t epilogue = fused_epilogue(activation, static_cast<bool>(bias), keeps_pre);
    if (epilogue == CUBLASLT_EPILOGUE_DEFAULT || !cpu::has_dense_rows(y)) return false;
    std::int64_t aux_ld = 0;
    if (keeps_pre) {
      aux_ld = cpu::matrix_strides(pre).first;
      if (!cpu::has_dense_rows(pre) || aux_ld % 8 != 0 || !aligned16(pre.data)) return false;
    }
    PreparedProduct with_y = space.prepared;
    with_y.c = y;
    with_y.product = cpu::describe(with_y.a.view, with_y.b.view, y);
    return run_epilogue(with_y, epilogue, {bias.data, pre.data}, aux_ld);
  }

  /// c = x w + bias.
  void run_plain() {
    const PreparedProduct& p = space.prepared;
    Write write = Write::overwrite;
    if (bias) {
      if (run_epilogue(p, CUBLASLT_EPILOGUE_BIAS, {bias.data, nullptr}, 0)) return;
      copy(queue, cpu::repeated(bias, p.c), {p.c});
      write = Write::accumulate;
    }
    run(queue, p, required_plan(p.operation, problem_of(p)), 1, write, space.scratch);
  }

 private:
  bool run_epilogue(const PreparedProduct& p, cublasLtEpilogue_t epilogue, const EpilogueData& data,
                    std::int64_t aux_ld) {
    Problem problem = problem_of(p);
    problem.epilogue = epilogue;
    problem.aux_ld = aux_ld;
    Plan& plan = cublaslt::plan_of(p.operation, problem, data);
    if (plan.exists()) run(queue, p, plan, 1, Write::overwrite, space.scratch, data);
    return plan.exists();
  }
};

/// Everything for results that are sums of at least one term; true when the activation has been applied.
bool run_linear(const Queue& queue, Activation activation, const ConstView& x, const ConstView& w,
                const ConstView& bias, const View& pre, const View& y, const Workspace& workspace) {
  const View& result = pre ? pre : y;
  Linear linear{queue, linear_space(x, w, result, workspace), bias};
  const PreparedProduct& p = linear.space.prepared;
  require_workspace(p.operation, workspace, linear.space.bytes);
  copy_inputs(queue, p);
  if (bias && (!bias.is_contiguous() || !aligned16(bias.data))) {
    copy(queue, bias, {linear.space.bias});
    linear.bias = linear.space.bias;
  }
  if (y && linear.run_fused(activation, pre, y)) return true;
  linear.run_plain();
  if (p.c_in_workspace) copy(queue, p.c, {p.given_c});
  return false;
}

}  // namespace

void matmul(const Queue& queue, double alpha, const ConstView& a, const ConstView& b, const Target& target,
            const Workspace& workspace) {
  if (cpu::has_no_terms(a, target.view)) {
    if (target.write == Write::overwrite) fill(queue, 0, target.view);
    return;
  }
  const ProductSpace space = matmul_space(a, b, target.view, workspace);
  const PreparedProduct& p = space.prepared;
  require_workspace(p.operation, workspace, space.bytes);
  copy_inputs(queue, p);
  if (p.c_in_workspace && target.write == Write::accumulate) copy(queue, p.given_c, {p.c});
  run(queue, p, required_plan(p.operation, problem_of(p)), alpha, target.write, space.scratch);
  if (p.c_in_workspace) copy(queue, p.c, {p.given_c});
}

void linear_forward(const Queue& queue, Activation activation, const ConstView& x, const ConstView& w,
                    const ConstView& bias, const View& pre, const View& y, const Workspace& workspace) {
  const View& result = pre ? pre : y;
  if (!result) return;
  if (!cpu::has_no_terms(x, result)) {
    if (run_linear(queue, activation, x, w, bias, pre, y, workspace)) return;
  } else if (bias) {
    copy(queue, cpu::repeated(bias, result), {result});
  } else {
    fill(queue, 0, result);
  }
  if (activation != Activation::none && y) unary_forward(queue, cpu::function_of(activation), 0, result, y);
}

}  // namespace reprise::kernels::cuda
