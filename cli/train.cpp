// reprise train: learn, show progress, and show at the end what was learnt.
#include <fmt/format.h>

#include <algorithm>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "cli/dry_run.h"
#include "cli/files.h"
#include "cli/format.h"
#include "cli/progress.h"
#include "cli/session.h"
#include "cli/task.h"

namespace reprise::cli {
namespace {

struct Trained {
  std::vector<double> losses;
  checkpoint::Setting segments;  // at the end
  double seconds = 0;
  bool stopped = false;
};

/// The setting to go on with after `error`; throws it again, with a remedy, when there is none.
checkpoint::Setting choose_after(const OutOfMemory& error, const TrainOptions& options) {
  const std::optional<Fitting> best = cheapest_that_fits(options);
  if (!best)
    throw OutOfMemory(fmt::format("{}\n  no setting of --segments fits: use a smaller batch", error.what()));
  const auto& [setting, prediction] = *best;
  fmt::print("out of memory without segments; going on with {}: at most {} allocated, about {:+.1f} % time\n",
             checkpoint::to_string(setting), format_bytes(prediction.memory.all.allocated.peak),
             100 * prediction.recomputed_share());
  return setting;
}

/// One step; with --segments auto, the first that does not fit is taken again with segments.
double step_that_fits(Stepper& stepper, Task& task, const TrainOptions& options, std::int64_t i, Pool& pool,
                      checkpoint::Setting& segments) {
  try {
    return stepper.step(i);
  } catch (const OutOfMemory& error) {
    if (!options.auto_segments || segments.strategy != checkpoint::Strategy::none) throw;
    segments = choose_after(error, options);
  }
  task.set_segments(segments);
  pool.release_cached();
  return stepper.step(i);
}

Trained run_steps(Task& task, const TrainOptions& options, std::int64_t steps, Pool& pool) {
  Stepper stepper(task, options, steps);
  Trained result;
  result.segments = options.segments;
  Progress progress(std::cerr, standard_error(), "train", steps, Unwatched::plain_lines);
  const double start = now_ms();
  double last = start;
  double shown_loss = 0;
  for (std::int64_t i = 0; i < steps && !interrupted(); ++i) {
    result.losses.push_back(step_that_fits(stepper, task, options, i, pool, result.segments));
    const double now = now_ms();
    shown_loss = i == 0 ? result.losses.back() : 0.9 * shown_loss + 0.1 * result.losses.back();
    const double rate = static_cast<double>(task.items_per_step()) * 1e3 / std::max(now - last, 1e-3);
    last = now;
    progress.update(i + 1,
                    fmt::format("loss {:.4f}  {}  peak {}", shown_loss, format_rate(rate, task.item_name()),
                                format_bytes(pool.statistics().all.allocated.peak)));
    if (options.eval_every > 0 && (i + 1) % options.eval_every == 0 && i + 1 < steps) {
      const Unplanned unplanned(pool);
      const Generator numbers = generator();
      const Evaluation held_out = task.evaluate(false);
      generator() = numbers;  // looking at held-out data must not change what training draws
      progress.update(i + 1, fmt::format("held-out loss {:.4f}", held_out.loss));
      last = now_ms();
    }
  }
  result.seconds = (now_ms() - start) / 1e3;
  result.stopped = interrupted();
  const double items = static_cast<double>(task.items_per_step()) * static_cast<double>(result.losses.size());
  progress.finish(fmt::format("{} steps in {}, {}", result.losses.size(), format_ms(result.seconds * 1e3),
                              format_rate(items / std::max(result.seconds, 1e-9), task.item_name())));
  return result;
}

/// The mean of the last losses: one batch alone is noisy.
double recent_loss(const std::vector<double>& losses) {
  constexpr std::size_t kRecent = 20;
  const std::size_t n = std::min(kRecent, losses.size());
  double total = 0;
  for (std::size_t i = losses.size() - n; i < losses.size(); ++i) total += losses[i];
  return n == 0 ? 0 : total / static_cast<double>(n);
}

/// Plans the run and makes its pool the default one.
std::shared_ptr<const MemoryPlan> plan_arena(const TrainOptions& options) {
  if (options.graph || options.auto_segments) {
    throw ValueError(fmt::format("[train] --arena plans one way of running: leave out {}",
                                 options.graph ? "--graph" : "--segments auto"));
  }
  std::shared_ptr<const MemoryPlan> plan = plan_run(options, options.segments);
  set_default_pool(make_pool(options, plan));
  return plan;
}

void print_arena(const MemoryPlan& plan, const Pool& pool) {
  if (passthrough_by_default()) {
    fmt::print("arena: none, since this program's pools pass every request on\n");
    return;
  }
  fmt::print("arena: a slab of {} for {} requests a step, {:.3f} of the {} that are live at most",
             format_bytes(plan.slab_bytes),
             format_count(static_cast<std::int64_t>(plan.requests.size() - plan.first_of_step)),
             static_cast<double>(plan.slab_bytes) / static_cast<double>(plan.live_bytes),
             format_bytes(plan.live_bytes));
  if (pool.plan_misses() > 0)
    fmt::print("; {} requests did not come as planned", format_count(pool.plan_misses()));
  fmt::print("\n");
}

}  // namespace

int train(const TrainOptions& options) {
  begin(options);
  const std::int64_t steps = default_steps(options);
  if (steps < 1) throw ValueError(fmt::format("[train] --steps {}; it must be at least 1", steps));
  const std::shared_ptr<const MemoryPlan> plan = options.arena ? plan_arena(options) : nullptr;
  const std::shared_ptr<Pool> pool = default_pool();  // a captured step keeps it
  const std::unique_ptr<TaskFactory> factory = task_factory(options);
  const std::unique_ptr<Task> task = factory->make();
  task->set_segments(options.segments);
  fmt::print("{}\n{}; segments: {}\n", task->describe(), task->data_name(),
             options.auto_segments ? "none, until memory runs out" : checkpoint::to_string(options.segments));

  std::unique_ptr<AnomalyMode> anomaly = options.anomaly ? std::make_unique<AnomalyMode>() : nullptr;
  const Trained trained = run_steps(*task, options, steps, *pool);
  const MemoryStatistics memory = pool->statistics();
  if (trained.stopped) {
    fmt::print("interrupted after {} of {} steps\n", trained.losses.size(), steps);
    return kInterrupted;
  }
  const Unplanned unplanned(*pool);
  const Evaluation held_out = task->evaluate(true);
  fmt::print("train loss {:.4f}   held-out loss {:.4f}", recent_loss(trained.losses), held_out.loss);
  if (held_out.accuracy) fmt::print("   test accuracy {:.2f} %", 100 * *held_out.accuracy);
  fmt::print("\npeak {} allocated, {} of activations, {} reserved; {} replayed nodes a step\n",
             format_bytes(memory.all.allocated.peak), format_bytes(memory.activations.allocated.peak),
             format_bytes(memory.reserved.peak),
             tape_counters().replayed_nodes / static_cast<std::int64_t>(trained.losses.size()));
  if (plan != nullptr) print_arena(*plan, *pool);
  if (const std::string sample = task->sample(options.sample); !sample.empty()) fmt::print("\n{}\n", sample);

  if (interrupted()) {
    fmt::print("interrupted\n");
    return kInterrupted;
  }
  if (options.json.empty()) return 0;
  nlohmann::json json{{"model", options.model},
                      {"segments", checkpoint::to_string(trained.segments)},
                      {"steps", steps},
                      {"train_loss", recent_loss(trained.losses)},
                      {"val_loss", held_out.loss},
                      {"seconds", trained.seconds},
                      {"losses", trained.losses},
                      {"peak_allocated_bytes", memory.all.allocated.peak},
                      {"peak_requested_bytes", memory.all.requested.peak},
                      {"peak_reserved_bytes", memory.reserved.peak},
                      {"peak_activation_bytes", memory.activations.allocated.peak}};
  if (plan != nullptr) {
    json["arena"] = {
        {"slab_bytes", plan->slab_bytes}, {"live_bytes", plan->live_bytes}, {"misses", pool->plan_misses()}};
  }
  if (held_out.accuracy) json["test_accuracy"] = *held_out.accuracy;
  write_file_atomically(options.json, json.dump(2) + "\n");
  return 0;
}

}  // namespace reprise::cli
