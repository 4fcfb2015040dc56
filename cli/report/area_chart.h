// Memory over one step of a run, as a stacked area.
#pragma once

#include <cstddef>
#include <string>

#include "cli/report/axes.h"

namespace reprise::cli {

/// A figure of the run's memory by category, its peak and its phases, thinned to `columns` parts of the time.
std::string memory_panel(const RunView& view, const MemoryAxes& axes, std::size_t columns);

}  // namespace reprise::cli
