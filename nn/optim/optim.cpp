#include "reprise/nn/optim.h"

#include <fmt/format.h>

#include <cmath>
#include <numbers>

#include "reprise/device.h"
#include "reprise/error.h"
#include "reprise/in_place.h"
#include "reprise/kernels/optimiser.h"
#include "reprise/kernels/reduce.h"
#include "reprise/operation.h"
#include "reprise/span.h"
#include "reprise/tape.h"

namespace reprise::nn {
namespace {

/// A zeroed tensor for an optimiser's state, laid out as the parameter.
Tensor state_like(const Tensor& parameter) {
  const SpanScope span("optimiser state", Phase::optimiser, parameter.device());
  const DType dtype = parameter.dtype() == DType::float64 ? DType::float64 : DType::float32;
  return zeros(parameter.shape(), {.dtype = dtype,
                                   .device = parameter.device(),
                                   .category = Category::optimiser,
                                   .channels_last = parameter.spec().channels_last});
}

/// A float32 copy of a 16-bit parameter, in its memory order; nothing for others.
Tensor master_of(const Tensor& parameter) {
  if (size_of(parameter.dtype()) != 2) return {};
  const NoGrad no_grad;
  return state_like(parameter).copy_(parameter);
}

kernels::View view_or_null(const Tensor& tensor) {
  return tensor.defined() ? view_of(*tensor.value()) : kernels::View();
}

/// Runs `add(parameter, decay)` for every parameter of the groups, each once.
template <class F>
void for_each_parameter(const std::vector<ParameterGroup>& groups, F&& add) {
  for (const ParameterGroup& group : groups) {
    for (const Tensor& parameter : group.parameters) {
      if (!parameter.is_leaf())
        throw TapeError(fmt::format("[optimiser] {} is not a leaf", describe(*parameter.value())));
      add(parameter, group.weight_decay);
    }
  }
}

/// Where all parameters are.
template <class Entries>
Device device_of(const Entries& entries) {
  return entries.empty() ? default_device() : entries.front().parameter.device();
}

template <class Entries>
void require_one_device(const Entries& entries) {
  for (const auto& entry : entries) {
    if (entry.parameter.device() == device_of(entries)) continue;
    throw TypeError(fmt::format("[optimiser] parameters are on {} and {}; make an optimiser for each device",
                                to_string(device_of(entries)), to_string(entry.parameter.device())));
  }
}

/// A scale as the kernels take it: nothing for 1.
Tensor scale_tensor(double scale, Device device) {
  return scale == 1 ? Tensor() : scalar(scale, {.dtype = DType::float64, .device = device});
}

/// `rates`, on the device, in the memory of `kept` where that has their size: a captured graph reads it
/// there.
void put_rates(const std::vector<double>& rates, Device device, Tensor& kept) {
  const Tensor fresh =
      from_host<double>(rates, {static_cast<std::int64_t>(rates.size())},
                        {.dtype = DType::float64, .device = device, .category = Category::optimiser});
  if (kept.defined() && kept.shape() == fresh.shape())
    kept.copy_(fresh);
  else
    kept = fresh;
}

}  // namespace

std::vector<ParameterGroup> decay_matrices(const std::vector<Tensor>& parameters, double weight_decay) {
  std::vector<ParameterGroup> groups{{{}, weight_decay}, {{}, 0.0}};
  for (const Tensor& parameter : parameters)
    groups[parameter.rank() >= 2 ? 0 : 1].parameters.push_back(parameter);
  return groups;
}

AdamW::AdamW(const std::vector<ParameterGroup>& groups, const AdamWOptions& options) : options_(options) {
  for_each_parameter(groups, [&](const Tensor& parameter, double decay) {
    entries_.push_back(
        {parameter, state_like(parameter), state_like(parameter), master_of(parameter), decay, 0});
  });
  require_one_device(entries_);
}

/// Parameters of one number of steps: those that joined late are corrected for their own.
struct AdamW::Launch {
  std::int64_t step = 0;
  std::vector<kernels::AdamWTensor> tensors;
  std::vector<Entry*> entries;
};

/// The parameters that have a gradient, as they will be when `ahead` more steps have been counted.
std::vector<AdamW::Launch> AdamW::launches(std::int64_t ahead) {
  std::vector<Launch> all;
  for (Entry& entry : entries_) {
    const Tensor gradient = entry.parameter.grad();
    if (!gradient.defined()) continue;
    const std::int64_t step = entry.steps + ahead;
    if (all.empty() || all.back().step != step) {
      all.emplace_back();
      all.back().step = step;
    }
    all.back().tensors.push_back({view_of(*entry.parameter.value()), view_of(*gradient.value()),
                                  view_of(*entry.mean.value()), view_of(*entry.variance.value()),
                                  entry.weight_decay, view_or_null(entry.master)});
    all.back().entries.push_back(&entry);
  }
  return all;
}

void AdamW::run(const std::vector<Launch>& all, double lr, const Tensor& gradient_scale,
                const Tensor& rates) {
  const SpanScope span("AdamW", Phase::optimiser, device_of(entries_));
  const NoGrad no_grad;
  for (const Launch& launch : all) {
    for (Entry* entry : launch.entries) change_in_place("AdamW", entry->parameter);
  }
  for (std::size_t i = 0; i < all.size(); ++i) {
    kernels::AdamWParams params{.lr = lr,
                                .beta1 = options_.beta1,
                                .beta2 = options_.beta2,
                                .eps = options_.eps,
                                .step = all[i].step,
                                .gradient_scale = view_or_null(gradient_scale),
                                .rates = view_or_null(rates)};
    if (rates.defined()) params.rates.data = params.rates.as<double>() + 3 * i;
    kernels::adamw_step(queue_of(device_of(entries_)), params, all[i].tensors);
  }
}

void AdamW::step(double lr, const Tensor& gradient_scale) {
  const std::vector<Launch> all = launches(1);
  run(all, lr, gradient_scale, {});
  for (const Launch& launch : all) {
    for (Entry* entry : launch.entries) ++entry->steps;
  }
}

void AdamW::step(double lr, double gradient_scale) {
  step(lr, scale_tensor(gradient_scale, device_of(entries_)));
}

void AdamW::set_rates(double lr) {
  std::vector<double> rates;
  for (const Launch& launch : launches(1)) {
    kernels::AdamWParams params;
    params.lr = lr;
    params.beta1 = options_.beta1;
    params.beta2 = options_.beta2;
    params.step = launch.step;
    const kernels::AdamWRates of_step = kernels::AdamWRates::of(params);
    rates.insert(rates.end(), {of_step.lr, of_step.step_size, of_step.root_correction});
  }
  put_rates(rates, device_of(entries_), rates_);
  for (Entry& entry : entries_) {
    if (entry.parameter.grad().defined()) ++entry.steps;
  }
}

void AdamW::step_with_rates(const Tensor& gradient_scale) {
  const std::vector<Launch> all = launches(0);
  if (rates_.defined() ? rates_.numel() != static_cast<std::int64_t>(3 * all.size()) : !all.empty())
    throw TapeError("[AdamW] step_with_rates: other parameters have gradients than at the last set_rates");
  run(all, 0, gradient_scale, rates_);
}

void AdamW::zero_grad() {
  for (Entry& entry : entries_) entry.parameter.clear_grad();
}

std::vector<Tensor> AdamW::state() const {
  std::vector<Tensor> all;
  for (const Entry& entry : entries_) {
    all.insert(all.end(), {entry.mean, entry.variance});
    if (entry.master.defined()) all.push_back(entry.master);
  }
  return all;
}

Sgd::Sgd(const std::vector<ParameterGroup>& groups, const SgdOptions& options) : options_(options) {
  for_each_parameter(groups, [&](const Tensor& parameter, double decay) {
    entries_.push_back({parameter, options_.momentum != 0 ? state_like(parameter) : Tensor(),
                        master_of(parameter), decay, true});
  });
  require_one_device(entries_);
}

void Sgd::run(double lr, const Tensor& gradient_scale, const Tensor& rates) {
  const SpanScope span("Sgd", Phase::optimiser, device_of(entries_));
  const NoGrad no_grad;
  std::vector<kernels::SgdTensor> first;
  std::vector<kernels::SgdTensor> later;
  std::vector<Entry*> updated;
  for (Entry& entry : entries_) {
    const Tensor gradient = entry.parameter.grad();
    if (!gradient.defined()) continue;
    (entry.first ? first : later)
        .push_back({view_of(*entry.parameter.value()), view_of(*gradient.value()),
                    view_or_null(entry.momentum), entry.weight_decay, view_or_null(entry.master)});
    updated.push_back(&entry);
  }
  for (Entry* entry : updated) {
    change_in_place("Sgd", entry->parameter);
    entry->first = false;
  }
  for (const bool is_first : {true, false}) {
    kernels::sgd_step(queue_of(device_of(entries_)),
                      {.lr = lr,
                       .momentum = options_.momentum,
                       .nesterov = options_.nesterov,
                       .first_step = is_first,
                       .gradient_scale = view_or_null(gradient_scale),
                       .rates = view_or_null(rates)},
                      is_first ? first : later);
  }
}

void Sgd::step(double lr, const Tensor& gradient_scale) { run(lr, gradient_scale, {}); }

void Sgd::step(double lr, double gradient_scale) {
  step(lr, scale_tensor(gradient_scale, device_of(entries_)));
}

void Sgd::set_rates(double lr) { put_rates({lr}, device_of(entries_), rates_); }

void Sgd::step_with_rates(const Tensor& gradient_scale) {
  if (!rates_.defined()) throw TapeError("[Sgd] step_with_rates before set_rates");
  run(0, gradient_scale, rates_);
}

void Sgd::zero_grad() {
  for (Entry& entry : entries_) entry.parameter.clear_grad();
}

std::vector<Tensor> Sgd::state() const {
  std::vector<Tensor> all;
  for (const Entry& entry : entries_) {
    if (entry.momentum.defined()) all.push_back(entry.momentum);
    if (entry.master.defined()) all.push_back(entry.master);
  }
  return all;
}

GlobalNorm global_norm(std::span<const Tensor> parameters, double max_norm) {
  const NoGrad no_grad;
  std::vector<kernels::ConstView> gradients;
  Device device = default_device();
  for (const Tensor& parameter : parameters) {
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
  return result;
}

double gradient_norm(std::span<const Tensor> parameters) {
  return global_norm(parameters, 0).norm.item<double>();
}

double Schedule::at(std::int64_t i) const {
  if (i < warmup) return lr * static_cast<double>(i + 1) / static_cast<double>(warmup);
  const std::int64_t completed = i / std::max<std::int64_t>(step_every, 1);  // intervals of Kind::step
  switch (kind) {
    case Kind::constant:
      return lr;
    case Kind::step:
      return lr * std::pow(step_factor, static_cast<double>(completed));
    case Kind::cosine: {
      const double span = static_cast<double>(std::max<std::int64_t>(total - warmup, 1));
      const double progress = std::min(1.0, static_cast<double>(i - warmup) / span);
      return min_lr + 0.5 * (lr - min_lr) * (1 + std::cos(std::numbers::pi * progress));
    }
  }
  return lr;
}

}  // namespace reprise::nn
