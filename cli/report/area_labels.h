// Names that stand inside the areas of a panel of memory.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "cli/report/axes.h"

namespace reprise::cli {

/// A name in the middle of the roomiest part of its area.
struct AreaLabel {
  std::string_view name;
  double x_share = 0;
  double y_share = 0;
  bool wide_only = false;  // there is no room for it on a phone
};

/// A label for each category whose area has room for one in a panel of that height.
std::vector<AreaLabel> area_labels(std::span<const MemorySample> samples, std::int64_t end_ns,
                                   const MemoryAxes& axes, double height);

}  // namespace reprise::cli
