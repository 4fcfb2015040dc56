#include "svg.h"

#include <algorithm>
#include <array>
#include <initializer_list>

#include "format.h"
#include "utf8.h"

namespace reprise::cli {

namespace {

/// Okabe and Ito's colours, darkened or lightened until lines stand out from the ground; then dashes set
/// series apart.
struct Ink {
  const char* light;
  const char* dark;
};
constexpr std::array kInks{Ink{"#0072b2", "#5cb8f2"}, Ink{"#c94f00", "#ff9a52"}, Ink{"#00805f", "#3fd0a4"},
                           Ink{"#a8487f", "#f0a3cf"}, Ink{"#8a6d00", "#f0d445"}, Ink{"#4d5864", "#b8c4d0"}};

std::string attribute(std::string_view name, double value) {
  return " " + std::string(name) + "=\"" + at(value) + "\"";
}

}  // namespace

std::string escaped(std::string_view text) {
  std::string result;
  for (const char c : printable(text)) {
    switch (c) {
      case '&':
        result += "&amp;";
        break;
      case '<':
        result += "&lt;";
        break;
      case '>':
        result += "&gt;";
        break;
      case '"':
        result += "&quot;";
        break;
      default:
        result += c;
    }
  }
  return result;
}

std::string at(double value) {
  std::string text = format_fixed(value, 1);
  if (text.ends_with(".0")) text.resize(text.size() - 2);
  return text;
}

std::string text_element(Point place, std::string_view style, std::string_view content) {
  return "<text class=\"" + std::string(style) + "\"" + attribute("x", place.x) + attribute("y", place.y) +
         ">" + std::string(content) + "</text>\n";
}

/// Colours live in classes, so that a media query can replace them.
std::string style_sheet() {
  const auto colours = [](bool dark) {
    std::string rules =
        dark ? ".mp-ground{fill:#14181d}.mp-halo{stroke:#14181d}.mp-ink{fill:#e8ebee}.mp-soft{fill:#a3adb8}"
               ".mp-grid{stroke:#2b323a}.mp-axis{stroke:#6b7783}"
             : ".mp-ground{fill:#fff}.mp-halo{stroke:#fff}.mp-ink{fill:#1b2026}.mp-soft{fill:#59636e}"
               ".mp-grid{stroke:#e4e8ec}.mp-axis{stroke:#8a949e}";
    for (std::size_t i = 0; i < kInks.size(); ++i) {
      const std::string number = std::to_string(i);
      const std::string colour = dark ? kInks[i].dark : kInks[i].light;
      rules.append(".mp-line").append(number).append("{stroke:").append(colour).append("}");
      rules.append(".mp-fill").append(number).append("{fill:").append(colour).append("}");
    }
    return rules;
  };
  return "<style>\n"
         ".mp{display:block;width:100%;max-width:860px;height:auto;margin:0 auto;"
         "font-family:system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue','DejaVu Sans',sans-serif}\n"
         ".mp text{font-size:16px;font-variant-numeric:tabular-nums}.mp "
         ".mp-title{font-size:22px;font-weight:650}"
         ".mp .mp-bold{font-weight:650}.mp .mp-middle{text-anchor:middle}.mp .mp-end{text-anchor:end}\n"
         ".mp-halo{stroke-width:5;stroke-linejoin:round;paint-order:stroke}.mp-curve{fill:none;stroke-"
         "linejoin:round}\n" +
         colours(false) + "\n@media (prefers-color-scheme:dark){svg:root{background:#14181d}" +
         colours(true) +
         "}\n"
         // Everything is laid out for the large letters that a phone needs; where there is room, smaller ones
         // look better.
         "@media (min-width:620px){.mp text{font-size:13px}.mp .mp-title{font-size:19px}}\n</style>\n";
}

std::string marker(std::size_t index, Point place) {
  const std::string style = " class=\"mp-fill" + std::to_string(index % kInks.size()) +
                            " mp-halo\" style=\"stroke-width:2;paint-order:normal\"";
  const double r = kMarkerRadius;
  const auto polygon = [&](std::initializer_list<Point> corners) {
    std::string points;
    for (const Point& corner : corners)
      points += at(place.x + r * corner.x) + "," + at(place.y + r * corner.y) + " ";
    points.pop_back();
    return "<polygon" + style + " points=\"" + points + "\"/>";
  };
  switch (index % 4) {
    case 0:
      return "<circle" + style + attribute("cx", place.x) + attribute("cy", place.y) +
             attribute("r", r * 0.95) + "/>";
    case 1:
      return polygon({{-0.85, -0.85}, {0.85, -0.85}, {0.85, 0.85}, {-0.85, 0.85}});
    case 2:
      return polygon({{0, -1.2}, {1.1, 0.85}, {-1.1, 0.85}});
    default:
      return polygon({{0, -1.2}, {1.2, 0}, {0, 1.2}, {-1.2, 0}});
  }
}

/// Earlier series are drawn a little thicker, so that where lines coincide both show.
std::string line_style(std::size_t index) {
  const double width = std::max(3.2 - 0.4 * static_cast<double>(index), 1.6);
  std::string style = "class=\"mp-curve mp-line" + std::to_string(index % kInks.size()) +
                      "\" stroke-width=\"" + at(width) + "\"";
  if (index >= kInks.size()) style += " stroke-dasharray=\"6 3\"";
  return style;
}

std::string path_of(const std::vector<Point>& corners) {
  std::string path = "M" + at(corners.front().x) + " " + at(corners.front().y);
  for (std::size_t i = 1; i < corners.size(); ++i) {
    if (corners[i].y == corners[i - 1].y)
      path += "H" + at(corners[i].x);
    else
      path += "V" + at(corners[i].y);
  }
  return path;
}

}  // namespace reprise::cli
