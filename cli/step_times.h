// What the times of a few steps allow to say.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace reprise::cli {

/// Median, least and most of all steps but the first, which warms up what later ones reuse.
struct StepTimes {
  double median_ms = 0, least_ms = 0, most_ms = 0;
  std::size_t timed = 0;  // steps; 0: there was only the first, which is what the median is then

  bool few() const;    // too few to tell a cost from chance
  bool noisy() const;  // the machine did something else, too
  bool certain() const { return !few() && !noisy(); }
};

StepTimes summarise_times(const std::vector<double>& step_ms);

/// "1.77–5.85 s": in the unit of the median.
std::string spread_text(const StepTimes& times);

/// "+20.5 %" of the median over the first setting's; "noisy" or "–" where that would be chance.
std::string overhead_text(const StepTimes& times, const StepTimes& first);

/// A sentence on the times that allow no comparison, and what helps; empty when all allow it.
std::string remark_on_times(const std::vector<StepTimes>& all);

}  // namespace reprise::cli
