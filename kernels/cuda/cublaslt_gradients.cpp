// Gradients of linear layers as epilogues of cuBLASLt: the bias gradient comes out of the weight's product,
// and in 16 bits the derivative of GELU is applied to the input's.
#include "cuda/cublaslt_product.h"
#include "cuda/host.h"
#include "cuda/workspace/columns.h"

namespace reprise::kernels::cuda {
namespace {

using cublaslt::Epilogue;

/// Sums dy into `space.bias` while it multiplies; false when cuBLASLt has no way. The sum runs over the terms
/// of the product: over our b, which is cuBLASLt's first operand, or over our a, its second.
bool run_with_bias(const Queue& queue, WeightLayout layout, const ProductSpace& space, Write write) {
  const Epilogue epilogue{
      layout == WeightLayout::out_in ? CUBLASLT_EPILOGUE_BGRADB : CUBLASLT_EPILOGUE_BGRADA,
      {space.bias.data, nullptr}};
  return cublaslt::run_epilogue(queue, space.prepared, epilogue, write, space.scratch);
}

/// dx = (dy w^T) gelu'(pre) in one call; false when cuBLASLt has no way.
bool run_with_derivative(const Queue& queue, const ConstView& dy, const ConstView& w, const ConstView& pre,
                         const View& dx, const Workspace& workspace) {
  const auto ld = cublaslt::aux_ld_of(pre);
  if (!cublaslt::has_gelu(dx.dtype) || !ld || !cpu::has_dense_rows(dx)) return false;
  const ProductSpace space = matmul_space(dy, cpu::transposed(w), dx, workspace);
  require_workspace("linear_backward", workspace, space.bytes);
  cublaslt::copy_inputs(queue, space.prepared);
  const Epilogue epilogue{CUBLASLT_EPILOGUE_DGELU, {nullptr, pre.data}, *ld};
  return cublaslt::run_epilogue(queue, space.prepared, epilogue, Write::overwrite, space.scratch);
}

}  // namespace

void linear_backward_weight(const Queue& queue, WeightLayout layout, const ConstView& x, const ConstView& dy,
                            const Target& dw, const Target& dbias, const Workspace& workspace) {
  const ConstView a = cpu::weight_product(layout, x, dy).a;
  if (cpu::has_no_terms(a, dw.view)) {
    if (dw.write == Write::overwrite) fill(queue, 0, dw.view);
    return bias_backward(queue, dy, dbias, workspace);
  }
  const ProductSpace space = weight_space(layout, x, dy, dw.view, workspace);
  const PreparedProduct& p = space.prepared;
  require_workspace(p.operation, workspace, std::max(space.bytes, bias_sums_bytes(dy)));
  cublaslt::copy_inputs(queue, p);
  if (p.c_in_workspace && dw.write == Write::accumulate) copy(queue, p.given_c, {p.c});
  const bool has_sums = run_with_bias(queue, layout, space, dw.write);
  if (!has_sums) cublaslt::run_product(queue, p, 1, dw.write, space.scratch);
  if (p.c_in_workspace) copy(queue, p.c, {p.given_c});
  if (has_sums)
    copy(queue, space.bias, dbias);
  else
    bias_backward(queue, dy, dbias, workspace);
}

void linear_backward_input(const Queue& queue, Activation activation, const ConstView& dy, const ConstView& w,
                           const ConstView& pre, const View& dx, const Workspace& workspace) {
  const bool has_derivative = activation == Activation::gelu_tanh && !cpu::has_no_terms(dy, dx) &&
                              run_with_derivative(queue, dy, w, pre, dx, workspace);
  if (has_derivative) return;
  matmul(queue, 1, dy, cpu::transposed(w), {dx}, workspace);
  unary_backward(queue, cpu::function_of(activation), 0, pre, {}, dx, {dx});
}

}  // namespace reprise::kernels::cuda
