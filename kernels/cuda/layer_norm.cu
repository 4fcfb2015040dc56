// Layer norm: see row_norm.cuh.
#include "cuda/row_norm.cuh"
#include "reprise/kernels/norm.h"

namespace reprise::kernels::cuda {

void layer_norm_forward(const Queue& queue, double eps, const ConstView& x, const ConstView& weight,
                        const ConstView& bias, const View& y, const View& mean, const View& rstd) {
  norm_forward<true>("layer_norm", queue, eps, x, weight, bias, y, mean, rstd);
}

void layer_norm_backward(const Queue& queue, const ConstView& x, const ConstView& weight,
                         const ConstView& mean, const ConstView& rstd, const ConstView& dy, const Target& dx,
                         const Target& dweight, const Target& dbias, const Workspace& workspace) {
  norm_backward<true>("layer_norm", queue, x, weight, mean, rstd, dy, dx, dweight, dbias, workspace);
}

}  // namespace reprise::kernels::cuda
