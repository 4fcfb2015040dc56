#include "reprise/ops/conv.h"

#include <fmt/format.h>

#include "reprise/checked.h"
#include "reprise/kernels/elementwise.h"
#include "reprise/kernels/reduce.h"
#include "reprise/ops/broadcast.h"
#include "reprise/ops/reduce.h"
#include "row_major.h"

namespace reprise {
namespace ops {
namespace {

using kernels::ConvPass;

void require_images(std::string_view name, const Spec& x) {
  require_floating(name, x);
  if (x.shape.rank() != 4) {
    throw ShapeError(fmt::format("[{}] x must be (N, C, H, W), not {}", name, to_string(x.shape)));
  }
}

/// Positions of a window of `span` elements on an axis of `size`.
std::int64_t positions(std::string_view name, const Spec& x, std::int64_t size, std::int64_t span,
                       std::int64_t stride, std::int64_t padding) {
  const std::int64_t padded = checked::add(name, size, checked::multiply(name, 2, padding));
  if (span > padded) {
    throw ShapeError(fmt::format("[{}] a window of {} does not fit into {} with padding {} of {}; pad more",
                                 name, span, size, padding, to_string(x.shape)));
  }
  return (padded - span) / stride + 1;
}

Spec pooled(std::string_view name, const Pool2dParams& params, const Spec& x) {
  require_images(name, x);
  Spec out = x;
  out.channels_last = true;
  for (int k = 0; k < 2; ++k) {
    const auto i = static_cast<std::size_t>(k);
    if (params.kernel[i] < 1 || params.stride[i] < 1 || params.padding[i] < 0 ||
        params.padding[i] > params.kernel[i] / 2) {
      throw ValueError(fmt::format(
          "[{}] kernel {}, stride {}, padding {}: kernel and stride start at 1, padding is at most "
          "half the kernel",
          name, params.kernel[i], params.stride[i], params.padding[i]));
    }
    out.shape.set(2 + k,
                  positions(name, x, x.shape[2 + k], params.kernel[i], params.stride[i], params.padding[i]));
  }
  return out;
}

/// Runs `fill` on channels-last memory for the slot, through scratch where the slot lies otherwise.
template <class F>
void through_channels_last(const Exec& exec, const kernels::Target& slot, F&& fill) {
  if (slot.view.is_channels_last()) {
    fill(slot);
    return;
  }
  const Shape shape(std::span(slot.view.sizes.data(), 4));
  const kernels::View whole = exec.temporary(slot.view.dtype, shape, true);
  fill(kernels::Target{whole, kernels::Write::overwrite});
  kernels::copy(exec.queue(), whole, slot);
}

}  // namespace

Specs Conv2d::infer(SpecSpan in) const {
  const Spec& x = in[0];
  const Spec& w = in[1];
  require_images(name, x);
  require_same_dtype(name, x, w);
  if (w.shape.rank() != 4)
    throw ShapeError(
        fmt::format("[conv2d] weight must be (O, I / groups, KH, KW), not {}", to_string(w.shape)));
  if (params.groups < 1 || x.shape[1] % params.groups != 0 || x.shape[1] / params.groups != w.shape[1] ||
      w.shape[0] % params.groups != 0) {
    throw ShapeError(
        fmt::format("[conv2d] channels do not fit: x {}, weight {}, groups {}; x needs {} channels for each "
                    "group and the "
                    "outputs must divide by the groups",
                    to_string(x.shape), to_string(w.shape), params.groups, w.shape[1]));
  }
  if (has_bias) {
    require_same_dtype(name, x, in[2]);
    if (!(in[2].shape == Shape{w.shape[0]})) {
      throw ShapeError(fmt::format("[conv2d] bias {} for {} outputs", to_string(in[2].shape), w.shape[0]));
    }
  }
  Spec out = x;
  out.channels_last = true;
  out.shape.set(1, w.shape[0]);
  for (int k = 0; k < 2; ++k) {
    const auto i = static_cast<std::size_t>(k);
    if (params.stride[i] < 1 || params.dilation[i] < 1 || params.padding[i] < 0 || w.shape[2 + k] < 1) {
      throw ValueError(fmt::format(
          "[conv2d] stride {}, dilation {}, padding {}, kernel {}: all but the padding start at 1",
          params.stride[i], params.dilation[i], params.padding[i], w.shape[2 + k]));
    }
    const std::int64_t span =
        checked::add(name, checked::multiply(name, params.dilation[i], w.shape[2 + k] - 1), 1);
    out.shape.set(2 + k, positions(name, x, x.shape[2 + k], span, params.stride[i], params.padding[i]));
  }
  return {out};
}

double Conv2d::flops(SpecSpan in) const {
  const Shape& w = in[1].shape;  // (O, I / groups, KH, KW)
  return 2.0 * static_cast<double>(infer(in)[0].shape.numel()) * static_cast<double>(w[1] * w[2] * w[3]);
}

Saves Conv2d::saves(GradMask needs) const {
  return {.inputs = ((needs & 1) != 0 ? 2u : 0u) | ((needs & 2) != 0 ? 1u : 0u), .outputs = 0};
}

void Conv2d::forward(const Exec& exec, Inputs in, Outputs out) const {
  const kernels::ConstView x = exec.channels_last(in[0]);
  const kernels::ConstView w = exec.contiguous(in[1]);
  const kernels::View y = out[0];
  const std::size_t bytes = kernels::conv2d_workspace_bytes(exec.queue().device, ConvPass::forward, params, x,
                                                            w, y, kernels::Write::overwrite);
  kernels::conv2d_forward(exec.queue(), params, x, w, has_bias ? in[2] : kernels::ConstView(), y,
                          exec.scratch(bytes));
}

void Conv2d::backward(const Exec& exec, const Saved& saved, OutGrads grads, GradSlots slots) const {
  const kernels::ConstView dy = exec.channels_last(grads[0]);
  if (slots.wants(0)) {
    const kernels::ConstView w = exec.contiguous(saved.input(1));
    through_channels_last(exec, slots[0], [&](const kernels::Target& dx) {
      const std::size_t bytes = kernels::conv2d_workspace_bytes(exec.queue().device, ConvPass::backward_data,
                                                                params, dx.view, w, dy, dx.write);
      kernels::conv2d_backward_data(exec.queue(), params, dy, w, dx, exec.scratch(bytes));
    });
  }
  if (slots.wants(1)) {
    const kernels::ConstView x = exec.channels_last(saved.input(0));
    const kernels::Target dw = row_major(exec, slots[1]);
    const std::size_t bytes = kernels::conv2d_workspace_bytes(exec.queue().device, ConvPass::backward_weight,
                                                              params, x, dw.view, dy, dw.write);
    kernels::conv2d_backward_weight(exec.queue(), params, x, dy, dw, exec.scratch(bytes));
    store(exec, dw, slots[1]);
  }
  if (slots.wants(2)) {
    kernels::Target dbias = slots[2];  // (O) seen as (1, O, 1, 1): a sum over all other axes
    dbias.view.rank = 4;
    dbias.view.sizes = {1, dy.sizes[1], 1, 1};
    dbias.view.strides = {0, 1, 0, 0};
    const std::size_t bytes =
        kernels::reduce_workspace_bytes(exec.queue().device, kernels::Reduce::sum, dy, dbias.view);
    kernels::reduce(exec.queue(), kernels::Reduce::sum, dy, dbias, exec.scratch(bytes));
  }
}

Specs MaxPool2d::infer(SpecSpan in) const {
  const Spec out = pooled(name, params, in[0]);
  Spec index = out;
  index.dtype = DType::int32;
  return {out, index};
}

void MaxPool2d::forward(const Exec& exec, Inputs in, Outputs out) const {
  kernels::max_pool2d_forward(exec.queue(), params, exec.channels_last(in[0]), out[0], out[1]);
}

void MaxPool2d::backward(const Exec& exec, const Saved& saved, OutGrads dy, GradSlots dx) const {
  through_channels_last(exec, dx[0], [&](const kernels::Target& target) {
    kernels::max_pool2d_backward(exec.queue(), params, saved.output(1), exec.channels_last(dy[0]), target);
  });
}

Specs AvgPool2d::infer(SpecSpan in) const { return {pooled(name, params, in[0])}; }

void AvgPool2d::forward(const Exec& exec, Inputs in, Outputs out) const {
  kernels::avg_pool2d_forward(exec.queue(), params, exec.channels_last(in[0]), out[0]);
}

void AvgPool2d::backward(const Exec& exec, const Saved&, OutGrads dy, GradSlots dx) const {
  through_channels_last(exec, dx[0], [&](const kernels::Target& target) {
    kernels::avg_pool2d_backward(exec.queue(), params, exec.channels_last(dy[0]), target);
  });
}

}  // namespace ops

Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias, const Conv2dParams& params) {
  const ops::Conv2d op{.params = params, .has_bias = bias.defined()};
  return bias.defined() ? apply(op, x, weight, bias) : apply(op, x, weight);
}

Tensor max_pool2d(const Tensor& x, const Pool2dParams& params) {
  return apply(ops::MaxPool2d{.params = params}, x);
}
Tensor avg_pool2d(const Tensor& x, const Pool2dParams& params) {
  return apply(ops::AvgPool2d{.params = params}, x);
}
Tensor global_avg_pool2d(const Tensor& x) { return mean(x, {2, 3}); }

}  // namespace reprise
