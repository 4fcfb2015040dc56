#include "reprise/predict.h"

#include <fmt/format.h>

#include <optional>

#include "reprise/context.h"
#include "reprise/detail/dry_lease.h"
#include "reprise/device.h"
#include "reprise/error.h"

namespace reprise::checkpoint {
namespace {

/// A dry device of its own with a fresh pool, the thread's generator and counters set aside.
class OnDryDevice {
 public:
  OnDryDevice(const DeviceProfile& profile, std::size_t capacity_bytes)
      : lease_(profile),
        device_(lease_.device()),
        pool_before_(default_pool(device_)),
        generator_(generator()),
        counters_(tape_counters()) {
    std::unique_ptr<Source> source = source_of(device_);
    if (capacity_bytes < source->capacity()) source = limited_source(std::move(source), capacity_bytes);
    pool_ = std::make_shared<Pool>(std::move(source));
    set_default_pool(pool_, device_);
    on_device_.emplace(device_);
  }
  OnDryDevice(const OnDryDevice&) = delete;
  OnDryDevice& operator=(const OnDryDevice&) = delete;
  ~OnDryDevice() {
    on_device_.reset();
    set_default_pool(pool_before_, device_);
    generator() = generator_;
    context().counters = counters_;
  }
  Pool& pool() { return *pool_; }

 private:
  detail::DryLease lease_;
  Device device_;
  std::shared_ptr<Pool> pool_, pool_before_;
  Generator generator_;
  TapeCounters counters_;
  std::optional<OnDevice> on_device_;
};

/// What decides how the pool will serve the next requests, but for the order of its free blocks.
bool same_state(const std::vector<SegmentInfo>& a, const std::vector<SegmentInfo>& b) {
  const auto same_block = [](const BlockInfo& x, const BlockInfo& y) {
    return x.data == y.data && x.allocated == y.allocated && x.requested == y.requested && x.live == y.live &&
           x.category == y.category;
  };
  const auto same_segment = [&](const SegmentInfo& x, const SegmentInfo& y) {
    return x.data == y.data && x.bytes == y.bytes &&
           std::equal(x.blocks.begin(), x.blocks.end(), y.blocks.begin(), y.blocks.end(), same_block);
  };
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), same_segment);
}

bool same_peaks(const MemoryStatistics& a, const MemoryStatistics& b) {
  return a.all.requested.peak == b.all.requested.peak && a.all.allocated.peak == b.all.allocated.peak &&
         a.reserved.peak == b.reserved.peak;
}

/// Tags are names that go with the pool; those of places stay.
void keep_tags(std::vector<MemoryEvent>& events) {
  for (MemoryEvent& event : events) {
    if (!event.tag.empty()) event.tag = place_in(nullptr, event.tag, "", 0)->path;
  }
}

}  // namespace

double Prediction::recomputed_share() const {
  return tape.recorded_ms > 0 ? tape.replayed_ms / (3 * tape.recorded_ms) : 0;
}

Prediction predict(const DeviceProfile& profile, const std::function<Step()>& build,
                   const PredictOptions& options) {
  if (options.most_steps < 1)
    throw ValueError(fmt::format("[predict] most_steps {}; it must be at least 1", options.most_steps));
  OnDryDevice scope(profile, options.capacity_bytes);
  Pool& pool = scope.pool();
  Prediction result;
  {
    const MemoryTrace trace(pool);
    const Step step = build();
    bool repeats = false;
    for (; result.steps < options.most_steps && !repeats; ++result.steps) {
      result.before = pool.segments();
      const MemoryStatistics statistics = pool.statistics();
      result.step_starts.push_back(trace.events().size());
      reset_tape_counters();
      step(result.phases);
      result.tape = tape_counters();
      repeats = result.steps > 0 && result.steps + 1 >= options.least_steps &&
                same_peaks(statistics, pool.statistics()) && same_state(result.before, pool.segments());
    }
    result.events = trace.events();
    keep_tags(result.events);
    result.memory = pool.statistics();
    result.segments = pool.usage_by_tag();
  }
  result.peak = peak_of(result.before, std::span(result.events).subspan(result.step_starts.back()));
  return result;
}

}  // namespace reprise::checkpoint
