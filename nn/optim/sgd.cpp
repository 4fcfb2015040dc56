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

Sgd::Sgd(const std::vector<ParameterGroup>& groups, const SgdOptions& options) : options_(options) {
  require_in("Sgd", "the momentum", options.momentum, 0, std::numeric_limits<double>::infinity());
  if (options.nesterov && options.momentum == 0) throw ValueError("[Sgd] nesterov needs a momentum above 0");
  const std::vector<DecayedParameter> parameters = checked_parameters("Sgd", groups);
  device_ = device_of(parameters);
  for (const auto& [parameter, decay] : parameters) {
    entries_.push_back({parameter, options_.momentum != 0 ? state_like(parameter) : Tensor(),
                        master_of(parameter), decay, true, parameter.version()});
  }
  std::vector<Tensor> changed = state();
  for (const Entry& entry : entries_) changed.push_back(entry.parameter);
  changed_ = storages_of(changed);
}

void Sgd::run(double lr, const Tensor& gradient_scale, const Tensor& rates) {
  const SpanScope span("Sgd", Phase::optimiser, device_);
  const NoGrad no_grad;
  StepMemory memory("Sgd", device_, changed_);
  const kernels::ConstView scale = memory.scale(gradient_scale);
  std::vector<kernels::SgdTensor> first;
  std::vector<kernels::SgdTensor> later;
  std::vector<Entry*> updated;
  for (Entry& entry : entries_) {
    const Tensor gradient = entry.parameter.grad();
    if (!gradient.defined()) continue;
    (entry.first ? first : later)
        .push_back({memory.parameter(entry.parameter), memory.gradient(gradient, entry.parameter),
                    view_or_null(entry.momentum), entry.weight_decay, view_or_null(entry.master)});
    updated.push_back(&entry);
  }
  for (Entry& entry : entries_) follow_parameter(entry.parameter, entry.master, entry.version);
  memory.begin();
  for (Entry* entry : updated) entry->first = false;
  for (const bool is_first : {true, false}) {
    kernels::sgd_step(queue_of(device_),
                      {.lr = lr,
                       .momentum = options_.momentum,
                       .nesterov = options_.nesterov,
                       .first_step = is_first,
                       .gradient_scale = scale,
                       .rates = view_or_null(rates)},
                      is_first ? first : later);
  }
  memory.finish();
  for (Entry& entry : entries_) entry.version = entry.parameter.version();
}

void Sgd::step(double lr, const Tensor& gradient_scale) {
  require_rate("Sgd", lr);
  run(lr, gradient_scale, {});
}

void Sgd::step(double lr, double gradient_scale) { step(lr, scale_tensor("Sgd", gradient_scale, device_)); }

void Sgd::set_rates(double lr) {
  require_rate("Sgd", lr);
  put_rates({lr}, device_, rates_);
}

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

}  // namespace reprise::nn
