// Gradients of linear layers, from products and elementwise kernels.
#include <algorithm>

#include "product_operands.h"

namespace reprise::kernels::cpu {

std::size_t linear_backward_weight_workspace_bytes(DeviceKind device, WeightLayout layout, const ConstView& x,
                                                   const ConstView& dy, const View& dw) {
  const WeightProduct product = weight_product(layout, x, dy);
  return std::max(matmul_workspace_bytes(device, product.a, product.b, dw),
                  bias_backward_workspace_bytes(device, dy));
}

void linear_backward_weight(const Queue& queue, WeightLayout layout, const ConstView& x, const ConstView& dy,
                            const Target& dw, const Target& dbias, const Workspace& workspace) {
  const WeightProduct product = weight_product(layout, x, dy);
  matmul(queue, 1, product.a, product.b, dw, workspace);
  bias_backward(queue, dy, dbias, workspace);
}

void linear_backward_input(const Queue& queue, Activation activation, const ConstView& dy, const ConstView& w,
                           const ConstView& pre, const View& dx, const Workspace& workspace) {
  matmul(queue, 1, dy, transposed(w), {dx}, workspace);
  unary_backward(queue, function_of(activation), 0, pre, {}, dx, {dx});
}

}  // namespace reprise::kernels::cpu
