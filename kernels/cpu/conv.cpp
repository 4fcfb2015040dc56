// Convolutions: operands are brought into a type that the libraries take, and one of the libraries convolves
// them.
#include "reprise/kernels/conv.h"

#include <algorithm>
#include <utility>

#include "convolution.h"
#include "cpu_library.h"
#include "pointwise_conv.h"
#include "reprise/kernels/elementwise.h"
#include "workspace.h"

namespace reprise::kernels::cpu {

namespace {

/// One pass; `out` is the tensor that it makes, and has its place among the others too, for its sizes.
struct Request {
  ConvPass pass = ConvPass::forward;
  Conv2dParams params{};
  ConstView x{}, w{}, y{};
  View out{};
  Write write = Write::overwrite;
  bool has_bias = false;
  ConstView bias{};
};

/// An operand as the library reads it: the caller's memory, or a copy to be made in the workspace.
struct Input {
  const void* data = nullptr;
  View copy{};  // null: none is needed
};

struct Prepared {
  Convolution convolution;
  bool onednn = false;
  Input x, w, y, bias;
  View out;
  bool out_in_workspace = false;
  Workspace scratch;
  std::size_t bytes = 0;
};

View in_workspace(const Layout& layout, DType dtype, Carver& carver) {
  View view;
  static_cast<Layout&>(view) = layout;
  view.dtype = dtype;
  view.data = carver.take(static_cast<std::size_t>(layout.numel()) * size_of(dtype));
  return view;
}

Input prepare_input(const ConstView& given, DType work, Carver& carver) {
  if (given.dtype == work) return {given.data};
  const View copy = in_workspace(given, work, carver);
  return {copy.data, copy};
}

/// Where only bytes are counted, the bias is not known: a copy is assumed.
Input prepare_bias(const ConstView& given, std::int64_t channels, DType work, Carver& carver) {
  Layout layout;
  layout.rank = 1;
  layout.sizes[0] = channels;
  layout.strides[0] = 1;
  const View copy = in_workspace(layout, work, carver);
  if (given && given.dtype == work && given.is_contiguous()) return {given.data};
  return {copy.data, copy};
}

Convolution describe(const Request& r, DType work) {
  Convolution c;
  c.pass = r.pass;
  c.dtype = work;
  c.params = r.params;
  c.n = r.x.sizes[0];
  c.ic = r.x.sizes[1];
  c.ih = r.x.sizes[2];
  c.iw = r.x.sizes[3];
  c.oc = r.y.sizes[1];
  c.oh = r.y.sizes[2];
  c.ow = r.y.sizes[3];
  c.kh = r.w.sizes[2];
  c.kw = r.w.sizes[3];
  c.bias = r.has_bias;
  return c;
}

/// Prepares the pass with elements of type `work`; false when oneDNN is asked for and has no way to do it.
bool prepare_with(const Request& r, DType work, bool onednn, const Workspace& workspace, Prepared& p) {
  Carver carver(workspace);
  p = {};
  p.onednn = onednn;
  p.convolution = describe(r, work);
  if (r.pass != ConvPass::backward_data) p.x = prepare_input(r.x, work, carver);
  if (r.pass != ConvPass::backward_weight) p.w = prepare_input(r.w, work, carver);
  if (r.pass != ConvPass::forward) p.y = prepare_input(r.y, work, carver);
  if (r.has_bias) p.bias = prepare_bias(r.bias, r.y.sizes[1], work, carver);
  p.out_in_workspace = r.out.dtype != work || (onednn && r.write == Write::accumulate);
  p.out = p.out_in_workspace ? in_workspace(r.out, work, carver) : r.out;
  if (onednn) {
#if defined(REPRISE_ONEDNN)
    const auto scratch_bytes = onednn::scratch_bytes(p.convolution);
    if (!scratch_bytes) return false;
    p.scratch = {carver.take(*scratch_bytes), *scratch_bytes};
#endif
  } else {
    const std::size_t scratch_bytes = eigen::scratch_bytes(p.convolution);
    p.scratch = {carver.take(scratch_bytes), scratch_bytes};
  }
  p.bytes = carver.bytes();
  return true;
}

Prepared prepare(const Request& request, const Workspace& workspace) {
  Prepared prepared;
  choose_way(request.out.dtype, [&](DType work, bool onednn) {
    return prepare_with(request, work, onednn, workspace, prepared);
  });
  return prepared;
}

void run(const Queue& queue, const Request& request, const Workspace& workspace) {
  const Prepared p = prepare(request, workspace);
  const auto make_copy = [&](const Input& input, const ConstView& given) {
    if (input.copy) copy(queue, given, {input.copy});
  };
  make_copy(p.x, request.x);
  make_copy(p.w, request.w);
  make_copy(p.y, request.y);
  make_copy(p.bias, request.bias);
  const ConvolutionData data{p.x.data, p.w.data, p.bias.data, p.y.data, p.out.data};
  const Write write = p.out_in_workspace ? Write::overwrite : request.write;
#if defined(REPRISE_ONEDNN)
  if (p.onednn) onednn::convolve(p.convolution, data, p.scratch.data);
#endif
  if (!p.onednn) eigen::convolve(p.convolution, data, write, p.scratch);
  if (p.out_in_workspace) copy(queue, p.out, {request.out, request.write});
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
  const ConstView& result = pass == ConvPass::forward ? y : pass == ConvPass::backward_data ? x : w;
  Request request{.pass = pass,
                  .params = params,
                  .x = x,
                  .w = w,
                  .y = y,
                  .out = pointwise::writable_layout(result),
                  .write = write};
  request.x.data = request.w.data = request.y.data = nullptr;
  if (pass != ConvPass::forward) return prepare(request, {}).bytes;
  request.write = Write::overwrite;
  const std::size_t without_bias = prepare(request, {}).bytes;
  request.has_bias = true;
  return std::max(without_bias, prepare(request, {}).bytes);
}

void conv2d_forward(const Queue& queue, const Conv2dParams& params, const ConstView& x, const ConstView& w,
                    const ConstView& bias, const View& y, const Workspace& workspace) {
  if (y.numel() == 0) return;
  if (has_no_terms(x, w)) {
    ConstView repeated = bias;
    static_cast<Layout&>(repeated) = y;
    repeated.strides = {};
    repeated.strides[1] = bias ? bias.strides[0] : 0;
    if (bias)
      copy(queue, repeated, {y});
    else
      fill(queue, 0, y);
  } else if (pointwise::fits(params, w)) {
    pointwise::forward(queue, x, w, bias, y, workspace);
  } else {
    run(queue,
        {.params = params,
         .x = x,
         .w = w,
         .y = y,
         .out = y,
         .has_bias = static_cast<bool>(bias),
         .bias = bias},
        workspace);
  }
}

void conv2d_backward_data(const Queue& queue, const Conv2dParams& params, const ConstView& dy,
                          const ConstView& w, const Target& dx, const Workspace& workspace) {
  if (dx.view.numel() == 0) return;
  if (has_no_terms(dy, w)) return write_zeros(queue, dx);
  if (pointwise::fits(params, w)) return pointwise::backward_data(queue, dy, w, dx, workspace);
  run(queue,
      {.pass = ConvPass::backward_data,
       .params = params,
       .x = dx.view,
       .w = w,
       .y = dy,
       .out = dx.view,
       .write = dx.write},
      workspace);
}

void conv2d_backward_weight(const Queue& queue, const Conv2dParams& params, const ConstView& x,
                            const ConstView& dy, const Target& dw, const Workspace& workspace) {
  if (dw.view.numel() == 0) return;
  if (has_no_terms(x, dy)) return write_zeros(queue, dw);
  if (pointwise::fits(params, dw.view)) return pointwise::backward_weight(queue, x, dy, dw, workspace);
  run(queue,
      {.pass = ConvPass::backward_weight,
       .params = params,
       .x = x,
       .w = dw.view,
       .y = dy,
       .out = dw.view,
       .write = dw.write},
      workspace);
}

}  // namespace reprise::kernels::cpu
