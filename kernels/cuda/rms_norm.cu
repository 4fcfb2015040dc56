// RMS norm: see row_norm.cuh.
#include "cuda/row_norm.cuh"
#include "reprise/kernels/norm.h"

namespace reprise::kernels::cuda {

void rms_norm_forward(const Queue& queue, double eps, const ConstView& x, const ConstView& weight,
                      const View& y, const View& rstd) {
  norm_forward<false>("rms_norm", queue, eps, x, weight, {}, y, {}, rstd);
}

void rms_norm_backward(const Queue& queue, const ConstView& x, const ConstView& weight, const ConstView& rstd,
                       const ConstView& dy, const Target& dx, const Target& dweight,
                       const Workspace& workspace) {
  norm_backward<false>("rms_norm", queue, x, weight, {}, rstd, dy, dx, dweight, {}, workspace);
}

}  // namespace reprise::kernels::cuda
