// A chart of memory over one training step, as an SVG that needs nothing else.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace reprise::cli {

/// Bytes (second) from a moment (first) on, until the next point. Points that are not finite are left out.
struct Series {
  std::string name;
  std::vector<std::pair<double, double>> points;
};

/// Draws each series as steps, marks and labels its peak, and compares the peaks with that of the first
/// series. Fits phones and wide pages, follows the reader's light or dark scheme, and tells series apart by
/// colour and by marker.
std::string render_memory_svg(std::string_view title, std::string_view subtitle, std::string_view x_label,
                              std::span<const Series> series);

}  // namespace reprise::cli
