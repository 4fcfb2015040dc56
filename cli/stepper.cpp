#include <fmt/format.h>

#include <cmath>

#include "cli/session.h"
#include "cli/task.h"

namespace reprise::cli {
namespace {

nn::Schedule make_schedule(const RunOptions& options, std::int64_t steps) {
  nn::Schedule schedule;
  const bool gpt = options.model == "gpt";
  schedule.lr = options.lr.value_or(gpt ? 1e-3 : 0.05);
  schedule.total = steps;
  schedule.min_lr = gpt ? 0.1 * schedule.lr : 0;
  schedule.warmup = options.warmup.value_or(std::min<std::int64_t>(100, steps / 10));
  schedule.step_every = std::max<std::int64_t>(1, steps / 3);
  const std::string kind = options.schedule.value_or("cosine");
  if (kind == "constant")
    schedule.kind = nn::Schedule::Kind::constant;
  else if (kind == "step")
    schedule.kind = nn::Schedule::Kind::step;
  else if (kind == "cosine")
    schedule.kind = nn::Schedule::Kind::cosine;
  else
    throw ValueError(fmt::format("[schedule] '{}' is no schedule; give constant, step or cosine", kind));
  return schedule;
}

std::variant<nn::AdamW, nn::Sgd> make_optimiser(const std::vector<Tensor>& parameters,
                                                const RunOptions& options) {
  if (options.model == "gpt") {
    return nn::AdamW(nn::decay_matrices(parameters, options.weight_decay.value_or(0.1)), {.beta2 = 0.99});
  }
  return nn::Sgd(nn::decay_matrices(parameters, options.weight_decay.value_or(5e-4)),
                 {.momentum = 0.9, .nesterov = true});
}

}  // namespace

Stepper::Stepper(Task& task, const RunOptions& options, std::int64_t steps)
    : task_(task),
      optimiser_(make_optimiser(task.parameters(), options)),
      schedule_(make_schedule(options, steps)),
      clip_(options.clip.value_or(options.model == "gpt" ? 1.0 : 0.0)),
      parameters_(task.parameters()) {
  if (options.graph)
    graph_ = std::make_unique<CapturedWork>(default_device(), [options] { return make_pool(options); });
}

void Stepper::zero_grad() {
  std::visit([](auto& optimiser) { optimiser.zero_grad(); }, optimiser_);
}

void Stepper::forward_and_backward(checkpoint::PhaseMeter& meter) {
  zero_grad();
  loss_ = Tensor();
  meter.run(Phase::forward, [&] { loss_ = task_.loss(); });
  meter.run(Phase::backward, [&] { loss_.backward(); });
}

void Stepper::update(checkpoint::PhaseMeter& meter, std::int64_t i) {
  meter.run(Phase::optimiser, [&] {
    const Tensor scale = clip_scale();
    std::visit([&](auto& optimiser) { optimiser.step(schedule_.at(i), scale); }, optimiser_);
  });
}

Tensor Stepper::clip_scale() const {
  return clip_ > 0 ? nn::global_norm(parameters_, clip_).scale : Tensor();
}

double Stepper::finite_loss(std::int64_t i) const {
  if (loss_.device().is_dry) return 0;
  const double value = loss_.item<float>();
  if (std::isfinite(value)) return value;
  throw Error(
      fmt::format("[train] the loss of step {} is {}; lower --lr, or find the operation with --anomaly",
                  i + 1, std::isnan(value) ? "NaN" : "infinite"));
}

double Stepper::step(std::int64_t i, checkpoint::PhaseMeter& meter) {
  if (graph_ != nullptr && i > 0) return graph_step(i);
  nn::Transaction transaction(task_.buffers());
  const bool on_cpu = default_device().kind == DeviceKind::cpu;
  double value = 0;
  try {
    task_.load(i);
    forward_and_backward(meter);
    if (on_cpu) value = finite_loss(i);
  } catch (...) {
    zero_grad();
    throw;
  }
  update(meter, i);
  if (!on_cpu) value = finite_loss(i);
  transaction.commit();
  return value;
}

/// The same as one piece of work, update included. The step before has left gradients, so that `set_rates`
/// knows who takes part.
double Stepper::graph_step(std::int64_t i) {
  task_.load(i);
  std::visit([&](auto& optimiser) { optimiser.set_rates(schedule_.at(i)); }, optimiser_);
  checkpoint::PhaseMeter unread;
  graph_->run([&] {
    forward_and_backward(unread);
    const Tensor scale = clip_scale();
    std::visit([&](auto& optimiser) { optimiser.step_with_rates(scale); }, optimiser_);
  });
  return finite_loss(i);
}

std::unique_ptr<TaskFactory> task_factory(const RunOptions& options) {
  return options.model == "gpt" ? gpt_factory(options) : resnet_factory(options);
}

std::int64_t default_steps(const RunOptions& options) {
  return options.steps.value_or(options.model == "gpt" ? 500 : 300);
}

}  // namespace reprise::cli
