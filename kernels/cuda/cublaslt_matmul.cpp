// Matrix products through cuBLASLt. Operands that it cannot read where they lie are copied into the
// workspace; batch axes that one call cannot take are a loop of calls; activations are part of the product
// where cuBLASLt has them.
#include <algorithm>
#include <string>

#include "cpu/product_operands.h"
#include "cuda/cublaslt_plan.h"
#include "cuda/host.h"
#include "cuda/library_scratch.h"
#include "reprise/kernels/elementwise.h"
#include "reprise/kernels/matmul.h"

namespace reprise::kernels::cuda {
namespace {

using cpu::MatrixStrides;
using cpu::Product;
using cublaslt::EpilogueData;
using cublaslt::Plan;
using cublaslt::Problem;

/// An operand as cuBLASLt reads it: the caller's memory, or a copy to be made in the workspace.
struct Input {
  ConstView view;
  View copy{};
  bool is_copy = false;
};

/// The operands of a product and where they are when it runs.
struct Prepared {
  const char* operation = nullptr;
  Input a, b;
  View c;
  bool c_in_workspace = false;
  Product product;
};

Input prepare_input(const ConstView& given, cpu::Carver& carver) {
  if (cpu::has_dense_rows(given) || cpu::has_dense_columns(given)) return {given, {}, false};
  const View copy = cpu::packed(given, given.dtype, carver);
  return {copy, copy, true};
}

Prepared prepare(const char* operation, const ConstView& a, const ConstView& b, const View& c,
                 cpu::Carver& carver) {
  if (!is_floating(c.dtype)) refuse(operation, c.dtype);
  Prepared p;
  p.operation = operation;
  p.a = prepare_input(a, carver);
  p.b = prepare_input(b, carver);
  p.c_in_workspace = !cpu::has_dense_rows(c);
  p.c = p.c_in_workspace ? cpu::packed(c, c.dtype, carver) : c;
  p.product = cpu::describe(p.a.view, p.b.view, p.c);
  return p;
}

void copy_inputs(const Queue& queue, const Prepared& p, const ConstView& a, const ConstView& b) {
  const auto copy_distinct = [&](const Input& input, ConstView given) {
    if (!input.is_copy) return;
    View copied = input.copy;
    static_cast<Layout&>(given) = cpu::without_broadcast(given);
    static_cast<Layout&>(copied) = cpu::without_broadcast(copied);
    copy(queue, given, {copied});
  };
  copy_distinct(p.a, a);
  copy_distinct(p.b, b);
}

/// The batch axis that one call takes whole: the longest of those along which the matrices of c do not lie
/// between each other, which cuBLASLt does not promise to take; -1 when there is none.
int axis_of_calls(const Product& p) {
  int best = -1;
  for (int axis = 0; axis < p.batch_rank; ++axis) {
    const bool apart = p.c.batch[axis] >= (p.m - 1) * p.c.row + p.n;
    if (apart && (best < 0 || p.batch[axis] > p.batch[best])) best = axis;
  }
  return best;
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
Problem problem_of(const Prepared& prepared) {
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
void for_each_call(const Prepared& prepared, F&& f) {
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

void run(const Queue& queue, const Prepared& p, Plan& plan, double alpha, Write write, void* scratch,
         const EpilogueData& epilogue = {}) {
  for_each_call(p, [&](const void* a, const void* b, void* c) {
    plan.run(p.operation, stream_of(queue), alpha, {a, b, c, epilogue}, write, scratch);
  });
}

/// Turns c = a b into c^T = b^T a^T where that spares a copy of c.
void transpose_if_better(ConstView& a, ConstView& b, View& c) {
  if (cpu::has_dense_rows(c) || !cpu::has_dense_columns(c)) return;
  std::swap(a, b);
  a = cpu::transposed(a);
  b = cpu::transposed(b);
  c = cpu::transposed(c);
}

bool is_aligned(const void* address) { return cublaslt::alignment_of(address) == 16; }

/// How far the workspace of a linear layer goes: what its product asks for where the result lies as the
/// engine lays it. Which epilogue follows, and where, must not matter, as the caller does not say so when it
/// asks.
std::size_t linear_scratch_bytes(const Prepared& prepared) {
  Problem problem = problem_of(prepared);
  problem.c.alignment = 16;
  problem.c.ld = problem.n;
  return required_plan(prepared.operation, problem).workspace_bytes();
}

View bias_in_workspace(const Layout& y, DType dtype, cpu::Carver& carver) {
  View copy;
  copy.rank = 1;
  copy.sizes[0] = y.sizes[1];
  copy.strides[0] = 1;
  copy.dtype = dtype;
  copy.data = carver.take(static_cast<std::size_t>(y.sizes[1]) * size_of(dtype));
  return copy;
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
  Prepared prepared;
  ConstView bias;  // dense and aligned, or null
  void* scratch = nullptr;
  std::size_t scratch_bytes = 0;

  /// Computes everything in one call; false when cuBLASLt has no way.
  bool run_fused(Activation activation, const View& pre, const View& y) {
    const bool keeps_pre = static_cast<bool>(pre);
    const cublasLtEpilogue_t epilogue = fused_epilogue(activation, static_cast<bool>(bias), keeps_pre);
    if (epilogue == CUBLASLT_EPILOGUE_DEFAULT || !cpu::has_dense_rows(y)) return false;
    std::int64_t aux_ld = 0;
    if (keeps_pre) {
      aux_ld = cpu::matrix_strides(pre).first;
      if (!cpu::has_dense_rows(pre) || aux_ld % 8 != 0 || !is_aligned(pre.data)) return false;
    }
    Prepared with_y = prepared;
    with_y.c = y;
    with_y.product = cpu::describe(with_y.a.view, with_y.b.view, y);
    return run_epilogue(with_y, epilogue, {bias.data, pre.data}, aux_ld);
  }

  /// c = x w + bias.
  void run_plain() {
    Write write = Write::overwrite;
    if (bias) {
      if (run_epilogue(prepared, CUBLASLT_EPILOGUE_BIAS, {bias.data, nullptr}, 0)) return;
      copy(queue, cpu::repeated(bias, prepared.c), {prepared.c});
      write = Write::accumulate;
    }
    Problem problem = problem_of(prepared);
    problem.workspace_limit = scratch_bytes;
    run(queue, prepared, required_plan(prepared.operation, problem), 1, write, scratch);
  }

 private:
  bool run_epilogue(const Prepared& p, cublasLtEpilogue_t epilogue, const EpilogueData& data,
                    std::int64_t aux_ld) {
    Problem problem = problem_of(p);
    problem.epilogue = epilogue;
    problem.aux_ld = aux_ld;
    problem.workspace_limit = scratch_bytes;
    Plan& plan = cublaslt::plan_of(p.operation, problem, data);
    if (plan.exists()) run(queue, p, plan, 1, Write::overwrite, scratch, data);
    return plan.exists();
  }
};

/// Places everything that a linear layer needs in the workspace.
Linear prepare_linear(const Queue& queue, const ConstView& x, const ConstView& w, const View& result,
                      View& bias_copy, cpu::Carver& carver) {
  Linear linear{.queue = queue, .prepared = prepare("linear_forward", x, w, result, carver), .bias = {}};
  bias_copy = bias_in_workspace(result, result.dtype, carver);
  linear.scratch_bytes = linear_scratch_bytes(linear.prepared);
  linear.scratch = take_library_scratch(carver, linear.scratch_bytes);
  return linear;
}

/// Everything for results that are sums of at least one term; true when the activation has been applied.
bool run_linear(const Queue& queue, Activation activation, const ConstView& x, const ConstView& w,
                const ConstView& bias, const View& pre, const View& y, const Workspace& workspace) {
  const View& result = pre ? pre : y;
  View bias_copy;
  cpu::Carver carver(workspace);
  Linear linear = prepare_linear(queue, x, w, result, bias_copy, carver);
  require_workspace("linear_forward", workspace, carver.bytes());
  copy_inputs(queue, linear.prepared, x, w);
  linear.bias = bias;
  if (bias && (!bias.is_contiguous() || !is_aligned(bias.data))) {
    copy(queue, bias, {bias_copy});
    linear.bias = bias_copy;
  }
  if (y && linear.run_fused(activation, pre, y)) return true;
  linear.run_plain();
  if (linear.prepared.c_in_workspace) copy(queue, linear.prepared.c, {result});
  return false;
}

}  // namespace

std::size_t matmul_workspace_bytes(DeviceKind, const ConstView& given_a, const ConstView& given_b,
                                   const View& given_c) {
  if (cpu::has_no_terms(given_a, given_c)) return 0;
  ConstView a = given_a, b = given_b;
  View c = given_c;
  transpose_if_better(a, b, c);
  cpu::Carver carver;
  const Prepared p = prepare("matmul", a, b, c, carver);
  take_library_scratch(carver, required_plan("matmul", problem_of(p)).workspace_bytes());
  return carver.bytes();
}

void matmul(const Queue& queue, double alpha, const ConstView& given_a, const ConstView& given_b,
            const Target& target, const Workspace& workspace) {
  ConstView a = given_a, b = given_b;
  View c = target.view;
  if (cpu::has_no_terms(a, c)) {
    if (target.write == Write::overwrite) fill(queue, 0, c);
    return;
  }
  transpose_if_better(a, b, c);
  cpu::Carver carver(workspace);
  const Prepared p = prepare("matmul", a, b, c, carver);
  Plan& plan = required_plan("matmul", problem_of(p));
  void* const scratch = take_library_scratch(carver, plan.workspace_bytes());
  require_workspace("matmul", workspace, carver.bytes());
  copy_inputs(queue, p, a, b);
  if (p.c_in_workspace && target.write == Write::accumulate) copy(queue, c, {p.c});
  run(queue, p, plan, alpha, target.write, scratch);
  if (p.c_in_workspace) copy(queue, p.c, {c});
}

std::size_t linear_workspace_bytes(DeviceKind, const ConstView& x, const ConstView& w, const View& y) {
  if (cpu::has_no_terms(x, y)) return 0;
  View bias_copy;
  cpu::Carver carver;
  prepare_linear({DeviceKind::cuda}, x, w, y, bias_copy, carver);
  return carver.bytes();
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
