// The program's own training step on a dry device.
#pragma once

#include <optional>

#include "cli/task.h"
#include "reprise/predict.h"

namespace reprise::cli {

/// What `steps` steps of the run, at most, take on a device of that profile. Throws OutOfMemory where they do
/// not fit.
checkpoint::Prediction dry_run(const RunOptions& options, const checkpoint::Setting& setting,
                               const DeviceProfile& profile, std::int64_t steps);

/// A place in one slab for every request of the run.
std::shared_ptr<const MemoryPlan> plan_run(const RunOptions& options, const checkpoint::Setting& setting);

/// Bytes that a step of the run reserves at most.
std::int64_t bytes_of_a_step(const RunOptions& options, const checkpoint::Setting& setting);

/// The task in words, made on a dry device.
std::string describe_dry(const RunOptions& options, const DeviceProfile& profile);

/// The profile without its limit.
DeviceProfile unlimited(DeviceProfile profile);

/// The profile of the device that the run is for: that device, with what it can hold.
DeviceProfile profile_of_run(const RunOptions& options);

/// A setting, and what a step takes under it.
struct Fitting {
  checkpoint::Setting setting;
  checkpoint::Prediction prediction;
};

/// Of the settings with segments that fit the run's device, the one that costs least time; nothing when none
/// fits.
std::optional<Fitting> cheapest_that_fits(const RunOptions& options);

}  // namespace reprise::cli
