#include "reprise/nn/optim.h"

#include <fmt/format.h>

#include <cmath>
#include <numbers>

#include "reprise/error.h"
#include "reprise/in_place.h"
#include "reprise/kernels/optimiser.h"
#include "reprise/kernels/reduce.h"
#include "reprise/tape.h"

namespace reprise::nn {
namespace {

/// A zeroed tensor for an optimiser's state, laid out as the parameter.
Tensor state_like(const Tensor& parameter) {
  const DType dtype = parameter.dtype() == DType::float64 ? DType::float64 : DType::float32;
  return zeros(parameter.shape(), {.dtype = dtype,
                                   .device = parameter.device(),
                                   .category = Category::optimiser,
                                   .channels_last = parameter.spec().channels_last});
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

}  // namespace

std::vector<ParameterGroup> decay_matrices(const std::vector<Tensor>& parameters, double weight_decay) {
  std::vector<ParameterGroup> groups{{{}, weight_decay}, {{}, 0.0}};
  for (const Tensor& parameter : parameters)
    groups[parameter.rank() >= 2 ? 0 : 1].parameters.push_back(parameter);
  return groups;
}

AdamW::AdamW(const std::vector<ParameterGroup>& groups, const AdamWOptions& options) : options_(options) {
  for_each_parameter(groups, [&](const Tensor& parameter, double decay) {
    entries_.push_back({parameter, state_like(parameter), state_like(parameter), decay, 0});
  });
}

void AdamW::step(double lr, double gradient_scale) {
  const NoGrad no_grad;
  // Parameters that joined late are corrected for their own number of steps.
  std::vector<std::pair<std::int64_t, std::vector<kernels::AdamWTensor>>> by_step;
  std::vector<Entry*> updated;
  for (Entry& entry : entries_) {
    const Tensor gradient = entry.parameter.grad();
    if (!gradient.defined()) continue;
    if (by_step.empty() || by_step.back().first != entry.steps + 1) by_step.push_back({entry.steps + 1, {}});
    by_step.back().second.push_back({view_of(*entry.parameter.value()), view_of(*gradient.value()),
                                     view_of(*entry.mean.value()), view_of(*entry.variance.value()),
                                     entry.weight_decay});
    updated.push_back(&entry);
  }
  for (Entry* entry : updated) {
    change_in_place("AdamW", entry->parameter);
    ++entry->steps;
  }
  for (const auto& [step, tensors] : by_step) {
    kernels::adamw_step({},
                        {.lr = lr,
                         .beta1 = options_.beta1,
                         .beta2 = options_.beta2,
                         .eps = options_.eps,
                         .step = step,
                         .gradient_scale = gradient_scale},
                        tensors);
  }
}

void AdamW::zero_grad() {
  for (Entry& entry : entries_) entry.parameter.clear_grad();
}

std::vector<Tensor> AdamW::state() const {
  std::vector<Tensor> all;
  for (const Entry& entry : entries_) all.insert(all.end(), {entry.mean, entry.variance});
  return all;
}

Sgd::Sgd(const std::vector<ParameterGroup>& groups, const SgdOptions& options) : options_(options) {
  for_each_parameter(groups, [&](const Tensor& parameter, double decay) {
    entries_.push_back({parameter, options_.momentum != 0 ? state_like(parameter) : Tensor(), decay, true});
  });
}

void Sgd::step(double lr, double gradient_scale) {
  const NoGrad no_grad;
  std::vector<kernels::SgdTensor> first;
  std::vector<kernels::SgdTensor> later;
  std::vector<Entry*> updated;
  for (Entry& entry : entries_) {
    const Tensor gradient = entry.parameter.grad();
    if (!gradient.defined()) continue;
    (entry.first ? first : later)
        .push_back({view_of(*entry.parameter.value()), view_of(*gradient.value()),
                    entry.momentum.defined() ? view_of(*entry.momentum.value()) : kernels::View(),
                    entry.weight_decay});
    updated.push_back(&entry);
  }
  for (Entry* entry : updated) {
    change_in_place("Sgd", entry->parameter);
    entry->first = false;
  }
  for (const bool is_first : {true, false}) {
    kernels::sgd_step({},
                      {.lr = lr,
                       .momentum = options_.momentum,
                       .nesterov = options_.nesterov,
                       .first_step = is_first,
                       .gradient_scale = gradient_scale},
                      is_first ? first : later);
  }
}

void Sgd::zero_grad() {
  for (Entry& entry : entries_) entry.parameter.clear_grad();
}

std::vector<Tensor> Sgd::state() const {
  std::vector<Tensor> all;
  for (const Entry& entry : entries_) {
    if (entry.momentum.defined()) all.push_back(entry.momentum);
  }
  return all;
}

double gradient_norm(std::span<const Tensor> parameters) {
  std::vector<kernels::ConstView> gradients;
  for (const Tensor& parameter : parameters) {
    if (const Tensor gradient = parameter.grad(); gradient.defined())
      gradients.emplace_back(view_of(*gradient.value()));
  }
  return std::sqrt(kernels::sum_of_squares({}, gradients));
}

double clip_factor(double norm, double max_norm) {
  return max_norm > 0 && norm > max_norm ? max_norm / norm : 1.0;
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
