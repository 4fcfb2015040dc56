// Matrix products through cuBLASLt. Operands that it cannot read where they lie are copied into the
// workspace; GELU is part of the product in 16 bits. ReLU is not: cuBLASLt's makes 0 of NaN.
#include "cuda/cublaslt_product.h"
#include "cuda/host.h"

namespace reprise::kernels::cuda {
namespace {

using cublaslt::Epilogue;

/// The epilogue of GELU.
cublasLtEpilogue_t gelu_epilogue(bool bias, bool keeps_pre) {
  if (keeps_pre) return bias ? CUBLASLT_EPILOGUE_GELU_AUX_BIAS : CUBLASLT_EPILOGUE_GELU_AUX;
  return bias ? CUBLASLT_EPILOGUE_GELU_BIAS : CUBLASLT_EPILOGUE_GELU;
}

/// Computes all of a linear layer in one call; false when cuBLASLt has no way.
bool run_fused(const Queue& queue, Activation activation, const ProductSpace& space, const ConstView& bias,
               const View& pre, const View& y) {
  if (activation != Activation::gelu_tanh || !cublaslt::has_gelu(y.dtype) || !cpu::has_dense_rows(y))
    return false;
  Epilogue epilogue{gelu_epilogue(static_cast<bool>(bias), static_cast<bool>(pre)), {bias.data, pre.data}};
  if (pre) {
    const auto ld = cublaslt::aux_ld_of(pre);
    if (!ld) return false;
    epilogue.aux_ld = *ld;
  }
  PreparedProduct with_y = space.prepared;
  with_y.c = y;
  with_y.product = cpu::describe(with_y.a.view, with_y.b.view, y);
  return cublaslt::run_epilogue(queue, with_y, epilogue, Write::overwrite, space.scratch);
}

/// c = x w + bias.
void run_plain(const Queue& queue, const ProductSpace& space, const ConstView& bias) {
  const PreparedProduct& p = space.prepared;
  Write write = Write::overwrite;
  if (bias) {
    const Epilogue epilogue{CUBLASLT_EPILOGUE_BIAS, {bias.data, nullptr}};
    if (cublaslt::run_epilogue(queue, p, epilogue, write, space.scratch)) return;
    copy(queue, cpu::repeated(bias, p.c), {p.c});
    write = Write::accumulate;
  }
  cublaslt::run_product(queue, p, 1, write, space.scratch);
}

/// Everything for results that are sums of at least one term; true when the activation has been applied.
bool run_linear(const Queue& queue, Activation activation, const ConstView& x, const ConstView& w,
                const ConstView& bias, const View& pre, const View& y, const Workspace& workspace) {
  const View& result = pre ? pre : y;
  const ProductSpace space = linear_space(x, w, result, workspace);
  const PreparedProduct& p = space.prepared;
  require_workspace(p.operation, workspace, space.bytes);
  cublaslt::copy_inputs(queue, p);
  ConstView dense_bias = bias;
  if (bias && (!bias.is_contiguous() || !aligned16(bias.data))) {
    copy(queue, bias, {space.bias});
    dense_bias = space.bias;
  }
  if (y && run_fused(queue, activation, space, dense_bias, pre, y)) return true;
  run_plain(queue, space, dense_bias);
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
  cublaslt::copy_inputs(queue, p);
  if (p.c_in_workspace && target.write == Write::accumulate) copy(queue, p.given_c, {p.c});
  cublaslt::run_product(queue, p, alpha, target.write, space.scratch);
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
