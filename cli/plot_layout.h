// Where the parts of a chart go, in units of its view box.
#pragma once

#include <algorithm>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace reprise::cli {

struct Point {
  double x = 0.0;
  double y = 0.0;
};

struct Box {
  double left = 0.0, top = 0.0, right = 0.0, bottom = 0.0;

  double width() const { return right - left; }
  double height() const { return bottom - top; }
  bool overlaps(const Box& other) const {
    return left < other.right && other.left < right && top < other.bottom && other.top < bottom;
  }
};

/// An upper estimate of a text's width in the fonts that the chart may be shown in.
double text_width(std::string_view text, double font_size, bool bold = false);

/// The text in lines of at most `width`, broken between words; the last of `max_lines` is cut with "…" if
/// need be.
std::vector<std::string> wrap(std::string_view text, double font_size, bool bold, double width,
                              int max_lines);

/// Round numbers from 0 on, in steps of 1, 2 or 5 times a power of ten.
struct Ticks {
  double step = 1.0;
  int count = 1;     ///< steps from 0 to the last tick
  int decimals = 0;  ///< digits that tell neighbours apart
};

/// The widest steps that reach `highest` in at least `at_least` (at most 10) of them.
Ticks ticks_up_to(double highest, int at_least);

/// A step line in the view box: the corners of a path of horizontal and vertical pieces, thinned so that no
/// more than a few of them share a column, with every extreme kept. `points` must ascend in x.
std::vector<Point> step_corners(std::span<const Point> points, double right);

/// A label of a marked point, and where it is to go.
struct Label {
  Point anchor;
  double width = 0.0;
  double height = 0.0;
  Box box{};

  /// Where a line from the anchor meets the label, whose letters may be narrower than the box.
  Point near() const {
    const double inset = 0.2 * box.width();
    return {std::clamp(anchor.x, box.left + inset, box.right - inset),
            std::clamp(anchor.y, box.top, box.bottom)};
  }
};

/// Gives each label a box inside `area` that touches neither another label nor a marker, near its anchor and
/// clear of the lines as far as there is room.
void place_labels(std::span<Label> labels, std::span<const std::vector<Point>> lines, const Box& area,
                  double marker_radius);

}  // namespace reprise::cli
