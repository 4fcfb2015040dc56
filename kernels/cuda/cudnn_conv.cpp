// Convolutions through cuDNN: channels-last, where its tensor-core kernels work on memory as it lies; for
// what it cannot do that way (float64, some groups) row-major, as many images at a time as the workspace has
// room for copies of. Weights are row-major in the contract and (O, KH, KW, I) in channels-last convolutions,
// so they pass through the workspace; so does every tensor that does not lie as it should, or whose channels
// are no multiple of eight in 16 bits. Single pixels are matrix products.
#include <limits>
#include <stdexcept>
#include <string>

#include "cuda/conv_channels.h"
#include "cuda/cudnn_plan.h"
#include "cuda/host.h"
#include "cuda/workspace/conv.h"
#include "reprise/kernels/elementwise.h"

namespace reprise::kernels::cuda {
namespace {

/// Throws where cuDNN's sizes, which are ints, end.
int narrow(std::int64_t value) {
  if (value > std::numeric_limits<int>::max())
    throw ShapeError("[conv2d] a size of " + std::to_string(value) + " is more than cuDNN takes (2^31 - 1)");
  return static_cast<int>(value);
}

std::array<int, 2> narrow(const std::array<std::int64_t, 2>& values) {
  return {narrow(values[0]), narrow(values[1])};
}

std::array<int, 4> narrow(const PerAxis& sizes) {
  return {narrow(sizes[0]), narrow(sizes[1]), narrow(sizes[2]), narrow(sizes[3])};
}

std::string text_of(const Layout& view) {
  std::string text = "(";
  for (int axis = 0; axis < view.rank; ++axis)
    text += (axis == 0 ? "" : ", ") + std::to_string(view.sizes[axis]);
  return text + ")";
}

cudnn::Plan& plan_of(const ConvRequest& r, bool channels_last) {
  const DType dtype = r.out.view.dtype;
  const ConvSizes sizes = sizes_of_call(r, channels_last);
  const cudnn::Problem problem{.device = current_device("conv2d"),
                               .pass = r.pass,
                               .dtype = dtype,
                               .channels_last = channels_last,
                               .x = narrow(sizes.x),
                               .w = narrow(sizes.w),
                               .y = narrow(sizes.y),
                               .stride = narrow(r.params.stride),
                               .padding = narrow(r.params.padding),
                               .dilation = narrow(r.params.dilation),
                               .groups = narrow(r.params.groups)};
  return cudnn::plan_of(problem, conv_library_bytes(sizes.x, sizes.w, sizes.y, dtype));
}

/// An order of memory, and the images of a call.
struct Choice {
  bool channels_last;
  std::int64_t images;
};

/// The first order of memory in which cuDNN has algorithms for all calls.
Choice choose(const ConvRequest& r) {
  const DType dtype = r.out.view.dtype;
  const std::int64_t all = r.x.sizes[0];
  if (most_images(r, false) == 0)
    throw ShapeError("[conv2d] one image of x " + text_of(r.x) + " or y " + text_of(r.y) +
                     " has more elements than cuDNN takes (2^31 - 1)");
  for (const bool channels_last : conv_orders(dtype)) {
    const std::int64_t images = images_of_call(r, channels_last), rest = all % images;
    if (plan_of(images_of(r, 0, images), channels_last).exists() &&
        (rest == 0 || plan_of(images_of(r, all - rest, rest), channels_last).exists()))
      return {channels_last, images};
  }
  throw DeviceError("[conv2d] cuDNN has no algorithm for x " + text_of(r.x) + ", weight " + text_of(r.w) +
                    ", groups " + std::to_string(r.params.groups) + ", " + std::string(name_of(dtype)));
}

/// The bias with the sizes of y, (N, O, OH, OW).
ConstView repeated(ConstView bias, const Layout& y) {
  const std::int64_t stride = bias.strides[0];
  static_cast<Layout&>(bias) = y;
  bias.strides = {};
  bias.strides[1] = stride;
  return bias;
}

/// Writes all of `to`, which may have more channels than `from`: zeros.
void copy_filled(const Queue& queue, const ConstView& from, const View& to) {
  if (from.sizes == to.sizes)
    copy(queue, from, {to});
  else
    fill_channels(queue, from, to);
}

/// The part of `view` that has the sizes of `given`.
ConstView part_of(View view, const Layout& given) {
  view.sizes = given.sizes;
  return view;
}

/// One call. Adds to a bias that is already in place, so that the sum is rounded once.
void run_call(const Queue& queue, const ConvRequest& r, bool channels_last, const Workspace& workspace,
              const ConstView& bias) {
  const ConvSpace space = conv_space(r, channels_last, workspace);
  const auto make_copy = [&](const ConvOperand& operand, const ConstView& given) {
    if (operand.is_copy) copy_filled(queue, given, operand.view);
  };
  make_copy(space.x, r.x);
  make_copy(space.w, r.w);
  make_copy(space.y, r.y);
  Write write = space.out.is_copy ? Write::overwrite : r.out.write;
  if (bias) {
    copy_filled(queue, repeated(bias, r.out.view), space.out.view);
    write = Write::accumulate;
  }
  plan_of(r, channels_last)
      .run(stream_of(queue), {space.x.view.data, space.w.view.data, space.y.view.data, space.out.view.data},
           write, space.scratch);
  if (space.out.is_copy) copy(queue, part_of(space.out.view, r.out.view), r.out);
}

void run(const Queue& queue, const ConvRequest& r, const Workspace& workspace, const ConstView& bias = {}) {
  require_workspace("conv2d", workspace, conv_bytes(r));
  const Choice choice = choose(r);
  const std::int64_t all = r.x.sizes[0];
  for (std::int64_t first = 0; first < all; first += choice.images)
    run_call(queue, images_of(r, first, std::min(choice.images, all - first)), choice.channels_last,
             workspace, bias);
}

/// Nothing is summed: an input is empty.
bool has_no_terms(const ConstView& a, const ConstView& b) { return a.numel() == 0 || b.numel() == 0; }

void write_zeros(const Queue& queue, const Target& target) {
  if (target.write == Write::overwrite) fill(queue, 0, target.view);
}

}  // namespace

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
