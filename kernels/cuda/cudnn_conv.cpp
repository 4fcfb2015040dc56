// Convolutions through cuDNN: channels-last, where its tensor-core kernels work on memory as it lies; for
// what it cannot do that way (float64, some groups) row-major. Weights are row-major in the contract and (O,
// KH, KW, I) in channels-last convolutions, so they pass through the workspace; so does every tensor that
// does not lie as it should. Single pixels are matrix products.
#include <limits>
#include <stdexcept>
#include <string>

#include "cpu/pointwise_conv.h"
#include "cuda/cudnn_plan.h"
#include "cuda/host.h"
#include "cuda/library_scratch.h"
#include "reprise/kernels/conv.h"
#include "reprise/kernels/elementwise.h"

namespace reprise::kernels::cuda {
namespace {

using pointwise::writable_layout;

/// One pass; `out` is the tensor that it makes, and has its place among the others too, for its sizes.
struct Request {
  ConvPass pass = ConvPass::forward;
  Conv2dParams params{};
  ConstView x{}, w{}, y{};
  Target out{};
};

/// A tensor as cuDNN sees it: the caller's memory, or a copy in the workspace.
struct Operand {
  View view{};
  bool is_copy = false;
};

struct Prepared {
  cudnn::Plan* plan = nullptr;
  Operand x, w, y;  // empty for the tensor that the pass makes
  Operand out;
  Write write = Write::overwrite;  // how cuDNN writes `out`
  void* scratch = nullptr;
  std::size_t bytes = 0;
};

/// Throws where cuDNN's sizes, which are ints, end.
int narrow(std::int64_t value) {
  if (value > std::numeric_limits<int>::max())
    throw ShapeError("[conv2d] a size of " + std::to_string(value) + " is more than cuDNN takes (2^31 - 1)");
  return static_cast<int>(value);
}

std::array<int, 2> narrow(const std::array<std::int64_t, 2>& values) {
  return {narrow(values[0]), narrow(values[1])};
}

std::array<int, 4> sizes_of(const Layout& view) {
  return {narrow(view.sizes[0]), narrow(view.sizes[1]), narrow(view.sizes[2]), narrow(view.sizes[3])};
}

cudnn::Plan& plan_of(const Request& r, bool& channels_last) {
  const DType dtype = r.out.view.dtype;
  if (!is_floating(dtype)) refuse("conv2d", dtype);
  cudnn::Problem problem{.device = current_device("conv2d"),
                         .pass = r.pass,
                         .dtype = dtype,
                         .x = sizes_of(r.x),
                         .w = sizes_of(r.w),
                         .y = sizes_of(r.y),
                         .stride = narrow(r.params.stride),
                         .padding = narrow(r.params.padding),
                         .dilation = narrow(r.params.dilation),
                         .groups = narrow(r.params.groups)};
  for (const bool last : {true, false}) {
    problem.channels_last = channels_last = last;
    cudnn::Plan& plan = cudnn::plan_of(problem);
    if (plan.exists()) return plan;
  }
  const auto text = [](const std::array<int, 4>& s) {
    return "(" + std::to_string(s[0]) + ", " + std::to_string(s[1]) + ", " + std::to_string(s[2]) + ", " +
           std::to_string(s[3]) + ")";
  };
  throw DeviceError("[conv2d] cuDNN has no algorithm for x " + text(problem.x) + ", weight " +
                    text(problem.w) + ", groups " + std::to_string(problem.groups) + ", " +
                    std::string(name_of(dtype)));
}

/// `given` where it lies as asked and at a multiple of 16 bytes, room in the workspace otherwise.
Operand place(const ConstView& given, bool channels_last, cpu::Carver& carver) {
  const bool lies_well = channels_last ? given.is_channels_last() : given.is_contiguous();
  Operand operand{writable_layout(given)};
  if (lies_well && reinterpret_cast<std::uintptr_t>(given.data) % 16 == 0) {
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

Prepared prepare(const Request& r, const Workspace& workspace) {
  cpu::Carver carver(workspace);
  Prepared p;
  bool channels_last = true;
  p.plan = &plan_of(r, channels_last);
  if (r.pass != ConvPass::backward_data) p.x = place(r.x, channels_last, carver);
  if (r.pass != ConvPass::backward_weight) p.w = place(r.w, channels_last, carver);
  if (r.pass != ConvPass::forward) p.y = place(r.y, channels_last, carver);
  p.out = place(r.out.view, channels_last, carver);
  p.write = p.out.is_copy ? Write::overwrite : r.out.write;
  p.scratch = take_library_scratch(carver, p.plan->workspace_bytes());
  p.bytes = carver.bytes();
  return p;
}

/// The bias with the sizes of y, (N, O, OH, OW).
ConstView repeated(ConstView bias, const Layout& y) {
  const std::int64_t stride = bias.strides[0];
  static_cast<Layout&>(bias) = y;
  bias.strides = {};
  bias.strides[1] = stride;
  return bias;
}

/// Adds to a bias that is already in place, so that the sum is rounded once.
void run(const Queue& queue, const Request& r, const Workspace& workspace, const ConstView& bias = {}) {
  Prepared p = prepare(r, workspace);
  require_workspace("conv2d", workspace, p.bytes);
  const auto make_copy = [&](const Operand& operand, const ConstView& given) {
    if (operand.is_copy) copy(queue, given, {operand.view});
  };
  make_copy(p.x, r.x);
  make_copy(p.w, r.w);
  make_copy(p.y, r.y);
  if (bias) {
    copy(queue, repeated(bias, p.out.view), {p.out.view});
    p.write = Write::accumulate;
  }
  p.plan->run(stream_of(queue), {p.x.view.data, p.w.view.data, p.y.view.data, p.out.view.data}, p.write,
              p.scratch);
  if (p.out.is_copy) copy(queue, p.out.view, r.out);
}

/// Nothing is summed: an input is empty.
bool has_no_terms(const ConstView& a, const ConstView& b) { return a.numel() == 0 || b.numel() == 0; }

void write_zeros(const Queue& queue, const Target& target) {
  if (target.write == Write::overwrite) fill(queue, 0, target.view);
}

}  // namespace

std::size_t conv2d_workspace_bytes(DeviceKind device, ConvPass pass, const Conv2dParams& params,
                                   const ConstView& x, const ConstView& w, const ConstView& y, Write write) {
  if (x.numel() == 0 || w.numel() == 0 || y.numel() == 0) return 0;
  if (pointwise::fits(params, w)) return pointwise::workspace_bytes(device, pass, x, w, y);
  const ConstView& out = pass == ConvPass::forward ? y : pass == ConvPass::backward_data ? x : w;
  Request request{
      .pass = pass, .params = params, .x = x, .w = w, .y = y, .out = {writable_layout(out), write}};
  request.out.view.data = const_cast<void*>(out.data);
  return prepare(request, {}).bytes;
}

void conv2d_forward(const Queue& queue, const Conv2dParams& params, const ConstView& x, const ConstView& w,
                    const ConstView& bias, const View& y, const Workspace& workspace) {
  if (y.numel() == 0) return;
  if (has_no_terms(x, w)) {
    if (bias)
      copy(queue, repeated(bias, y), {y});
    else
      fill(queue, 0, y);
  } else if (pointwise::fits(params, w)) {
    pointwise::forward(queue, x, w, bias, y, workspace);
  } else {
    run(queue, {.params = params, .x = x, .w = w, .y = y, .out = {y}}, workspace, bias);
  }
}

void conv2d_backward_data(const Queue& queue, const Conv2dParams& params, const ConstView& dy,
                          const ConstView& w, const Target& dx, const Workspace& workspace) {
  if (dx.view.numel() == 0) return;
  if (has_no_terms(dy, w)) return write_zeros(queue, dx);
  if (pointwise::fits(params, w)) return pointwise::backward_data(queue, dy, w, dx, workspace);
  run(queue, {.pass = ConvPass::backward_data, .params = params, .x = dx.view, .w = w, .y = dy, .out = dx},
      workspace);
}

void conv2d_backward_weight(const Queue& queue, const Conv2dParams& params, const ConstView& x,
                            const ConstView& dy, const Target& dw, const Workspace& workspace) {
  if (dw.view.numel() == 0) return;
  if (has_no_terms(x, dy)) return write_zeros(queue, dw);
  if (pointwise::fits(params, dw.view)) return pointwise::backward_weight(queue, x, dy, dw, workspace);
  run(queue, {.pass = ConvPass::backward_weight, .params = params, .x = x, .w = dw.view, .y = dy, .out = dw},
      workspace);
}

}  // namespace reprise::kernels::cuda
