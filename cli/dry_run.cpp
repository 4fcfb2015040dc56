#include "cli/dry_run.h"

#include "cli/session.h"

namespace reprise::cli {

namespace {

RunOptions without_data(RunOptions options) {
  options.dry = true;
  options.graph = false;
  return options;
}

}  // namespace

checkpoint::Prediction dry_run(const RunOptions& options, const checkpoint::Setting& setting,
                               const DeviceProfile& profile, std::int64_t steps) {
  const RunOptions dry = without_data(options);
  const auto build = [&]() -> checkpoint::Step {
    const std::shared_ptr<Task> task = task_factory(dry)->make();
    task->set_segments(setting);
    const auto stepper = std::make_shared<Stepper>(*task, dry, steps);
    return [task, stepper, i = std::int64_t{0}](checkpoint::PhaseMeter& meter) mutable {
      stepper->step(i++, meter);
    };
  };
  return checkpoint::predict(profile, build, {.most_steps = steps, .capacity_bytes = capacity_of(options)});
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

std::vector<checkpoint::Setting> all_settings() {
  using checkpoint::Strategy;
  return {{.strategy = Strategy::none},
          {.strategy = Strategy::cheap},
          {.strategy = Strategy::blocks},
          {.strategy = Strategy::sqrt},
          {.strategy = Strategy::nested}};
}

}  // namespace reprise::cli
