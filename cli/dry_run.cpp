#include "cli/dry_run.h"

#include "cli/session.h"
#include "cli/signals.h"

namespace reprise::cli {
namespace {

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

std::optional<Fitting> cheapest_that_fits(const RunOptions& options) {
  using checkpoint::Strategy;
  constexpr std::int64_t kStepsUntilSteady = 3;
  std::optional<Fitting> best;
  const DeviceProfile profile = profile_of_run(options);
  for (const Strategy strategy : {Strategy::cheap, Strategy::blocks, Strategy::sqrt, Strategy::nested}) {
    const checkpoint::Setting setting{.strategy = strategy};
    try {
      checkpoint::Prediction prediction = dry_run(options, setting, profile, kStepsUntilSteady);
      if (!best || prediction.recomputed_share() < best->prediction.recomputed_share())
        best = {setting, std::move(prediction)};
    } catch (const OutOfMemory&) {
      continue;
    }
  }
  return best;
}

}  // namespace reprise::cli
