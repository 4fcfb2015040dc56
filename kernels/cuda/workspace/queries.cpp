// How much scratch each operation takes on CUDA. Part of every program: the launchers in the folder above cut
// their workspaces with the same code.
#include "cuda/workspace/attention.h"
#include "cuda/workspace/columns.h"
#include "cuda/workspace/conv.h"
#include "cuda/workspace/norms.h"
#include "cuda/workspace/products.h"
#include "cuda/workspace/reduction_plan.h"
#include "cuda/workspace/runs.h"
#include "cuda/workspace/square_sums.h"
#include "reprise/kernels/attention.h"
#include "reprise/kernels/embedding.h"
#include "reprise/kernels/norm.h"
#include "reprise/kernels/reduce.h"

namespace reprise::kernels::cuda {

std::size_t matmul_workspace_bytes(DeviceKind, const ConstView& a, const ConstView& b, const View& c) {
  return cpu::has_no_terms(a, c) ? 0 : matmul_space(a, b, c).bytes;
}

std::size_t linear_workspace_bytes(DeviceKind, const ConstView& x, const ConstView& w, const View& y) {
  return cpu::has_no_terms(x, y) ? 0 : linear_space(x, w, y).bytes;
}

std::size_t bias_backward_workspace_bytes(DeviceKind, const ConstView& dy) { return bias_sums_bytes(dy); }

std::size_t conv2d_workspace_bytes(DeviceKind device, ConvPass pass, const Conv2dParams& params,
                                   const ConstView& x, const ConstView& w, const ConstView& y, Write write) {
  if (x.numel() == 0 || w.numel() == 0 || y.numel() == 0) return 0;
  if (pointwise::fits(params, w)) return pointwise::workspace_bytes(device, pass, x, w, y);
  const ConstView& out = pass == ConvPass::forward ? y : pass == ConvPass::backward_data ? x : w;
  ConvRequest request{.pass = pass,
                      .params = params,
                      .x = x,
                      .w = w,
                      .y = y,
                      .out = {pointwise::writable_layout(out), write}};
  request.out.view.data = const_cast<void*>(out.data);
  return conv_bytes(request);
}

std::size_t reduce_workspace_bytes(DeviceKind, Reduce, const ConstView& x, const View& y) {
  return partial_results_bytes(x, y);
}

std::size_t global_norm_workspace_bytes(DeviceKind, std::span<const ConstView> tensors) {
  return square_sums_bytes(tensors);
}

std::size_t norm_backward_workspace_bytes(DeviceKind, const ConstView& x) { return norm_partials_bytes(x); }

std::size_t batch_norm_workspace_bytes(DeviceKind, const ConstView& x) { return batch_norm_bytes(x); }

std::size_t attention_workspace_bytes(DeviceKind, const AttentionParams&, const ConstView& q, bool backward) {
  return backward ? delta_bytes(q) : 0;
}

std::size_t embedding_backward_workspace_bytes(DeviceKind, const ConstView& ids, const View& dweight) {
  return RunSpace(nullptr, ids.numel(), dweight.sizes[1]).bytes;
}

}  // namespace reprise::kernels::cuda
