#include <fmt/format.h>

#include <cmath>

#include "reprise/device.h"
#include "reprise/error.h"
#include "reprise/kernels/reduce.h"
#include "reprise/nn/optim.h"
#include "reprise/operation.h"
#include "reprise/span.h"
#include "reprise/tape.h"

namespace reprise::nn {

GlobalNorm global_norm(std::span<const Tensor> parameters, double max_norm, bool refuse_nonfinite) {
  if (!(max_norm >= 0)) {
    throw ValueError(
        fmt::format("[global_norm] the largest norm is {}; give a number above 0, or 0 for none", max_norm));
  }
  const NoGrad no_grad;
  std::vector<kernels::ConstView> gradients;
  Device device = default_device();
  for (const Tensor& parameter : distinct(parameters)) {
    const Tensor gradient = parameter.grad();
    if (!gradient.defined()) continue;
    if (!gradients.empty() && gradient.device() != device) {
      throw TypeError(fmt::format("[global_norm] gradients are on {} and {}", to_string(device),
                                  to_string(gradient.device())));
    }
    device = gradient.device();
    gradients.emplace_back(view_of(*gradient.value()));
  }
  const SpanScope span("global_norm", Phase::optimiser, device);
  const TensorOptions options{.dtype = DType::float64, .device = device, .category = Category::workspace};
  GlobalNorm result{empty({}, options), empty({}, options)};
  const Exec exec(device, {});
  const std::size_t bytes = kernels::global_norm_workspace_bytes(device.kind, gradients);
  kernels::global_norm(exec.queue(), gradients, max_norm, view_of(*result.norm.value()),
                       view_of(*result.scale.value()), exec.scratch(bytes));
  if (!refuse_nonfinite) return result;
  if (const double norm = result.norm.item<double>(); !std::isfinite(norm)) {
    throw ValueError(
        fmt::format("[global_norm] the norm of the gradients is {}: skip this step with zero_grad(); "
                    "AnomalyMode finds the operation that gave the first NaN",
                    norm));
  }
  return result;
}

double gradient_norm(std::span<const Tensor> parameters) {
  return global_norm(parameters, 0).norm.item<double>();
}

}  // namespace reprise::nn
