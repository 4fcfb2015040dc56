#include "reprise/ops/norm.h"

#include <fmt/format.h>

#include <cmath>

#include "reprise/kernels/elementwise.h"
#include "reprise/ops/broadcast.h"
#include "row_major.h"
#include "rows.h"

namespace reprise {
namespace ops {
namespace {

using kernels::ConstView;
using kernels::View;

/// Statistics of 16-bit tensors are kept in float32.
DType statistics_dtype(DType dtype) { return dtype == DType::float64 ? DType::float64 : DType::float32; }

void require_eps(std::string_view name, double eps) {
  if (std::isfinite(eps) && eps >= 0) return;
  throw ValueError(fmt::format("[{}] eps is {}; it must be a finite number from 0 on", name, eps));
}

void require_parameter(std::string_view name, const char* what, const Spec& x, const Spec& parameter,
                       std::int64_t channels) {
  require_same_dtype(name, x, parameter);
  if (parameter.shape == Shape{channels}) return;
  throw ShapeError(fmt::format("[{}] {} {} for x {}; give ({})", name, what, to_string(parameter.shape),
                               to_string(x.shape), channels));
}

std::int64_t row_length(std::string_view name, const Spec& x) {
  require_floating(name, x);
  if (x.shape.rank() < 1) throw ShapeError(fmt::format("[{}] a scalar has no axis to normalise", name));
  return x.shape[x.shape.rank() - 1];
}

Spec row_statistic(const Spec& x) {
  Spec spec{statistics_dtype(x.dtype), x.device, false, Shape{}};
  std::int64_t rows = 1;
  for (int axis = 0; axis < x.shape.rank() - 1; ++axis) rows *= x.shape[axis];
  spec.shape.push_back(rows);
  return spec;
}

Spec row_output(Spec spec) {
  spec.channels_last = false;
  return spec;
}

std::int64_t batch_channels(std::string_view name, const Spec& x) {
  require_floating(name, x);
  if (x.shape.rank() != 4 && x.shape.rank() != 2) {
    throw ShapeError(fmt::format("[{}] x must be (N, C, H, W) or (N, C), not {}", name, to_string(x.shape)));
  }
  return x.shape[1];
}

Spec batch_output(const Spec& x) {
  Spec y = x;
  y.channels_last = x.shape.rank() == 4;
  return y;
}

/// The memory order in which the batch-norm kernels read.
ConstView batch_order(const Exec& exec, const ConstView& x) {
  return x.rank == 4 ? exec.channels_last(x) : exec.contiguous(x);
}

struct BatchNormBackward {
  double eps;
  bool relu;
  bool training;
  ConstView x, mean, variance, weight, bias;
};

void batch_norm_backward(const Exec& exec, const BatchNormBackward& call, const ConstView& grad,
                         GradSlots slots) {
  const ConstView dy = batch_order(exec, grad);
  const ConstView x = batch_order(exec, call.x);
  kernels::Target dx = slots[0];
  const bool in_order = !dx || dx.view.same_layout(x);
  const kernels::Target slot = dx;
  if (!in_order) {
    dx = {exec.temporary(x.dtype, Shape(std::span(x.sizes.data(), static_cast<std::size_t>(x.rank))),
                         x.rank == 4),
          kernels::Write::overwrite};
  }
  const std::size_t bytes = kernels::batch_norm_workspace_bytes(exec.queue().device, x);
  kernels::batch_norm_backward(exec.queue(), call.eps, call.relu, call.training, x,
                               exec.contiguous(call.mean), exec.contiguous(call.variance),
                               exec.contiguous(call.weight), exec.contiguous(call.bias), dy, dx, slots[1],
                               slots[2], exec.scratch(bytes));
  if (!in_order) kernels::copy(exec.queue(), dx.view, slot);
}

}  // namespace

Specs LayerNorm::infer(SpecSpan in) const {
  require_eps(name, eps);
  const std::int64_t channels = row_length(name, in[0]);
  require_parameter(name, "weight", in[0], in[1], channels);
  require_parameter(name, "bias", in[0], in[2], channels);
  return {row_output(in[0]), row_statistic(in[0]), row_statistic(in[0])};
}

Saves LayerNorm::saves(GradMask needs) const {
  return {.inputs = (needs & 3) != 0 ? 3u : 0u, .outputs = (needs & 3) != 0 ? 6u : 0u};
}

void LayerNorm::forward(const Exec& exec, Inputs in, Outputs out) const {
  kernels::layer_norm_forward(exec.queue(), eps, filled_rows(exec.contiguous(in[0])), exec.contiguous(in[1]),
                              exec.contiguous(in[2]), filled_rows(out[0]), out[1], out[2]);
}

void LayerNorm::backward(const Exec& exec, const Saved& saved, OutGrads grads, GradSlots slots) const {
  const ConstView dy = filled_rows(exec.contiguous(grads[0]));
  if (!slots.wants(0) && !slots.wants(1)) {  // the bias alone needs nothing of x
    sum_to(exec, dy, slots[2]);
    return;
  }
  const ConstView x = filled_rows(exec.contiguous(saved.input(0)));
  const std::size_t bytes = kernels::norm_backward_workspace_bytes(exec.queue().device, x);
  const kernels::Target dx = row_major(exec, slots[0]);
  kernels::layer_norm_backward(exec.queue(), x, exec.contiguous(saved.input(1)), saved.output(1),
                               saved.output(2), dy, filled_rows(dx), slots[1], slots[2], exec.scratch(bytes));
  store(exec, dx, slots[0]);
}

Specs RmsNorm::infer(SpecSpan in) const {
  require_eps(name, eps);
  require_parameter(name, "weight", in[0], in[1], row_length(name, in[0]));
  return {row_output(in[0]), row_statistic(in[0])};
}

Saves RmsNorm::saves(GradMask) const { return {.inputs = 3, .outputs = 2}; }

void RmsNorm::forward(const Exec& exec, Inputs in, Outputs out) const {
  kernels::rms_norm_forward(exec.queue(), eps, filled_rows(exec.contiguous(in[0])), exec.contiguous(in[1]),
                            filled_rows(out[0]), out[1]);
}

void RmsNorm::backward(const Exec& exec, const Saved& saved, OutGrads grads, GradSlots slots) const {
  const ConstView x = filled_rows(exec.contiguous(saved.input(0)));
  const std::size_t bytes = kernels::norm_backward_workspace_bytes(exec.queue().device, x);
  const kernels::Target dx = row_major(exec, slots[0]);
  kernels::rms_norm_backward(exec.queue(), x, exec.contiguous(saved.input(1)), saved.output(1),
                             filled_rows(exec.contiguous(grads[0])), filled_rows(dx), slots[1],
                             exec.scratch(bytes));
  store(exec, dx, slots[0]);
}

Specs BatchNorm::infer(SpecSpan in) const {
  require_eps(name, eps);
  const std::int64_t channels = batch_channels(name, in[0]);
  require_parameter(name, "weight", in[0], in[1], channels);
  require_parameter(name, "bias", in[0], in[2], channels);
  if (channels > 0 && in[0].shape.numel() / channels < 2) {
    throw ShapeError(fmt::format(
        "[batch_norm] {} has fewer than two values per channel: no variance; use a larger batch or "
        "evaluation mode",
        to_string(in[0].shape)));
  }
  const Spec statistic{statistics_dtype(in[0].dtype), in[0].device, false, Shape{channels}};
  return {batch_output(in[0]), statistic, statistic};
}

Saves BatchNorm::saves(GradMask) const { return {.inputs = relu ? 7u : 3u, .outputs = 6}; }

void BatchNorm::forward(const Exec& exec, Inputs in, Outputs out) const {
  const ConstView x = batch_order(exec, in[0]);
  const std::size_t bytes = kernels::batch_norm_workspace_bytes(exec.queue().device, x);
  kernels::batch_norm_statistics(exec.queue(), x, out[1], out[2], exec.scratch(bytes));
  kernels::batch_norm_apply(exec.queue(), eps, relu, x, out[1], out[2], exec.contiguous(in[1]),
                            exec.contiguous(in[2]), out[0]);
}

void BatchNorm::backward(const Exec& exec, const Saved& saved, OutGrads grads, GradSlots slots) const {
  const BatchNormBackward call{eps,
                               relu,
                               true,
                               saved.input(0),
                               saved.output(1),
                               saved.output(2),
                               saved.input(1),
                               relu ? saved.input(2) : ConstView()};
  batch_norm_backward(exec, call, grads[0], slots);
}

Specs BatchNormFixed::infer(SpecSpan in) const {
  require_eps(name, eps);
  const std::int64_t channels = batch_channels(name, in[0]);
  require_parameter(name, "weight", in[0], in[1], channels);
  require_parameter(name, "bias", in[0], in[2], channels);
  for (std::size_t i : {3u, 4u}) {
    if (in[i].dtype != statistics_dtype(in[0].dtype) || !(in[i].shape == Shape{channels})) {
      throw ShapeError(fmt::format("[batch_norm_fixed] {} is {} {}; give {} ({})",
                                   i == 3 ? "mean" : "variance", name_of(in[i].dtype), to_string(in[i].shape),
                                   name_of(statistics_dtype(in[0].dtype)), channels));
    }
  }
  return {batch_output(in[0])};
}

Saves BatchNormFixed::saves(GradMask) const { return {.inputs = relu ? 31u : 27u, .outputs = 0}; }

void BatchNormFixed::forward(const Exec& exec, Inputs in, Outputs out) const {
  kernels::batch_norm_apply(exec.queue(), eps, relu, batch_order(exec, in[0]), exec.contiguous(in[3]),
                            exec.contiguous(in[4]), exec.contiguous(in[1]), exec.contiguous(in[2]), out[0]);
}

void BatchNormFixed::backward(const Exec& exec, const Saved& saved, OutGrads grads, GradSlots slots) const {
  const BatchNormBackward call{eps,
                               relu,
                               false,
                               saved.input(0),
                               saved.input(3),
                               saved.input(4),
                               saved.input(1),
                               relu ? saved.input(2) : ConstView()};
  batch_norm_backward(exec, call, grads[0], slots);
}

}  // namespace ops

Tensor layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, double eps) {
  return apply(ops::LayerNorm{.eps = eps}, x, weight, bias);
}

Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps) {
  return apply(ops::RmsNorm{.eps = eps}, x, weight);
}

BatchNormResult batch_norm(Tensor x, const Tensor& weight, const Tensor& bias, double eps, bool relu) {
  std::vector<Tensor> out = apply_all(ops::BatchNorm{.eps = eps, .relu = relu}, {std::move(x), weight, bias});
  return {std::move(out[0]), std::move(out[1]), std::move(out[2])};
}

Tensor batch_norm_fixed(Tensor x, const Tensor& weight, const Tensor& bias, const Tensor& mean,
                        const Tensor& variance, double eps, bool relu) {
  return apply(ops::BatchNormFixed{.eps = eps, .relu = relu}, std::move(x), weight, bias, mean, variance);
}

}  // namespace reprise
