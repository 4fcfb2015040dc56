#include "plot.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <optional>

#include "format.h"
#include "plot_layout.h"
#include "reprise/memory/statistics.h"
#include "svg.h"
#include "utf8.h"

namespace reprise::cli {

namespace {

constexpr double kWidth = 600.0;
constexpr double kMargin = 22.0;
constexpr double kPlotHeight = 300.0;
constexpr double kTitleSize = 22.0;
constexpr double kTextSize = 16.0;
struct Unit {
  const char* name;
  double bytes;
};
constexpr std::array kUnits{Unit{"bytes", 1.0}, Unit{"KiB", 1024.0}, Unit{"MiB", 1048576.0},
                            Unit{"GiB", 1073741824.0}};

/// A series ready to be drawn.
struct Curve {
  std::string name;
  std::vector<Point> values;
  std::optional<Point> peak;
};

Curve curve_of(const Series& series) {
  Curve curve{printable(series.name), {}, {}};
  for (const auto& [x, y] : series.points) {
    if (std::isfinite(x) && std::isfinite(y)) curve.values.push_back({x, y});
  }
  std::stable_sort(curve.values.begin(), curve.values.end(),
                   [](const Point& a, const Point& b) { return a.x < b.x; });
  for (const Point& value : curve.values) {
    if (!curve.peak || value.y > curve.peak->y) curve.peak = value;
  }
  return curve;
}

/// Maps values to the view box.
struct Scale {
  Box area;
  double first_x = 0.0;
  double last_x = 1.0;
  double top_y = 1.0;

  double x(double value) const { return area.left + (value - first_x) / (last_x - first_x) * area.width(); }
  double y(double value) const { return area.bottom - std::clamp(value / top_y, 0.0, 1.0) * area.height(); }
  Point operator()(Point value) const { return {x(value.x), y(value.y)}; }
};

/// Collects the chart from top to bottom.
class Chart {
 public:
  Chart(std::string_view x_label, std::span<const Series> series) : x_label_(printable(x_label)) {
    for (const Series& one : series) curves_.push_back(curve_of(one));
    double highest = 0.0;
    for (const Curve& curve : curves_) highest = curve.peak ? std::max(highest, curve.peak->y) : highest;
    for (const Unit& unit : kUnits) unit_ = highest >= 2.0 * unit.bytes ? unit : unit_;
    // Room above the highest peak for its label.
    ticks_ = ticks_up_to(highest / unit_.bytes * 1.1, 4);
  }

  std::string render(std::string_view title, std::string_view subtitle) {
    draw_heading(printable(title), printable(subtitle));
    draw_legend();
    lay_out_plot();
    draw_axes();
    draw_curves();
    const std::string box = "0 0 " + at(kWidth) + " " + at(bottom_);
    return "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"mp\" viewBox=\"" + box +
           "\" role=\"img\" aria-label=\"" + escaped(title) + "\">\n<title>" + escaped(title) +
           "</title>\n<desc>" + escaped(description()) + "</desc>\n" + style_sheet() +
           "<rect class=\"mp-ground\" width=\"" + at(kWidth) + "\" height=\"" + at(bottom_) +
           "\" rx=\"10\"/>\n" + body_ + "</svg>\n";
  }

 private:
  void draw_heading(const std::string& title, const std::string& subtitle) {
    for (const std::string& line : wrap(title, kTitleSize, true, kWidth - 2 * kMargin, 2)) {
      bottom_ += kTitleSize * 1.25;
      body_ += text_element({kMargin, bottom_}, "mp-title mp-ink", escaped(line));
    }
    bottom_ += 2;
    for (const std::string& line : wrap(subtitle, kTextSize, false, kWidth - 2 * kMargin, 3)) {
      bottom_ += kTextSize * 1.35;
      body_ += text_element({kMargin, bottom_}, "mp-soft", escaped(line));
    }
  }

  std::string peak_text(std::size_t index) const {
    if (!curves_[index].peak) return "no data";
    return format_bytes(std::llround(std::clamp(curves_[index].peak->y, -9e18, 9e18)));
  }

  std::string label_text(std::size_t index) const {
    // A name that has to be cut would not tell more than the marker does.
    const bool short_name = display_width(curves_[index].name) <= 14;
    return (short_name ? curves_[index].name + " " : std::string()) + peak_text(index);
  }

  /// The share of the first series' peak, for the others.
  std::string share_text(std::size_t index) const {
    if (index == 0 || !curves_[0].peak || !curves_[index].peak) return {};
    return format_percent(curves_[index].peak->y, curves_[0].peak->y);
  }

  void draw_legend() {
    constexpr double swatch = 36.0;
    constexpr double row_height = 25.0;
    double widest = 0.0;
    for (std::size_t i = 0; i < curves_.size(); ++i) {
      const double numbers = text_width(peak_text(i), kTextSize, true) + text_width(share_text(i), kTextSize);
      widest = std::max(widest, swatch + text_width(curves_[i].name, kTextSize) + numbers + 24.0);
    }
    const double room = kWidth - 2 * kMargin;
    const std::size_t columns = curves_.size() > 1 && widest <= room / 2 ? 2 : 1;
    bottom_ += 10;
    for (std::size_t i = 0; i < curves_.size(); ++i) {
      if (i % columns == 0) bottom_ += row_height;
      const double left = kMargin + room / 2 * static_cast<double>(i % columns);
      draw_legend_entry(i, left, left + swatch, columns == 2 ? room / 2 : room);
    }
  }

  void draw_legend_entry(std::size_t index, double left, double text_left, double room) {
    const std::string share = share_text(index);
    const double numbers =
        text_width(peak_text(index), kTextSize, true) + text_width(share, kTextSize) + 24.0;
    const std::vector<std::string> name =
        wrap(curves_[index].name, kTextSize, false, room - (text_left - left) - numbers, 1);
    const double middle = bottom_ - 5.5;
    body_ += "<path " + line_style(index) + " d=\"M" + at(left) + " " + at(middle) + "h26\"/>" +
             marker(index, {left + 13, middle}) + "\n";
    std::string content = escaped(name.empty() ? std::string() : name.front());
    content += "<tspan class=\"mp-bold\" dx=\"8\">" + escaped(peak_text(index)) + "</tspan>";
    if (!share.empty()) content += "<tspan class=\"mp-soft\" dx=\"8\">" + escaped(share) + "</tspan>";
    body_ += text_element({text_left, bottom_}, "mp-ink", content);
  }

  void lay_out_plot() {
    double widest = 0.0;
    for (int i = 0; i <= ticks_.count; ++i) widest = std::max(widest, text_width(y_tick(i), kTextSize));
    bottom_ += 46;
    scale_.area = {kMargin + widest + 8, bottom_, kWidth - kMargin, bottom_ + kPlotHeight};
    scale_.top_y = ticks_.step * ticks_.count * unit_.bytes;
    bool any = false;
    for (const Curve& curve : curves_) {
      if (curve.values.empty()) continue;
      scale_.first_x = any ? std::min(scale_.first_x, curve.values.front().x) : curve.values.front().x;
      scale_.last_x = any ? std::max(scale_.last_x, curve.values.back().x) : curve.values.back().x;
      any = true;
    }
    if (!(scale_.last_x > scale_.first_x)) scale_.last_x = scale_.first_x + 1.0;
  }

  std::string y_tick(int index) const { return number(ticks_.step * index, ticks_.decimals); }

  /// With separators between thousands where there are no decimals.
  static std::string number(double value, int decimals) {
    const bool whole = decimals == 0 && std::abs(value) < 9e15;
    return whole ? format_count(std::llround(value)) : format_fixed(value, decimals);
  }

  void draw_axes() {
    const Box& area = scale_.area;
    body_ += text_element({kMargin, area.top - 16}, "mp-soft", unit_.name);
    for (int i = 0; i <= ticks_.count; ++i) {
      const double y = area.bottom - area.height() * i / ticks_.count;
      body_ += "<path class=\"" + std::string(i == 0 ? "mp-axis" : "mp-grid") + "\" d=\"M" + at(area.left) +
               " " + at(y) + "H" + at(area.right) + "\"/>\n";
      body_ += text_element({area.left - 8, y + 5}, "mp-soft mp-end", y_tick(i));
    }
    draw_x_ticks();
    bottom_ = area.bottom + 26;
    for (const std::string& line : wrap(x_label_, kTextSize, false, area.width(), 2)) {
      bottom_ += kTextSize * 1.35;
      body_ += text_element({(area.left + area.right) / 2, bottom_}, "mp-soft mp-middle", escaped(line));
    }
    bottom_ += kMargin * 0.8;
  }

  /// As many as have room for their numbers.
  Ticks x_ticks() const {
    const double extent = scale_.last_x - scale_.first_x;
    Ticks ticks;
    for (int at_least = 4; at_least > 0; --at_least) {
      ticks = ticks_up_to(extent, at_least);
      const double widest = std::max(text_width(number(scale_.first_x, ticks.decimals), kTextSize),
                                     text_width(number(scale_.last_x, ticks.decimals), kTextSize));
      if ((widest + 12.0) * ticks.count <= scale_.area.width()) break;
    }
    return ticks;
  }

  void draw_x_ticks() {
    const Box& area = scale_.area;
    // Numbers are counted from 0, even where the first moment is not 0.
    const Ticks ticks = x_ticks();
    const double first = std::ceil(scale_.first_x / ticks.step - 1e-9);
    for (int i = 0; i <= ticks.count; ++i) {
      const double value = (first + i) * ticks.step;
      const double x = scale_.x(value);
      if (x > area.right + 0.5) break;
      const std::string text = number(value, ticks.decimals);
      const double half = text_width(text, kTextSize) / 2;
      body_ += "<path class=\"mp-axis\" d=\"M" + at(x) + " " + at(area.bottom) + "v5\"/>\n";
      body_ += text_element({std::min(x, kWidth - 6 - half), area.bottom + 23}, "mp-soft mp-middle", text);
    }
  }

  void draw_curves() {
    std::vector<std::vector<Point>> lines;
    for (const Curve& curve : curves_) {
      std::vector<Point> points;
      for (const Point& value : curve.values) points.push_back(scale_(value));
      lines.push_back(step_corners(points, points.empty() ? 0.0 : points.back().x));
    }
    for (std::size_t i = 0; i < lines.size(); ++i) {
      if (lines[i].empty()) continue;
      const std::string path = path_of(lines[i]);
      // The fills of several series would only blend into a colour that belongs to none.
      if (i == 0)
        body_ += "<path class=\"mp-fill0\" fill-opacity=\"0.09\" d=\"" + path + "V" + at(scale_.area.bottom) +
                 "H" + at(lines[i].front().x) + "Z\"/>\n";
      body_ += "<path " + line_style(i) + " d=\"" + path + "\"/>\n";
    }
    draw_peaks(lines);
    if (std::none_of(curves_.begin(), curves_.end(),
                     [](const Curve& curve) { return curve.peak.has_value(); })) {
      const Box& area = scale_.area;
      const Point middle{(area.left + area.right) / 2, (area.top + area.bottom) / 2};
      body_ += text_element(middle, "mp-soft mp-middle", "nothing was measured");
    }
  }

  void draw_peaks(const std::vector<std::vector<Point>>& lines) {
    std::vector<std::size_t> marked;
    for (std::size_t i = 0; i < curves_.size(); ++i) {
      if (curves_[i].peak) marked.push_back(i);
    }
    std::vector<Label> labels;
    labels.reserve(marked.size());
    for (const std::size_t i : marked) {
      labels.push_back(
          {scale_(*curves_[i].peak), text_width(label_text(i), kTextSize, true), kTextSize * 1.1});
    }
    Box area = scale_.area;
    area.top -= kTextSize;
    place_labels(labels, lines, area, kMarkerRadius + 2);
    for (const Label& label : labels) body_ += leader(label);
    for (std::size_t i = 0; i < marked.size(); ++i) {
      const Box& box = labels[i].box;
      body_ += marker(marked[i], labels[i].anchor) + "\n";
      body_ += text_element({(box.left + box.right) / 2, (box.top + box.bottom) / 2 + kTextSize * 0.35},
                            "mp-ink mp-halo mp-bold mp-middle", escaped(label_text(marked[i])));
    }
  }

  /// A thin line from a label to its point where the two are not next to each other.
  static std::string leader(const Label& label) {
    const Point near = label.near();
    if (std::hypot(near.x - label.anchor.x, near.y - label.anchor.y) < 2.5 * kMarkerRadius) return {};
    return "<path class=\"mp-axis\" d=\"M" + at(label.anchor.x) + " " + at(label.anchor.y) + "L" +
           at(near.x) + " " + at(near.y) + "\"/>\n";
  }

  std::string description() const {
    std::string text = "Peak memory";
    for (std::size_t i = 0; i < curves_.size(); ++i)
      text += (i == 0 ? ": " : ", ") + curves_[i].name + " " + peak_text(i);
    return text + ".";
  }

  std::string x_label_;
  std::vector<Curve> curves_;
  Unit unit_ = kUnits[0];
  Ticks ticks_;
  Scale scale_;
  std::string body_;
  double bottom_ = kMargin * 0.5;
};

}  // namespace

std::string render_memory_svg(std::string_view title, std::string_view subtitle, std::string_view x_label,
                              std::span<const Series> series) {
  return Chart(x_label, series).render(title, subtitle);
}

}  // namespace reprise::cli
