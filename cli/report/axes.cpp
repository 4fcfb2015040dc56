#include "cli/report/axes.h"

#include <algorithm>
#include <cmath>

#include "cli/format.h"
#include "cli/plot_layout.h"

namespace reprise::cli {

namespace {

/// Room above the highest peak for its label.
constexpr double kHeadroom = 1.12;
constexpr std::int64_t kMillisecond = 1'000'000;

/// The largest unit of which `bytes` are at least two.
std::int64_t unit_of(double bytes) {
  std::int64_t unit = 1;
  while (unit < std::int64_t{1} << 40 && bytes >= 2.0 * 1024.0 * static_cast<double>(unit)) unit *= 1024;
  return unit;
}

/// "MiB" of "1.00 MiB".
std::string name_of_unit(std::int64_t unit) {
  const std::string one = format_bytes(unit);
  return one.substr(one.find(' ') + 1);
}

std::string number(double value, int decimals) {
  return decimals == 0 ? format_count(std::llround(value)) : format_fixed(value, decimals);
}

/// The round values of `ticks` up to `end`, with their unit.
std::vector<AxisTick> labelled(const Ticks& ticks, double end, const std::string& unit) {
  std::vector<AxisTick> result;
  for (int i = 0; i <= ticks.count && ticks.step * i <= end * (1 + 1e-9); ++i) {
    const double value = ticks.step * i;
    result.push_back({value / end, i == 0 ? "0" : number(value, ticks.decimals) + " " + unit});
  }
  return result;
}

/// On a phone only every second, third, ... tick keeps its label.
void leave_out_labels(std::vector<AxisTick>& ticks) {
  double needed = 0;
  for (const AxisTick& tick : ticks) needed += text_width(tick.label, kPanelText) + 16;
  const auto every = static_cast<std::size_t>(std::ceil(needed / kNarrowPanel));
  for (std::size_t i = 0; i < ticks.size(); ++i) ticks[i].wide_only = i % every != 0;
}

}  // namespace

MemoryAxes::MemoryAxes(const std::vector<RunView>& views) {
  std::int64_t peak = 1;
  for (const RunView& view : views) {
    end_ns_ = std::max(end_ns_, view.end_ns);
    peak = std::max(peak, view.peak.allocated);
  }
  top_bytes_ = kHeadroom * static_cast<double>(peak);
  const std::int64_t unit = unit_of(static_cast<double>(peak));
  const double top = top_bytes_ / static_cast<double>(unit);
  y_ticks_ = labelled(ticks_up_to(top, 4), top, name_of_unit(unit));
  const bool short_step = end_ns_ < kMillisecond;
  const double end = static_cast<double>(end_ns_) / (short_step ? 1e3 : 1e6);
  x_ticks_ = labelled(ticks_up_to(end, 4), end, short_step ? "µs" : "ms");
  leave_out_labels(x_ticks_);
}

double MemoryAxes::x_share(std::int64_t time_ns) const {
  return std::clamp(static_cast<double>(time_ns) / static_cast<double>(end_ns_), 0.0, 1.0);
}

double MemoryAxes::y_share(std::int64_t bytes) const {
  return std::clamp(static_cast<double>(bytes) / top_bytes_, 0.0, 1.0);
}

}  // namespace reprise::cli
