// Time and memory of the traced steps in Chrome's trace format, which Perfetto opens.
#pragma once

#include <string>
#include <vector>

#include "cli/report/report.h"

namespace reprise::cli {

/// Each run as a process: its spans on a track for each phase, inside those of their checkpoint segments, and
/// counters of memory. Spans and memory are of different steps; both begin at 0.
std::string chrome_trace(const std::vector<RunReport>& runs);

}  // namespace reprise::cli
