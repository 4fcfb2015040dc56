#include "plot_layout.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <utility>

#include "utf8.h"

namespace reprise::cli {

namespace {

/// Width of a column within which a line is thinned.
constexpr double kColumn = 1.0;

constexpr std::string_view kNarrow = "iljtfrI.,:;|!'()[]/ -";
constexpr std::string_view kWide = "mwMW@%GOQ";

/// The room that a marker and a label need around them.
constexpr double kClearance = 4.0;

/// Costs of a label on something that must stay visible, and of each piece of a leader on it.
constexpr double kCollision = 1e5;
constexpr double kCrossing = 40.0;

double character_width(char32_t code) {
  if (code >= 0x80) return display_width(code) * (display_width(code) == 2 ? 0.55 : 0.68);
  const char c = static_cast<char>(code);
  if (kNarrow.find(c) != std::string_view::npos) return 0.42;
  if (kWide.find(c) != std::string_view::npos) return 0.95;
  return c >= 'A' && c <= 'Z' ? 0.72 : 0.63;
}

std::string cut(std::string_view text, double font_size, bool bold, double width) {
  for (int columns = display_width(text); columns > 0; --columns) {
    std::string shortened = fit(text, columns);
    if (text_width(shortened, font_size, bold) <= width) return shortened;
  }
  return {};
}

Box around(Point centre, double half_width, double half_height) {
  return {centre.x - half_width, centre.y - half_height, centre.x + half_width, centre.y + half_height};
}

/// How much of a line of horizontal and vertical pieces lies inside a box.
double length_inside(const std::vector<Point>& line, const Box& box) {
  double length = 0.0;
  for (std::size_t i = 1; i < line.size(); ++i) {
    const auto [left, right] = std::minmax(line[i - 1].x, line[i].x);
    const auto [top, bottom] = std::minmax(line[i - 1].y, line[i].y);
    if (right < box.left || left > box.right || bottom < box.top || top > box.bottom) continue;
    length += std::min(right, box.right) - std::max(left, box.left);
    length += std::min(bottom, box.bottom) - std::max(top, box.top);
  }
  return length;
}

/// The line that joins a label to its point, as a row of small boxes that begin clear of the marker.
std::vector<Box> leader_boxes(const Label& label, double marker_radius) {
  constexpr double step = 4.0;
  const Point near = label.near();
  const double dx = near.x - label.anchor.x;
  const double dy = near.y - label.anchor.y;
  const double length = std::hypot(dx, dy);
  std::vector<Box> boxes;
  for (double along = marker_radius + step; along < length; along += step) {
    const Point place{label.anchor.x + dx * along / length, label.anchor.y + dy * along / length};
    boxes.push_back(around(place, step / 2, step / 2));
  }
  return boxes;
}

/// Finds places by their costs: being far away, lying on lines, covering what must stay visible.
class Placement {
 public:
  Placement(std::span<const std::vector<Point>> lines, const Box& area, double marker_radius,
            std::vector<Box> markers)
      : lines_(lines), area_(area), marker_radius_(marker_radius), taken_(std::move(markers)) {}

  /// Moves the label to its best place, which is then taken.
  void place(Label& label) {
    const double half_width = label.width / 2;
    const double half_height = label.height / 2;
    Box best = moved_inside(around(label.anchor, half_width, half_height));
    double best_cost = std::numeric_limits<double>::infinity();
    const auto consider = [&](const Box& box) {
      label.box = box;
      const double cost = cost_of(label, best_cost);
      if (cost >= best_cost) return;
      best = box;
      best_cost = cost;
    };
    const double step_x = std::max(area_.width() / 60.0, 4.0);
    const double step_y = std::max(area_.height() / 60.0, 4.0);
    for (double y = area_.top + half_height; y <= area_.bottom - half_height; y += step_y) {
      for (double x = area_.left + half_width; x <= area_.right - half_width; x += step_x) {
        consider(around({x, y}, half_width, half_height));
      }
    }
    // The places right above the point, which the grid only comes near to.
    for (const double x : {0.0, -half_width, half_width}) {
      const Point centre{label.anchor.x + x, label.anchor.y - half_height - marker_radius_ - kClearance};
      consider(moved_inside(around(centre, half_width, half_height)));
    }
    label.box = best;
    taken_.push_back(best);
    const std::vector<Box> leader = leader_boxes(label, marker_radius_);
    taken_.insert(taken_.end(), leader.begin(), leader.end());
  }

 private:
  /// What the label's place costs, or at least `limit` when it costs more than that.
  double cost_of(const Label& label, double limit) const {
    const Point near = label.near();
    const Box& box = label.box;
    double cost = 2.0 * std::hypot(near.x - label.anchor.x, near.y - label.anchor.y) +
                  0.3 * std::abs((box.left + box.right) / 2 - label.anchor.x);
    if (cost >= limit) return limit;
    const Box padded{box.left - kClearance, box.top - kClearance, box.right + kClearance,
                     box.bottom + kClearance};
    for (const Box& other : taken_) cost += padded.overlaps(other) ? kCollision : 0.0;
    if (cost >= limit) return limit;
    for (const Box& piece : leader_boxes(label, marker_radius_)) {
      for (const Box& other : taken_) cost += piece.overlaps(other) ? kCrossing : 0.0;
    }
    for (const std::vector<Point>& line : lines_) {
      if (cost >= limit) return limit;
      const double covered = length_inside(line, padded);
      cost += covered > 0.0 ? 30.0 + covered : 0.0;
    }
    return cost;
  }

  Box moved_inside(const Box& box) const {
    const double dx = std::max(area_.left - box.left, 0.0) - std::max(box.right - area_.right, 0.0);
    const double dy = std::max(area_.top - box.top, 0.0) - std::max(box.bottom - area_.bottom, 0.0);
    return {box.left + dx, box.top + dy, box.right + dx, box.bottom + dy};
  }

  std::span<const std::vector<Point>> lines_;
  Box area_;
  double marker_radius_;
  std::vector<Box> taken_;
};

}  // namespace

double text_width(std::string_view text, double font_size, bool bold) {
  double width = 0.0;
  while (!text.empty()) {
    const Character character = first_character(text);
    width += character_width(character.code);
    text.remove_prefix(character.bytes);
  }
  return width * font_size * (bold ? 1.1 : 1.0);
}

std::vector<std::string> wrap(std::string_view text, double font_size, bool bold, double width,
                              int max_lines) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    if (static_cast<int>(lines.size()) + 1 == max_lines || text_width(text, font_size, bold) <= width) {
      lines.push_back(cut(text, font_size, bold, width));
      break;
    }
    std::size_t end = 0;
    for (std::size_t space = text.find(' '); space != std::string_view::npos;
         space = text.find(' ', space + 1)) {
      if (text_width(text.substr(0, space), font_size, bold) > width) break;
      end = space;
    }
    if (end == 0) {
      // A single word is wider than the line.
      const std::size_t word = std::min(text.find(' '), text.size());
      lines.push_back(cut(text.substr(0, word), font_size, bold, width));
      end = word;
    } else {
      lines.emplace_back(text.substr(0, end));
    }
    text.remove_prefix(std::min(text.find_first_not_of(' ', end), text.size()));
  }
  return lines;
}

Ticks ticks_up_to(double highest, int at_least) {
  if (!(highest > 0.0) || !std::isfinite(highest)) return {};
  const double power = std::pow(10.0, std::floor(std::log10(highest)));
  Ticks ticks;
  for (const double factor : {5.0, 2.0, 1.0, 0.5, 0.2, 0.1}) {
    ticks.step = factor * power;
    ticks.count = std::max(1, static_cast<int>(std::ceil(highest / ticks.step - 1e-9)));
    if (ticks.count >= at_least) break;
  }
  ticks.decimals = std::clamp(static_cast<int>(-std::floor(std::log10(ticks.step) + 1e-9)), 0, 9);
  return ticks;
}

std::vector<Point> step_corners(std::span<const Point> points, double right) {
  std::vector<Point> corners;
  const auto level = [&](double x, double y) {
    if (!corners.empty() && corners.back().y == y) return;
    if (!corners.empty()) corners.push_back({x, corners.back().y});
    corners.push_back({x, y});
  };
  for (std::size_t first = 0; first < points.size();) {
    const double column_end = std::floor(points[first].x / kColumn) * kColumn + kColumn;
    std::size_t end = first;
    while (end < points.size() && points[end].x < column_end) ++end;
    end = std::max(end, first + 1);
    const auto by_height = [](const Point& a, const Point& b) { return a.y < b.y; };
    const auto in_column = points.subspan(first, end - first);
    auto [one, other] = std::minmax_element(in_column.begin(), in_column.end(), by_height);
    if (other < one) std::swap(one, other);
    level(in_column.front().x, in_column.front().y);
    level(one->x, one->y);
    level(other->x, other->y);
    level(in_column.back().x, in_column.back().y);
    first = end;
  }
  if (!corners.empty()) corners.push_back({std::max(right, corners.back().x), corners.back().y});
  return corners;
}

void place_labels(std::span<Label> labels, std::span<const std::vector<Point>> lines, const Box& area,
                  double marker_radius) {
  std::vector<Box> markers;
  for (const Label& label : labels) markers.push_back(around(label.anchor, marker_radius, marker_radius));
  Placement placement(lines, area, marker_radius, std::move(markers));
  for (Label& label : labels) placement.place(label);
}

}  // namespace reprise::cli
