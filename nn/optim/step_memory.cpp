#include "step_memory.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>

#include "reprise/device.h"
#include "reprise/error.h"
#include "reprise/in_place.h"
#include "reprise/kernels/elementwise.h"
#include "reprise/ops/elementwise.h"
#include "reprise/span.h"
#include "reprise/tape.h"
#include "shared_elements.h"

namespace reprise::nn::detail {
namespace {

/// The dense layout of `parameter`'s state.
kernels::Layout dense_layout(const Tensor& parameter) {
  kernels::Layout layout = view_of(*parameter.value());
  layout.strides = parameter.spec().channels_last ? channels_last_strides(parameter.shape())
                                                  : row_major_strides(parameter.shape());
  return layout;
}

void require_parameter(const char* optimiser, const Tensor& parameter, std::size_t group, std::size_t i) {
  if (!parameter.defined()) {
    throw Error(fmt::format("[{}] parameter {} of group {} is an undefined tensor", optimiser, i, group));
  }
  const std::string name = describe(*parameter.value());
  if (!parameter.is_leaf())
    throw TapeError(
        fmt::format("[{}] {} is not a leaf; give the tensor it was computed from", optimiser, name));
  if (!is_floating(parameter.dtype())) {
    throw TypeError(fmt::format("[{}] {} is {}; a parameter must be of a floating type", optimiser, name,
                                name_of(parameter.dtype())));
  }
  if (!has_distinct_elements(parameter)) {
    throw TapeError(fmt::format(
        "[{}] {} shows the same memory several times, as expanded tensors do; give the tensor that "
        "it is a view of, or a clone()",
        optimiser, name));
  }
}

/// Parameters may be views of one memory, such as slices of a flat buffer, but not of the same elements.
void require_own_elements(const char* optimiser, std::span<const DecayedParameter> parameters) {
  std::vector<Tensor> tensors;
  for (const DecayedParameter& entry : parameters) tensors.push_back(entry.parameter);
  if (const auto shared = find_shared_elements(tensors)) {
    throw ValueError(
        fmt::format("[{}] {} and {} share memory: a step would change it twice; give one of them", optimiser,
                    describe(*shared->first.value()), describe(*shared->second.value())));
  }
}

}  // namespace

Tensor state_like(const Tensor& parameter) {
  const SpanScope span("optimiser state", Phase::optimiser, parameter.device());
  const DType dtype = parameter.dtype() == DType::float64 ? DType::float64 : DType::float32;
  return zeros(parameter.shape(), {.dtype = dtype,
                                   .device = parameter.device(),
                                   .category = Category::optimiser,
                                   .channels_last = parameter.spec().channels_last});
}

Tensor master_of(const Tensor& parameter) {
  if (size_of(parameter.dtype()) != 2) return {};
  const NoGrad no_grad;
  return state_like(parameter).copy_(parameter);
}

void follow_parameter(const Tensor& parameter, Tensor& master, std::uint32_t version) {
  if (!master.defined() || parameter.version() == version) return;
  const NoGrad no_grad;
  const Tensor now = parameter.detach();
  master.copy_(where(equal(master.to(now.dtype()), now), master, now.to(master.dtype())));
}

std::vector<DecayedParameter> checked_parameters(const char* optimiser,
                                                 const std::vector<ParameterGroup>& groups) {
  std::vector<DecayedParameter> all;
  std::map<const Value*, std::size_t> group_of;
  for (std::size_t group = 0; group < groups.size(); ++group) {
    require_in(optimiser, "the weight decay", groups[group].weight_decay, 0,
               std::numeric_limits<double>::infinity());
    for (std::size_t i = 0; i < groups[group].parameters.size(); ++i) {
      const Tensor& parameter = groups[group].parameters[i];
      require_parameter(optimiser, parameter, group, i);
      const auto [known, is_new] = group_of.emplace(parameter.value(), group);
      if (!is_new && known->second == group) continue;  // a weight that two members share
      if (!is_new) {
        throw ValueError(fmt::format("[{}] {} is in group {} and in group {}; list it in one of them",
                                     optimiser, describe(*parameter.value()), known->second, group));
      }
      if (!all.empty() && parameter.device() != all.front().parameter.device()) {
        throw TypeError(fmt::format("[{}] parameters are on {} and {}; make an optimiser for each device",
                                    optimiser, to_string(all.front().parameter.device()),
                                    to_string(parameter.device())));
      }
      all.push_back({parameter, groups[group].weight_decay});
    }
  }
  require_own_elements(optimiser, all);
  return all;
}

Device device_of(std::span<const DecayedParameter> parameters) {
  return parameters.empty() ? default_device() : parameters.front().parameter.device();
}

void require_in(const char* optimiser, const char* what, double number, double low, double high) {
  if (std::isfinite(number) && number >= low && number < high) return;
  throw ValueError(
      std::isinf(high)
          ? fmt::format("[{}] {} is {}; it must be a finite number from {} on", optimiser, what, number, low)
          : fmt::format("[{}] {} is {}; it must be in [{}, {})", optimiser, what, number, low, high));
}

void require_rate(const char* optimiser, double lr) {
  require_in(optimiser, "the learning rate", lr, 0, std::numeric_limits<double>::infinity());
}

Tensor scale_tensor(const char* optimiser, double scale, Device device) {
  if (!std::isfinite(scale))
    throw ValueError(fmt::format("[{}] the gradient scale is {}; give a finite number", optimiser, scale));
  return scale == 1 ? Tensor() : scalar(scale, {.dtype = DType::float64, .device = device});
}

std::vector<const Storage*> storages_of(std::span<const Tensor> tensors) {
  std::vector<const Storage*> storages;
  for (const Tensor& tensor : tensors) {
    if (tensor.defined()) storages.push_back(tensor.value()->storage);
  }
  std::sort(storages.begin(), storages.end(), std::less<>());
  return storages;
}

bool StepMemory::changes(const Tensor& tensor) const {
  return std::binary_search(storages_.begin(), storages_.end(), tensor.value()->storage, std::less<>());
}

kernels::View StepMemory::copy_of(const kernels::ConstView& view, const kernels::Layout& layout,
                                  DType dtype) {
  kernels::ConstView wanted;
  static_cast<kernels::Layout&>(wanted) = layout;
  wanted.dtype = dtype;
  const kernels::View copy = exec_.laid_out_scratch(wanted);
  kernels::copy(exec_.queue(), view, {copy, kernels::Write::overwrite});
  return copy;
}

kernels::View StepMemory::parameter(const Tensor& parameter) {
  parameters_.push_back(parameter);
  const kernels::View own = view_of(*parameter.value());
  const kernels::Layout dense = dense_layout(parameter);
  if (own.same_layout(dense)) return own;
  copied_.push_back({copy_of(own, dense, own.dtype), own});
  return copied_.back().from;
}

kernels::ConstView StepMemory::gradient(const Tensor& gradient, const Tensor& parameter) {
  const kernels::ConstView own = view_of(*gradient.value());
  const kernels::Layout dense = dense_layout(parameter);
  return own.same_layout(dense) && !changes(gradient) ? own : copy_of(own, dense, own.dtype);
}

kernels::ConstView StepMemory::scale(const Tensor& scale) {
  if (!scale.defined()) return {};
  if (scale.numel() != 1) {
    throw ShapeError(fmt::format("[{}] the gradient scale is {}; give a single number", optimiser_,
                                 to_string(scale.shape())));
  }
  if (!is_floating(scale.dtype())) {
    throw TypeError(fmt::format("[{}] the gradient scale is {}; give a floating one", optimiser_,
                                name_of(scale.dtype())));
  }
  if (scale.device() != exec_.device()) {
    throw TypeError(
        fmt::format("[{}] the gradient scale is on {}, the parameters on {}; move it with to(Device)",
                    optimiser_, to_string(scale.device()), to_string(exec_.device())));
  }
  const kernels::View own = view_of(*scale.value());
  return scale.dtype() == DType::float64 && !changes(scale) ? kernels::ConstView(own)
                                                            : copy_of(own, own, DType::float64);
}

void StepMemory::begin() {
  for (const Tensor& parameter : parameters_) require_changeable(optimiser_, parameter);
  for (const Tensor& parameter : parameters_) change_in_place(optimiser_, parameter);
}

void StepMemory::finish() {
  for (const Copied& copied : copied_)
    kernels::copy(exec_.queue(), copied.from, {copied.to, kernels::Write::overwrite});
}

kernels::View view_or_null(const Tensor& tensor) {
  return tensor.defined() ? view_of(*tensor.value()) : kernels::View();
}

void put_rates(const std::vector<double>& rates, Device device, Tensor& kept) {
  const Tensor fresh =
      from_host<double>(rates, {static_cast<std::int64_t>(rates.size())},
                        {.dtype = DType::float64, .device = device, .category = Category::optimiser});
  if (kept.defined() && kept.shape() == fresh.shape())
    kept.copy_(fresh);
  else
    kept = fresh;
}

}  // namespace reprise::nn::detail
