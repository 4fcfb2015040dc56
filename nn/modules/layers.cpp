#include "reprise/nn/layers.h"

#include <fmt/format.h>

#include <cmath>

#include "reprise/device.h"
#include "reprise/kernels/random.h"
#include "reprise/tape.h"

namespace reprise::nn {
namespace {

Tensor parameter(const Shape& shape) {
  Tensor tensor = empty(shape, {.category = Category::parameters});
  tensor.set_requires_grad(true);
  return tensor;
}

Tensor buffer(const Shape& shape, double value, DType dtype = DType::float32) {
  return full(shape, value, {.dtype = dtype, .category = Category::parameters});
}

void require_positive(const char* layer, const char* what, std::int64_t value) {
  if (value < 1) throw ValueError(fmt::format("[{}] {} is {}; it must be at least 1", layer, what, value));
}

}  // namespace

Tensor normal_parameter(const Shape& shape, double deviation) {
  Tensor tensor = parameter(shape);
  kernels::fill_normal(queue_of(tensor.device()), generator().take(), 0.0, deviation,
                       view_of(*tensor.value()));
  return tensor;
}

Tensor uniform_parameter(const Shape& shape, double bound) {
  Tensor tensor = parameter(shape);
  kernels::fill_uniform(queue_of(tensor.device()), generator().take(), -bound, bound,
                        view_of(*tensor.value()));
  return tensor;
}

Tensor constant_parameter(const Shape& shape, double value) {
  Tensor tensor = parameter(shape);
  kernels::fill(queue_of(tensor.device()), value, view_of(*tensor.value()));
  return tensor;
}

Linear::Linear(std::int64_t in, std::int64_t out, bool has_bias) {
  require_positive("Linear", "the input size", in);
  require_positive("Linear", "the output size", out);
  const double bound = 1.0 / std::sqrt(static_cast<double>(in));
  weight = uniform_parameter({out, in}, bound);
  if (has_bias) bias = uniform_parameter({out}, bound);
}

void Linear::visit(Visitor& v) {
  v.parameter("weight", weight);
  v.parameter("bias", bias);
}

Conv2d::Conv2d(std::int64_t in, std::int64_t out, std::int64_t kernel, std::int64_t stride,
               std::int64_t padding, bool has_bias, std::int64_t groups, std::int64_t dilation) {
  for (const auto& [what, value] :
       {std::pair{"the input channels", in}, std::pair{"the output channels", out},
        std::pair{"the kernel", kernel}, std::pair{"the groups", groups}}) {
    require_positive("Conv2d", what, value);
  }
  if (in % groups != 0 || out % groups != 0) {
    throw ValueError(
        fmt::format("[Conv2d] {} and {} channels do not divide into {} groups", in, out, groups));
  }
  params = {.stride = {stride, stride},
            .padding = {padding, padding},
            .dilation = {dilation, dilation},
            .groups = groups};
  const double fan_out = static_cast<double>(out * kernel * kernel) / static_cast<double>(groups);
  weight = normal_parameter({out, in / groups, kernel, kernel}, std::sqrt(2.0 / fan_out));
  if (has_bias) bias = constant_parameter({out}, 0);
}

void Conv2d::visit(Visitor& v) {
  v.parameter("weight", weight);
  v.parameter("bias", bias);
}

BatchNorm2d::BatchNorm2d(std::int64_t channels) {
  require_positive("BatchNorm2d", "the number of channels", channels);
  weight = constant_parameter({channels}, 1);
  bias = constant_parameter({channels}, 0);
  running_mean = buffer({channels}, 0);
  running_var = buffer({channels}, 1);
  num_batches_tracked = buffer({}, 0, DType::int64);
}

Tensor BatchNorm2d::operator()(Tensor x, bool relu) {
  if (!training) return batch_norm_fixed(std::move(x), weight, bias, running_mean, running_var, eps, relu);
  const double count =
      static_cast<double>(x.numel()) / static_cast<double>(std::max<std::int64_t>(x.size(1), 1));
  BatchNormResult result = batch_norm(std::move(x), weight, bias, eps, relu);
  const NoGrad no_grad;
  running_mean.mul_(1 - momentum).add_(result.mean.to(running_mean.dtype()), momentum);
  running_var.mul_(1 - momentum)
      .add_(result.variance.to(running_var.dtype()),
            momentum * count / (count - 1));  // the unbiased variance
  num_batches_tracked.add_(ones({}, {.dtype = DType::int64, .device = num_batches_tracked.device()}));
  return std::move(result.y);
}

void BatchNorm2d::visit(Visitor& v) {
  v.parameter("weight", weight);
  v.parameter("bias", bias);
  v.buffer("running_mean", running_mean);
  v.buffer("running_var", running_var);
  v.buffer("num_batches_tracked", num_batches_tracked);
  v.mode(training);
}

LayerNorm::LayerNorm(std::int64_t channels)
    : weight(constant_parameter({channels}, 1)), bias(constant_parameter({channels}, 0)) {}

void LayerNorm::visit(Visitor& v) {
  v.parameter("weight", weight);
  v.parameter("bias", bias);
}

RmsNorm::RmsNorm(std::int64_t channels) : weight(constant_parameter({channels}, 1)) {}

void RmsNorm::visit(Visitor& v) { v.parameter("weight", weight); }

Embedding::Embedding(std::int64_t count, std::int64_t channels, double deviation)
    : weight(normal_parameter({count, channels}, deviation)) {}

void Embedding::visit(Visitor& v) { v.parameter("weight", weight); }

}  // namespace reprise::nn
