// The memory of a traced step as a file that PyTorch's memory viewer opens.
#pragma once

#include <string>
#include <vector>

#include "cli/report/report.h"

namespace reprise::cli {

/// The names of the runs' snapshots, all different: "snapshot-none.json", "snapshot-every-3.json".
std::vector<std::string> snapshot_names(const std::vector<RunReport>& runs);

/// The pool after the step, and every event on the way there, as JSON.
std::string memory_snapshot(const RunReport& run);

}  // namespace reprise::cli
