// The scales of time and bytes that all panels of memory share.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cli/report/run_view.h"

namespace reprise::cli {

/// How wide a panel is at least on a phone, and on a page that has room; and the size of its letters.
inline constexpr double kNarrowPanel = 265;
inline constexpr double kWidePanel = 640;
inline constexpr double kPanelText = 12;

/// A labelled value of an axis, at a share of its length.
struct AxisTick {
  double share = 0;
  std::string label;
  bool wide_only = false;  // on a phone there is no room for its label
};

/// From 0 to what the longest and the largest run need.
class MemoryAxes {
 public:
  explicit MemoryAxes(const std::vector<RunView>& views);

  std::int64_t end_ns() const { return end_ns_; }
  double top_bytes() const { return top_bytes_; }
  double x_share(std::int64_t time_ns) const;
  double y_share(std::int64_t bytes) const;
  const std::vector<AxisTick>& x_ticks() const { return x_ticks_; }
  const std::vector<AxisTick>& y_ticks() const { return y_ticks_; }

 private:
  std::int64_t end_ns_ = 1000;
  double top_bytes_ = 1;
  std::vector<AxisTick> x_ticks_, y_ticks_;
};

}  // namespace reprise::cli
