#include <fmt/format.h>

#include <cmath>

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
    throw ValueError(fmt::format("[schedule] '{}' is none; give constant, step or cosine", kind));
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
      parameters_(task.parameters()) {}

double Stepper::step(std::int64_t i) {
  nn::Transaction transaction(task_.buffers());
  std::visit([](auto& optimiser) { optimiser.zero_grad(); }, optimiser_);
  double value = 0;
  try {
    Tensor loss = task_.loss(i);
    loss.backward();
    value = loss.item<float>();
    if (!std::isfinite(value)) {
      throw Error(
          fmt::format("[train] the loss of step {} is {}; lower --lr, or find the operation with --anomaly",
                      i + 1, value));
    }
  } catch (...) {
    std::visit([](auto& optimiser) { optimiser.zero_grad(); }, optimiser_);
    throw;
  }
  const double scale = clip_ > 0 ? nn::clip_factor(nn::gradient_norm(parameters_), clip_) : 1.0;
  std::visit([&](auto& optimiser) { optimiser.step(schedule_.at(i), scale); }, optimiser_);
  transaction.commit();
  return value;
}

std::unique_ptr<TaskFactory> task_factory(const RunOptions& options) {
  return options.model == "gpt" ? gpt_factory(options) : resnet_factory(options);
}

std::int64_t default_steps(const RunOptions& options) {
  return options.steps.value_or(options.model == "gpt" ? 500 : 300);
}

}  // namespace reprise::cli
