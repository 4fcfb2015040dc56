// What was live when a run needed most memory, as tables.
#pragma once

#include <string>
#include <vector>

#include "cli/report/run_view.h"

namespace reprise::cli {

/// The bytes of each category at the peak of each run.
std::string category_table(const std::vector<RunView>& views);

/// The largest live values at the run's peak.
std::string value_table(const RunView& view);

}  // namespace reprise::cli
