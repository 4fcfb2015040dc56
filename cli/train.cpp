// reprise train: learn, show progress, and show at the end what was learnt.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "cli/dry_run.h"
#include "cli/files.h"
#include "cli/format.h"
#include "cli/json.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/session.h"
#include "cli/signals.h"
#include "cli/task.h"
#include "cli/utf8.h"

namespace reprise::cli {
namespace {

struct Trained {
  std::vector<double> losses;
  checkpoint::Setting segments;  // at the end
  double seconds = 0;
  bool stopped = false;
  bool evaluated = true;  // no evaluation on the way has failed
};

/// The setting to go on with after `error`; throws it again, with a remedy, when there is none.
checkpoint::Setting choose_after(const OutOfMemory& error, const TrainOptions& options) {
  const std::vector<Fitting> fitting = settings_that_fit(options, options.segments);
  if (fitting.empty()) throw error;
  const auto& [setting, prediction] = fitting.front();
  say("out of memory without segments; going on with {}: at most {} allocated, about {:+.1f} % time\n",
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

/// Throws Error where the loss is no number.
Evaluation finite_evaluation(Task& task, bool thorough) {
  const Evaluation held_out = task.evaluate(thorough);
  if (std::isfinite(held_out.loss)) return held_out;
  throw Error(fmt::format("[train] the held-out loss is {}: the model has diverged; lower --lr",
                          std::isnan(held_out.loss) ? "NaN" : "infinite"));
}

Trained run_steps(Task& task, const TrainOptions& options, std::int64_t steps, Pool& pool) {
  Stepper stepper =
      saying_what_fits(options, options.segments, [&] { return Stepper(task, options, steps); });
  Trained result;
  result.segments = options.segments;
  Progress progress(std::cerr, standard_error(), "train", steps, Unwatched::plain_lines);
  const double start = now_ms();
  double last = start;
  double shown_loss = 0;
  for (std::int64_t i = 0; i < steps && !interrupted(); ++i) {
    result.losses.push_back(saying_what_fits(options, result.segments, [&] {
      return step_that_fits(stepper, task, options, i, pool, result.segments);
    }));
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
      const bool evaluated = attempt(fmt::format("the evaluation after step {}", i + 1), [&] {
        progress.update(i + 1, fmt::format("held-out loss {:.4f}", finite_evaluation(task, false).loss));
      });
      generator() = numbers;  // looking at held-out data must not change what training draws
      result.evaluated = result.evaluated && evaluated;
      last = now_ms();
    }
  }
  result.seconds = (now_ms() - start) / 1e3;
  result.stopped = interrupted();
  const double items = static_cast<double>(task.items_per_step()) * static_cast<double>(result.losses.size());
  progress.finish(fmt::format("{} in {}, {}",
                              format_counted(static_cast<std::int64_t>(result.losses.size()), "step"),
                              format_ms(result.seconds * 1e3),
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
    say("arena: none, since this program's pools pass every request on\n");
    return;
  }
  say("arena: a slab of {} for {} requests a step, {:.3f} of the {} that are live at most",
      format_bytes(plan.slab_bytes),
      format_count(static_cast<std::int64_t>(plan.requests.size() - plan.first_of_step)),
      static_cast<double>(plan.slab_bytes) / static_cast<double>(plan.live_bytes),
      format_bytes(plan.live_bytes));
  if (pool.plan_misses() > 0) say("; {} requests did not come as planned", format_count(pool.plan_misses()));
  say("\n");
}

void print_trained(const Trained& trained, const MemoryStatistics& memory) {
  say("train loss {:.4f}\npeak {} allocated, {} of activations, {} reserved; {} replayed nodes a step\n",
      recent_loss(trained.losses), format_bytes(memory.all.allocated.peak),
      format_bytes(memory.activations.allocated.peak), format_bytes(memory.reserved.peak),
      tape_counters().replayed_nodes / static_cast<std::int64_t>(trained.losses.size()));
}

/// Without what an evaluation adds.
nlohmann::json to_json(const TrainOptions& options, const Trained& trained, const MemoryStatistics& memory,
                       const MemoryPlan* plan, const Pool& pool) {
  nlohmann::json json{{"model", options.model},
                      {"segments", checkpoint::to_string(trained.segments)},
                      {"steps", trained.losses.size()},
                      {"interrupted", trained.stopped},
                      {"train_loss", recent_loss(trained.losses)},
                      {"val_loss", nullptr},
                      {"seconds", trained.seconds},
                      {"losses", trained.losses},
                      {"peak_allocated_bytes", memory.all.allocated.peak},
                      {"peak_requested_bytes", memory.all.requested.peak},
                      {"peak_reserved_bytes", memory.reserved.peak},
                      {"peak_activation_bytes", memory.activations.allocated.peak}};
  if (plan != nullptr) {
    json["arena"] = {
        {"slab_bytes", plan->slab_bytes}, {"live_bytes", plan->live_bytes}, {"misses", pool.plan_misses()}};
  }
  return json;
}

/// Writes the results where they were asked for. False where that failed.
bool write_results(const TrainOptions& options, const nlohmann::json& json) {
  return options.json.empty() ||
         attempt("writing the results", [&] { write_file_atomically(options.json, json_text(json) + "\n"); });
}

/// The steps of a run that was stopped.
void keep_what_was_done(const TrainOptions& options, const Trained& trained, std::int64_t steps,
                        const nlohmann::json& json) {
  const auto done = static_cast<std::int64_t>(trained.losses.size());
  say("interrupted after {} of {}", format_count(done), format_counted(steps, "step"));
  if (done == 0) return say("\n");
  say("; last loss {:.4f}\n", trained.losses.back());
  write_results(options, json);
}

/// The held-out loss, said and added to the results.
void evaluate(Task& task, nlohmann::json& json) {
  const Evaluation held_out = finite_evaluation(task, true);
  json["val_loss"] = held_out.loss;
  if (held_out.accuracy) json["test_accuracy"] = *held_out.accuracy;
  say("held-out loss {:.4f}", held_out.loss);
  if (held_out.accuracy) say("   test accuracy {:.2f} %", 100 * *held_out.accuracy);
  say("\n");
}

/// What comes after the steps. Results that go to a file are in it before anything else runs, and again with
/// what the evaluation adds; those that go to a pipe are written once, whatever becomes of the evaluation.
/// False where something failed.
bool conclude(Task& task, const TrainOptions& options, nlohmann::json json) {
  const bool at_once = !options.json.empty() && replaced_as_a_whole(options.json);
  bool written = at_once && write_results(options, json);
  bool evaluated = false;
  try {
    evaluated = attempt("the evaluation", [&] { evaluate(task, json); });
  } catch (const Interrupted&) {
    if (!written) write_results(options, json);
    throw;
  }
  if (evaluated || !written) written = write_results(options, json);
  const bool sampled = attempt("the sample", [&] {
    if (const std::string sample = task.sample(options.sample); !sample.empty()) say("\n{}\n", sample);
  });
  if (const std::string remark = remark_on_loss(json["losses"].back()); !remark.empty()) say("{}\n", remark);
  stop_if_interrupted();
  return written && evaluated && sampled;
}

void require_memory_of_a_step(const TrainOptions& options) {
  if (default_device().kind != DeviceKind::cpu || options.capacity_mib) return;
  const checkpoint::Setting least{.strategy = checkpoint::Strategy::nested};
  require_memory(options, bytes_of_a_step(options, options.auto_segments ? least : options.segments));
}

}  // namespace

int train(const TrainOptions& options) {
  require_writable(options.json);
  require_distinct({{"--json", options.json}}, {{"--data", options.data}});
  begin(options);
  const std::int64_t steps = default_steps(options);
  const std::unique_ptr<TaskFactory> factory = task_factory(options);
  require_memory_of_a_step(options);
  const std::shared_ptr<const MemoryPlan> plan = options.arena ? plan_arena(options) : nullptr;
  const std::shared_ptr<Pool> pool = default_pool();  // a captured step keeps it
  const WithoutEstimates predicted_instead;
  const std::unique_ptr<Task> task =
      saying_what_fits(options, options.segments, [&] { return factory->make(); });
  task->set_segments(options.segments);
  say("{}\n{}; segments: {}\n", task->describe(), printable(task->data_name()),
      options.auto_segments ? "none, until memory runs out" : checkpoint::to_string(options.segments));
  if (output_lost() && options.json.empty()) throw NobodyListens{};

  std::unique_ptr<AnomalyMode> anomaly = options.anomaly ? std::make_unique<AnomalyMode>() : nullptr;
  const Trained trained = run_steps(*task, options, steps, *pool);
  const MemoryStatistics memory = pool->statistics();
  if (trained.stopped) {
    keep_what_was_done(options, trained, steps, to_json(options, trained, memory, plan.get(), *pool));
    return interrupted_status();
  }
  const Unplanned unplanned(*pool);
  print_trained(trained, memory);
  if (plan != nullptr) print_arena(*plan, *pool);
  const bool complete = conclude(*task, options, to_json(options, trained, memory, plan.get(), *pool));
  return complete && trained.evaluated ? 0 : kIncomplete;
}

}  // namespace reprise::cli
