// What a comparison leaves for reading: a page, memory snapshots and a trace of time.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "cli/table.h"
#include "reprise/memory/trace.h"
#include "reprise/span.h"

namespace reprise::cli {

/// One setting: its row of the comparison, and what was traced of a step. The pool and the tape's segments
/// that the trace names must still live.
struct RunReport {
  std::string segments;               // the setting: "none", "every:3"
  std::vector<Cell> cells;            // its row, one a column
  std::int64_t peak_activations = 0;  // bytes
  double step_ms = 0;                 // 0: not measured
  bool certain_time = true;           // enough steps were timed, and alike
  std::vector<SegmentInfo> before;    // the pool when the trace of memory began
  std::vector<MemoryEvent> events;    // of one step
  bool truncated = false;             // later events are missing
  std::vector<Span> spans;            // of another step
};

/// Several settings of the same step; the first is the one that the others are compared with.
struct Report {
  std::string title, description, data, device;
  std::string verdict;          // a sentence under the result: whether all settings computed the same
  std::string remark{};         // on times that allow no comparison
  std::vector<Column> columns;  // of the comparison
  std::vector<RunReport> runs;
};

/// Makes the folder where there is none; throws Error unless the files of a report on these settings can be
/// written into it. Returns them.
std::vector<std::filesystem::path> prepare_report_folder(const std::filesystem::path& folder,
                                                         const std::vector<std::string>& settings);

/// Writes report.html, trace.json and a snapshot-<setting>.json for each run into `folder`.
void write_report(const std::filesystem::path& folder, const Report& report);

}  // namespace reprise::cli
