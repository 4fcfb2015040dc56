#include "cli/report/run_view.h"

#include <algorithm>

namespace reprise::cli {

RunView::RunView(const RunReport& report)
    : run(report),
      samples(memory_samples(report)),
      peak(peak_of(report.before, report.events)),
      phases(phase_bands(report)),
      end_ns(report.events.empty() ? 0 : report.events.back().time_ns) {
  if (!phases.empty()) end_ns = std::max(end_ns, phases.back().end_ns);
}

std::int64_t RunView::peak_ns() const {
  return peak.event < run.events.size() ? run.events[peak.event].time_ns : 0;
}

std::string peak_text(const RunView& view) {
  if (view.peak.event >= view.run.events.size()) return "the start of the step";
  return describe(view.peak.origin);
}

}  // namespace reprise::cli
