#include "cli/report/phases.h"

#include <algorithm>
#include <optional>

namespace reprise::cli {

namespace {

std::vector<PhaseBand> bands_of_allocations(const std::vector<MemoryEvent>& events) {
  std::vector<PhaseBand> bands;
  for (const MemoryEvent& event : events) {
    const Phase phase = event.origin.phase;
    if (event.action != MemoryEvent::Action::allocate || phase == Phase::other) continue;
    if (!bands.empty()) bands.back().end_ns = event.time_ns;
    if (bands.empty() || bands.back().phase != phase) bands.push_back({phase, event.time_ns, event.time_ns});
  }
  if (!bands.empty()) bands.back().end_ns = events.back().time_ns;
  return bands;
}

/// From the first beginning of a phase to its last end.
struct Extent {
  std::int64_t start_ns = 0;
  std::int64_t end_ns = 0;
};

template <class Timed, class Belongs>
std::optional<Extent> extent_of(const std::vector<Timed>& all, Belongs&& belongs) {
  std::optional<Extent> extent;
  for (const Timed& one : all) {
    if (!belongs(one.phase)) continue;
    if (!extent) extent = {one.start_ns, one.end_ns};
    extent->end_ns = std::max(extent->end_ns, one.end_ns);
  }
  return extent;
}

bool goes_forward(Phase phase) { return phase == Phase::forward; }
bool optimises(Phase phase) { return phase == Phase::optimiser; }

/// Gives the optimiser, at the end of the step, the time that it took in the timed one, stretched as forward
/// is.
void complete(const std::vector<Span>& spans, std::vector<PhaseBand>& bands) {
  const std::optional<Extent> forward = extent_of(spans, goes_forward);
  const std::optional<Extent> optimiser = extent_of(spans, optimises);
  const std::optional<Extent> drawn = extent_of(bands, goes_forward);
  if (!forward || !optimiser || !drawn || forward->end_ns <= forward->start_ns) return;
  const double stretch = static_cast<double>(drawn->end_ns - drawn->start_ns) /
                         static_cast<double>(forward->end_ns - forward->start_ns);
  const double length = stretch * static_cast<double>(optimiser->end_ns - optimiser->start_ns);
  if (!optimises(bands.back().phase))
    bands.push_back({Phase::optimiser, bands.back().end_ns, bands.back().end_ns});
  PhaseBand& last = bands.back();
  last.end_ns = std::max(last.end_ns, last.start_ns + static_cast<std::int64_t>(length));
}

}  // namespace

std::vector<PhaseBand> phase_bands(const RunReport& run) {
  std::vector<PhaseBand> bands = bands_of_allocations(run.events);
  if (!bands.empty()) complete(run.spans, bands);
  return bands;
}

}  // namespace reprise::cli
