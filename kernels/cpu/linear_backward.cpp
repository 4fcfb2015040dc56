// What a linear layer passes through the activation before it, from a product and an elementwise kernel.
#include "product_operands.h"

namespace reprise::kernels::cpu {

void linear_backward_input(const Queue& queue, Activation activation, const ConstView& dy, const ConstView& w,
                           const ConstView& pre, const View& dx, const Workspace& workspace) {
  matmul(queue, 1, dy, transposed(w), {dx}, workspace);
  unary_backward(queue, function_of(activation), 0, pre, {}, dx, {dx});
}

}  // namespace reprise::kernels::cpu
