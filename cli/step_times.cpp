#include "cli/step_times.h"

#include <fmt/format.h>

#include <algorithm>

#include "cli/format.h"

namespace reprise::cli {
namespace {

constexpr std::size_t kLeastTimed = 3;
constexpr double kMostSpread = 2;  // of the longest step over the shortest

}  // namespace

bool StepTimes::few() const { return timed < kLeastTimed; }
bool StepTimes::noisy() const { return !few() && most_ms > kMostSpread * least_ms; }

StepTimes summarise_times(const std::vector<double>& step_ms) {
  std::vector<double> times(step_ms.begin() + (step_ms.size() > 1 ? 1 : 0), step_ms.end());
  if (times.empty()) return {};
  std::sort(times.begin(), times.end());
  const std::size_t n = times.size();
  return {.median_ms = n % 2 == 1 ? times[n / 2] : 0.5 * (times[n / 2 - 1] + times[n / 2]),
          .least_ms = times.front(),
          .most_ms = times.back(),
          .timed = step_ms.size() - 1};
}

std::string spread_text(const StepTimes& times) {
  return times.timed == 0 ? "\u2013" : format_ms_range(times.least_ms, times.most_ms, times.median_ms);
}

std::string overhead_text(const StepTimes& times, const StepTimes& first) {
  if (times.few() || first.few()) return "\u2013";
  if (times.noisy() || first.noisy()) return "noisy";
  return fmt::format("{:+.1f} %", 100 * (times.median_ms / first.median_ms - 1));
}

std::string remark_on_times(const std::vector<StepTimes>& all) {
  if (std::any_of(all.begin(), all.end(), [](const StepTimes& times) { return times.few(); })) {
    return fmt::format(
        "no overhead from fewer than {} timed steps (the first warms up): give --steps {} or more",
        kLeastTimed, kLeastTimed + 1);
  }
  if (std::any_of(all.begin(), all.end(), [](const StepTimes& times) { return times.noisy(); })) {
    return fmt::format(
        "noisy: steps of one setting differ by more than {:g} times, the machine was busy; "
        "OMP_WAIT_POLICY=passive and more --steps help",
        kMostSpread);
  }
  return {};
}

}  // namespace reprise::cli
