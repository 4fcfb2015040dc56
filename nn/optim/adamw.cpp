#include <fmt/format.h>

#include <limits>

#include "reprise/device.h"
#include "reprise/error.h"
#include "reprise/kernels/optimiser.h"
#include "reprise/nn/optim.h"
#include "reprise/span.h"
#include "reprise/tape.h"
#include "step_memory.h"

namespace reprise::nn {

using namespace detail;

AdamW::AdamW(const std::vector<ParameterGroup>& groups, const AdamWOptions& options) : options_(options) {
  constexpr double kAny = std::numeric_limits<double>::infinity();
  require_in("AdamW", "beta1", options.beta1, 0, 1);
  require_in("AdamW", "beta2", options.beta2, 0, 1);
  require_in("AdamW", "eps", options.eps, 0, kAny);
  const std::vector<DecayedParameter> parameters = checked_parameters("AdamW", groups);
  device_ = device_of(parameters);
  for (const auto& [parameter, decay] : parameters) {
    entries_.push_back({parameter, state_like(parameter), state_like(parameter), master_of(parameter), decay,
                        0, parameter.version()});
  }
  std::vector<Tensor> changed = state();
  for (const Entry& entry : entries_) changed.push_back(entry.parameter);
  changed_ = storages_of(changed);
}

/// Parameters of one number of steps: those that joined late are corrected for their own.
struct AdamW::Launch {
  std::int64_t step = 0;
  std::vector<Entry*> entries;
};

/// The parameters that have a gradient, as they will be when `ahead` more steps have been counted.
std::vector<AdamW::Launch> AdamW::launches(std::int64_t ahead) {
  std::vector<Launch> all;
  for (Entry& entry : entries_) {
    if (!entry.parameter.grad().defined()) continue;
    const std::int64_t step = entry.steps + ahead;
    if (all.empty() || all.back().step != step) {
      all.emplace_back();
      all.back().step = step;
    }
    all.back().entries.push_back(&entry);
  }
  return all;
}

void AdamW::run(const std::vector<Launch>& all, double lr, const Tensor& gradient_scale,
                const Tensor& rates) {
  const SpanScope span("AdamW", Phase::optimiser, device_);
  const NoGrad no_grad;
  StepMemory memory("AdamW", device_, changed_);
  const kernels::ConstView scale = memory.scale(gradient_scale);
  std::vector<std::vector<kernels::AdamWTensor>> tensors(all.size());
  for (std::size_t i = 0; i < all.size(); ++i) {
    for (const Entry* entry : all[i].entries) {
      tensors[i].push_back({memory.parameter(entry->parameter),
                            memory.gradient(entry->parameter.grad(), entry->parameter),
                            view_of(*entry->mean.value()), view_of(*entry->variance.value()),
                            entry->weight_decay, view_or_null(entry->master)});
    }
  }
  for (Entry& entry : entries_) follow_parameter(entry.parameter, entry.master, entry.version);
  memory.begin();
  for (std::size_t i = 0; i < all.size(); ++i) {
    kernels::AdamWParams params{.lr = lr,
                                .beta1 = options_.beta1,
                                .beta2 = options_.beta2,
                                .eps = options_.eps,
                                .step = all[i].step,
                                .gradient_scale = scale,
                                .rates = view_or_null(rates)};
    if (rates.defined()) params.rates.data = params.rates.as<double>() + 3 * i;
    kernels::adamw_step(queue_of(device_), params, tensors[i]);
  }
  memory.finish();
  for (Entry& entry : entries_) entry.version = entry.parameter.version();
}

void AdamW::step(double lr, const Tensor& gradient_scale) {
  require_rate("AdamW", lr);
  const std::vector<Launch> all = launches(1);
  run(all, lr, gradient_scale, {});
  for (const Launch& launch : all) {
    for (Entry* entry : launch.entries) ++entry->steps;
  }
}

void AdamW::step(double lr, double gradient_scale) {
  step(lr, scale_tensor("AdamW", gradient_scale, device_));
}

namespace {
constexpr std::int64_t kNoGradient = -1;
}

std::vector<std::int64_t> AdamW::steps_of_those_with_gradients() const {
  std::vector<std::int64_t> steps;
  for (const Entry& entry : entries_)
    steps.push_back(entry.parameter.grad().defined() ? entry.steps : kNoGradient);
  return steps;
}

void AdamW::set_rates(double lr) {
  require_rate("AdamW", lr);
  const std::vector<Launch> all = launches(1);
  std::vector<double> rates;
  for (const Launch& launch : all) {
    kernels::AdamWParams params;
    params.lr = lr;
    params.beta1 = options_.beta1;
    params.beta2 = options_.beta2;
    params.step = launch.step;
    const kernels::AdamWRates of_step = kernels::AdamWRates::of(params);
    rates.insert(rates.end(), {of_step.lr, of_step.step_size, of_step.root_correction});
  }
  put_rates(rates, device_, rates_);
  for (const Launch& launch : all) {
    for (Entry* entry : launch.entries) ++entry->steps;
  }
  announced_ = steps_of_those_with_gradients();
}

void AdamW::step_with_rates(const Tensor& gradient_scale) {
  const std::vector<std::int64_t> steps = steps_of_those_with_gradients();
  for (std::size_t i = 0; i < steps.size(); ++i) {
    const std::int64_t announced = announced_.empty() ? kNoGradient : announced_[i];
    if (steps[i] == announced) continue;
    throw TapeError(
        fmt::format("[AdamW] step_with_rates: {} {} at the last set_rates; call set_rates before it",
                    describe(*entries_[i].parameter.value()),
                    announced == kNoGradient  ? "has a gradient, but had none"
                    : steps[i] == kNoGradient ? "has no gradient, but had one"
                                              : "has taken another step than the one counted"));
  }
  run(launches(0), 0, gradient_scale, rates_);
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

}  // namespace reprise::nn
