#include "reprise/nn/layers.h"

#include <fmt/format.h>

#include <cmath>

#include "reprise/checked.h"
#include "reprise/device.h"
#include "reprise/in_place.h"
#include "reprise/kernels/norm.h"
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

void require_finite(const char* initialisation, const char* what, double value) {
  if (std::isfinite(value) && value >= 0) return;
  throw ValueError(
      fmt::format("[{}] {} is {}; it must be a finite number from 0 on", initialisation, what, value));
}

}  // namespace

Tensor normal_parameter(const Shape& shape, double deviation) {
  require_finite("normal_parameter", "the deviation", deviation);
  Tensor tensor = parameter(shape);
  kernels::fill_normal(queue_of(tensor.device()), generator().take(), 0.0, deviation,
                       view_of(*tensor.value()));
  return tensor;
}

Tensor uniform_parameter(const Shape& shape, double bound) {
  require_finite("uniform_parameter", "the bound", bound);
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
        std::pair{"the kernel", kernel}, std::pair{"the groups", groups}, std::pair{"the stride", stride},
        std::pair{"the dilation", dilation}}) {
    require_positive("Conv2d", what, value);
  }
  if (padding < 0)
    throw ValueError(fmt::format("[Conv2d] the padding is {}; it must be at least 0", padding));
  if (in % groups != 0 || out % groups != 0) {
    throw ValueError(
        fmt::format("[Conv2d] {} and {} channels do not divide into {} groups", in, out, groups));
  }
  params = {.stride = {stride, stride},
            .padding = {padding, padding},
            .dilation = {dilation, dilation},
            .groups = groups};
  const std::int64_t window = checked::multiply("Conv2d", kernel, kernel);
  const double fan_out =
      static_cast<double>(checked::multiply("Conv2d", out, window)) / static_cast<double>(groups);
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

namespace {

/// Throws unless a buffer can be changed and is as the statistics are that go into it.
void require_buffer(const char* name, const Tensor& buffer, const Spec& wanted) {
  require_changeable("BatchNorm2d", buffer);
  if (!(buffer.shape() == wanted.shape)) {
    throw ShapeError(fmt::format("[BatchNorm2d] {} is {}; it must be {}", name, to_string(buffer.shape()),
                                 to_string(wanted.shape)));
  }
  if (buffer.dtype() != wanted.dtype || buffer.device() != wanted.device) {
    throw TypeError(fmt::format("[BatchNorm2d] {} is {} on {}; it must be {} on {}", name,
                                name_of(buffer.dtype()), to_string(buffer.device()), name_of(wanted.dtype),
                                to_string(wanted.device)));
  }
}

/// Folds a batch's statistics into the running ones, all three buffers or none.
void fold_in(const BatchNorm2d& norm, const BatchNormResult& batch, double unbias) {
  const NoGrad no_grad;
  Spec statistic = batch.mean.spec(), counter = statistic;
  if (norm.running_mean.defined() && is_floating(norm.running_mean.dtype()))
    statistic.dtype = norm.running_mean.dtype();
  counter.dtype = DType::int64;
  counter.shape = {};
  require_buffer("running_mean", norm.running_mean, statistic);
  require_buffer("running_var", norm.running_var, statistic);
  require_buffer("num_batches_tracked", norm.num_batches_tracked, counter);
  const Tensor mean = batch.mean.to(statistic.dtype), variance = batch.variance.to(statistic.dtype);
  const auto changed = [](const Tensor& buffer) { return change_in_place("BatchNorm2d", buffer); };
  kernels::batch_norm_running(queue_of(statistic.device), norm.momentum, unbias, view_of(*mean.value()),
                              view_of(*variance.value()), changed(norm.running_mean),
                              changed(norm.running_var), changed(norm.num_batches_tracked));
}

}  // namespace

Tensor BatchNorm2d::operator()(Tensor x, bool relu) {
  if (!(momentum >= 0 && momentum <= 1))  // also where it has no effect: it would later
    throw ValueError(fmt::format("[BatchNorm2d] the momentum is {}; it must be in [0, 1]", momentum));
  if (!training) return batch_norm_fixed(std::move(x), weight, bias, running_mean, running_var, eps, relu);
  const double count =
      static_cast<double>(x.numel()) / static_cast<double>(std::max<std::int64_t>(x.size(1), 1));
  BatchNormResult result = batch_norm(std::move(x), weight, bias, eps, relu);
  fold_in(*this, result, count / (count - 1));  // the unbiased variance
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

LayerNorm::LayerNorm(std::int64_t channels) {
  require_positive("LayerNorm", "the number of channels", channels);
  weight = constant_parameter({channels}, 1);
  bias = constant_parameter({channels}, 0);
}

void LayerNorm::visit(Visitor& v) {
  v.parameter("weight", weight);
  v.parameter("bias", bias);
}

RmsNorm::RmsNorm(std::int64_t channels) {
  require_positive("RmsNorm", "the number of channels", channels);
  weight = constant_parameter({channels}, 1);
}

void RmsNorm::visit(Visitor& v) { v.parameter("weight", weight); }

Embedding::Embedding(std::int64_t count, std::int64_t channels, double deviation) {
  require_positive("Embedding", "the number of rows", count);
  require_positive("Embedding", "the number of channels", channels);
  weight = normal_parameter({count, channels}, deviation);
}

void Embedding::visit(Visitor& v) { v.parameter("weight", weight); }

}  // namespace reprise::nn
