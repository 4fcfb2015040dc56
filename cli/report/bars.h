// Where the time of the runs goes, as horizontal bars.
#pragma once

#include <string>
#include <vector>

#include "cli/report/run_view.h"

namespace reprise::cli {

/// Bars of the longest operations, the same ones for every run; empty where nothing was measured.
std::string operation_bars(const std::vector<RunView>& views);

/// Bars of the longest checkpoint segments of each run, in their order; empty where there are none.
std::string segment_bars(const std::vector<RunView>& views);

}  // namespace reprise::cli
