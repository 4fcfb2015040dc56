// When a traced step was doing what.
#pragma once

#include <cstdint>
#include <vector>

#include "cli/report/report.h"

namespace reprise::cli {

/// A stretch of time that belongs to one phase.
struct PhaseBand {
  Phase phase = Phase::other;
  std::int64_t start_ns = 0;
  std::int64_t end_ns = 0;
};

/// The phases of the step whose memory was traced, one after another, as its allocations tell them. How long
/// the optimiser takes after the last of them is taken from the step whose spans were traced.
std::vector<PhaseBand> phase_bands(const RunReport& run);

}  // namespace reprise::cli
