#include "cli/dry_run.h"

#include <fmt/format.h>

#include <algorithm>

#include "cli/session.h"
#include "cli/signals.h"

namespace reprise::cli {
namespace {

using checkpoint::Strategy;
constexpr std::array kStrategies{Strategy::none, Strategy::cheap, Strategy::blocks, Strategy::sqrt,
                                 Strategy::nested};
constexpr std::int64_t kStepsUntilSteady = 16;  // at most: a step that repeats the one before ends it

RunOptions without_data(RunOptions options) {
  options.dry = true;
  options.graph = false;
  return options;
}

/// The run's own step, on the device that is the default when it is built.
checkpoint::Step build_step(const RunOptions& options, const checkpoint::Setting& setting,
                            std::int64_t steps) {
  const std::shared_ptr<Task> task = task_factory(options)->make();
  task->set_segments(setting);
  const auto stepper = std::make_shared<Stepper>(*task, options, steps);
  return [task, stepper, i = std::int64_t{0}](checkpoint::PhaseMeter& meter) mutable {
    stop_if_interrupted();
    stepper->step(i++, meter);
  };
}

/// The run's device with what it is known to give. A CUDA device that others use, or the driver, gives less
/// than it has: what the pool got is certain.
DeviceProfile limit_that_was_met(const RunOptions& options) {
  DeviceProfile profile = profile_of_run(options);
  if (profile.kind == DeviceKind::cuda && !options.capacity_mib)
    profile.capacity_bytes = static_cast<std::size_t>(current_pool().statistics().reserved.peak);
  return profile;
}

/// Allocated at most by a step under the setting that takes least, whatever the limit.
std::int64_t least_bytes(const RunOptions& options) {
  RunOptions unbounded = options;
  unbounded.capacity_mib.reset();
  const DeviceProfile profile = unlimited(profile_of_run(options));
  const std::int64_t steps = std::min(default_steps(options), kStepsUntilSteady);
  std::int64_t least = INT64_MAX;
  for (const Strategy strategy : kStrategies) {
    const checkpoint::Prediction prediction = dry_run(unbounded, {.strategy = strategy}, profile, steps);
    least = std::min(least, prediction.memory.all.allocated.peak);
  }
  return least;
}

}  // namespace

checkpoint::Prediction dry_run(const RunOptions& options, const checkpoint::Setting& setting,
                               const DeviceProfile& profile, std::int64_t steps) {
  const RunOptions dry = without_data(options);
  return checkpoint::predict(profile, [&] { return build_step(dry, setting, steps); },
                             {.most_steps = steps, .capacity_bytes = capacity_of(options)});
}

std::shared_ptr<const MemoryPlan> plan_run(const RunOptions& options, const checkpoint::Setting& setting) {
  constexpr std::int64_t kLeastSteps =
      3;  // so that a step that came before can be told from one that repeats
  const RunOptions dry = without_data(options);
  const checkpoint::Prediction run = checkpoint::predict(
      unlimited(profile_of_run(options)), [&] { return build_step(dry, setting, default_steps(options)); },
      {.least_steps = kLeastSteps});
  return std::make_shared<MemoryPlan>(plan_memory(run.events, run.step_starts));
}

std::int64_t bytes_of_a_step(const RunOptions& options, const checkpoint::Setting& setting) {
  RunOptions unbounded = options;
  unbounded.capacity_mib.reset();
  return dry_run(unbounded, setting, unlimited(profile_of_run(options)), 1).memory.reserved.peak;
}

std::string describe_dry(const RunOptions& options, const DeviceProfile& profile) {
  const OnDevice device(Device::dry(unlimited(profile)));
  return task_factory(without_data(options))->make()->describe();
}

DeviceProfile unlimited(DeviceProfile profile) {
  profile.capacity_bytes = kUnlimited;
  return profile;
}

DeviceProfile profile_of_run(const RunOptions& options) {
  const Device device = parse_device(options.device);
  DeviceProfile profile;
  profile.name = options.device;
  profile.kind = device.kind;
  profile.capacity_bytes = default_pool(device)->capacity();
  return profile;
}

std::vector<Fitting> settings_that_fit(const RunOptions& options, const checkpoint::Setting& failed) {
  std::vector<Fitting> fitting;
  const DeviceProfile profile = limit_that_was_met(options);
  const std::int64_t steps = std::min(default_steps(options), kStepsUntilSteady);
  for (const checkpoint::Strategy strategy : kStrategies) {
    const checkpoint::Setting setting{.strategy = strategy};
    if (strategy == failed.strategy) continue;
    try {
      fitting.push_back({setting, dry_run(options, setting, profile, steps)});
    } catch (const OutOfMemory&) {
      continue;
    }
  }
  std::stable_sort(fitting.begin(), fitting.end(), [](const Fitting& a, const Fitting& b) {
    return a.prediction.recomputed_share() < b.prediction.recomputed_share();
  });
  return fitting;
}

OutOfMemory with_what_fits(const OutOfMemory& error, const RunOptions& options,
                           const checkpoint::Setting& failed) {
  // A captured step lives in pools of its own, and a plan takes one slab.
  if (options.graph || options.arena || profile_of_run(options).capacity_bytes == kUnlimited) return error;
  std::string fitting;
  for (const auto& [setting, prediction] : settings_that_fit(options, failed)) {
    fitting += fmt::format("{}{} (at most {} allocated, about {:+.1f} % time)", fitting.empty() ? "" : ", ",
                           checkpoint::to_string(setting), format_bytes(prediction.memory.all.allocated.peak),
                           100 * prediction.recomputed_share());
  }
  const std::string answer = fitting.empty()
                                 ? fmt::format(
                                       "no setting of --segments fits: the least that a step takes is {} at "
                                       "once, and its pool some more; use a smaller model or batch",
                                       format_bytes(least_bytes(options)))
                                 : "these settings of --segments fit: " + fitting;
  return OutOfMemory(
      fmt::format("{}\n  under segments {}; {}", error.what(), checkpoint::to_string(failed), answer));
}

}  // namespace reprise::cli
