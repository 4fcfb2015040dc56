// The program's own training step on a dry device.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "cli/task.h"
#include "reprise/context.h"
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

/// Of the settings but `failed`, those that fit the run's device, whose default pool has met its limit; the
/// one that costs least time comes first.
std::vector<Fitting> settings_that_fit(const RunOptions& options, const checkpoint::Setting& failed);

/// `error` of the default pool with the settings that fit added, where the device's limit is known:
/// predicted, not estimated.
OutOfMemory with_what_fits(const OutOfMemory& error, const RunOptions& options,
                           const checkpoint::Setting& failed);

/// Runs what needs memory under `segments`; its OutOfMemory says what fits.
template <class F>
auto saying_what_fits(const RunOptions& options, const checkpoint::Setting& segments, F&& work) {
  try {
    return std::forward<F>(work)();
  } catch (const OutOfMemory& error) {
    throw with_what_fits(error, options, segments);
  }
}

/// Within the scope, errors that memory has run out come without the library's estimate of what segments
/// would save: the program predicts it.
class WithoutEstimates final : public Adviser {
 public:
  WithoutEstimates() : before_(context().adviser) { context().adviser = this; }
  ~WithoutEstimates() override { context().adviser = before_; }
  WithoutEstimates(const WithoutEstimates&) = delete;
  WithoutEstimates& operator=(const WithoutEstimates&) = delete;

 private:
  std::string advice(const Pool&, DeviceKind) const override { return {}; }

  const Adviser* before_;
};

}  // namespace reprise::cli
