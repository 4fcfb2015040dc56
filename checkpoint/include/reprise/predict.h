// How much memory a training step takes on a device that need not be there.
//
//   const Prediction p = checkpoint::predict(parse_profile("h200"), [&] {
//     auto model = std::make_shared<nn::Gpt>(config);
//     auto adam = std::make_shared<nn::AdamW>(...);
//     return [=](checkpoint::PhaseMeter& meter) {
//       Tensor loss;
//       meter.run(Phase::forward, [&] { loss = model->loss(ids, targets); });
//       meter.run(Phase::backward, [&] { loss.backward(); });
//       meter.run(Phase::optimiser, [&] { adam->step(1e-3); adam->zero_grad(); });
//     };
//   });
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "reprise/device_profile.h"
#include "reprise/memory.h"
#include "reprise/span.h"
#include "reprise/tape.h"

namespace reprise::checkpoint {

/// What the parts of a step use of the default device's pool: peaks are those within the part.
class PhaseMeter {
 public:
  template <class F>
  void run(Phase phase, F&& f) {
    const MemoryScope memory(current_pool());
    const PhaseScope scope(phase);
    std::forward<F>(f)();
    statistics_[static_cast<std::size_t>(phase)] = memory.statistics();
  }
  /// Of the last run of that phase.
  const MemoryStatistics& of(Phase phase) const { return statistics_[static_cast<std::size_t>(phase)]; }

 private:
  std::array<MemoryStatistics, 5> statistics_{};
};

/// What a step takes, to the byte what the same program measures on a real device.
struct Prediction {
  MemoryStatistics memory;  // from the building of the model on
  PhaseMeter phases;        // of the last step
  MemoryPeak peak;          // of the last step: what was live then, and who asked last
  std::vector<std::pair<std::string, Usage>> segments;  // from the building on, by checkpoint segment
  TapeCounters tape;                                    // of the last step
  std::int64_t steps = 0;                               // until a step left the pool as the one before had
  std::vector<SegmentInfo> before;       // the pool's segments at the beginning of the last step
  std::vector<MemoryEvent> events;       // from the building on
  std::vector<std::size_t> step_starts;  // the first event of each step

  /// Time of the replays over that of the step without them, from the profile's peak rates; backward counts
  /// as two forwards.
  double recomputed_share() const;
};

using Step = std::function<void(PhaseMeter&)>;

struct PredictOptions {
  std::int64_t most_steps = 16;  // as many as this are run when none repeats the one before
  std::int64_t least_steps = 1;
  std::size_t capacity_bytes = kUnlimited;  // when it is less than the profile's
};

/// Builds a model on a dry device of that profile, with `build`, and runs the step that it returns until
/// steps repeat themselves. The default device and the generator are afterwards what they were. Threads may
/// predict at the same time, each on a device of its own, which `Device::dry(profile)` is there. Throws
/// OutOfMemory where the step does not fit.
Prediction predict(const DeviceProfile& profile, const std::function<Step()>& build,
                   const PredictOptions& options = {});

}  // namespace reprise::checkpoint
