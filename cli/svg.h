// The pieces that the chart is put together from, as SVG text.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "plot_layout.h"

namespace reprise::cli {

inline constexpr double kMarkerRadius = 6.0;

/// A text made safe for SVG: markup escaped, control characters and broken UTF-8 replaced.
std::string escaped(std::string_view text);

/// A coordinate in tenths.
std::string at(double value);

/// A text at its baseline; `content` may hold markup.
std::string text_element(Point place, std::string_view style, std::string_view content);

/// The rules for the classes that all pieces use, for light and dark.
std::string style_sheet();

/// The mark of a series: its colour and one of four shapes.
std::string marker(std::size_t index, Point place);

/// The attributes of a series' line.
std::string line_style(std::size_t index);

/// The data of a path of horizontal and vertical pieces; `corners` must not be empty.
std::string path_of(const std::vector<Point>& corners);

}  // namespace reprise::cli
