// How the tensors of a convolution reach cuDNN: where they lie, or as copies in the workspace, with the
// library's scratch behind them.
#pragma once

#include <span>

#include "cpu/pointwise_conv.h"
#include "cuda/workspace/library.h"

namespace reprise::kernels::cuda {

/// One pass of a convolution; `out` is the tensor that it makes, and has its place among the others too, for
/// its sizes.
struct ConvRequest {
  ConvPass pass = ConvPass::forward;
  Conv2dParams params{};
  ConstView x{}, w{}, y{};
  Target out{};
};

/// A tensor as cuDNN sees it: the caller's memory, or a copy in the workspace.
struct ConvOperand {
  View view{};
  bool is_copy = false;
};

/// Everything that a pass needs of the workspace; without memory it is only counted.
struct ConvSpace {
  ConvOperand x, w, y;  // empty for the tensor that the pass makes
  ConvOperand out;
  void* scratch = nullptr;  // cuDNN's
  std::size_t bytes = 0;
};

/// Orders of memory to try, the best first: true for channels-last, false for row-major. cuDNN computes in
/// float64 only row-major, and lacks channels-last algorithms for some groups; for one group it has them.
inline std::span<const bool> conv_orders(DType dtype, std::int64_t groups) {
  static constexpr bool kOrders[] = {true, false};
  if (dtype == DType::float64) return std::span(kOrders).last(1);
  return std::span(kOrders).first(groups == 1 ? 1 : 2);
}

/// `given` where it lies as asked and at a multiple of 16 bytes, room in the workspace otherwise.
inline ConvOperand place(const ConstView& given, bool channels_last, cpu::Carver& carver) {
  const bool lies_well = channels_last ? given.is_channels_last() : given.is_contiguous();
  ConvOperand operand{pointwise::writable_layout(given)};
  if (lies_well && aligned16(given.data)) {
    operand.view.data = const_cast<void*>(given.data);
    return operand;
  }
  operand.is_copy = true;
  std::int64_t stride = 1;
  for (int axis : channels_last ? std::array{1, 3, 2, 0} : std::array{3, 2, 1, 0}) {
    operand.view.strides[axis] = stride;
    stride *= given.sizes[axis];
  }
  operand.view.data = carver.take(static_cast<std::size_t>(stride) * size_of(given.dtype));
  return operand;
}

/// The pass in one order of memory. No size is 0.
inline ConvSpace conv_space(const ConvRequest& r, bool channels_last, const Workspace& workspace = {}) {
  cpu::Carver carver(workspace);
  ConvSpace space;
  if (r.pass != ConvPass::backward_data) space.x = place(r.x, channels_last, carver);
  if (r.pass != ConvPass::backward_weight) space.w = place(r.w, channels_last, carver);
  if (r.pass != ConvPass::forward) space.y = place(r.y, channels_last, carver);
  space.out = place(r.out.view, channels_last, carver);
  space.scratch = take_library_scratch(carver, conv_library_bytes(r.x, r.w, r.y, r.out.view.dtype));
  space.bytes = carver.bytes();
  return space;
}

/// Enough for every order that may be tried. No size is 0.
inline std::size_t conv_bytes(const ConvRequest& r) {
  const DType dtype = r.out.view.dtype;
  if (!is_floating(dtype)) refuse("conv2d", dtype);
  std::size_t bytes = 0;
  for (const bool channels_last : conv_orders(dtype, r.params.groups))
    bytes = std::max(bytes, conv_space(r, channels_last).bytes);
  return bytes;
}

}  // namespace reprise::kernels::cuda
