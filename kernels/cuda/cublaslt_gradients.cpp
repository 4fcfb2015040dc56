// The derivative of GELU as an epilogue of cuBLASLt in 16 bits. The bias gradient is none: summed beside the
// weight's product it takes longer than our own sums (H100, cuBLASLt 13.1), and for one input it is wrong.
#include "cuda/cublaslt_product.h"
#include "cuda/host.h"

namespace reprise::kernels::cuda {
namespace {

using cublaslt::Epilogue;

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

void linear_backward_input(const Queue& queue, Activation activation, const ConstView& dy, const ConstView& w,
                           const ConstView& pre, const View& dx, const Workspace& workspace) {
  const bool has_derivative = activation == Activation::gelu_tanh && !cpu::has_no_terms(dy, dx) &&
                              run_with_derivative(queue, dy, w, pre, dx, workspace);
  if (has_derivative) return;
  matmul(queue, 1, dy, cpu::transposed(w), {dx}, workspace);
  unary_backward(queue, cpu::function_of(activation), 0, pre, {}, dx, {dx});
}

}  // namespace reprise::kernels::cuda
