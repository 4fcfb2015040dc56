// The drawing is as wide as its place: areas lie in a view box that is stretched, everything else is placed
// by percentages, so that letters and lines keep their size on every screen.
#include "cli/report/area_chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>
#include <vector>

#include "cli/format.h"
#include "cli/plot_layout.h"
#include "cli/report/area_labels.h"
#include "cli/report/markup.h"
#include "cli/svg.h"

namespace reprise::cli {

namespace {

// In pixels, from top to bottom.
constexpr double kHeight = 190;
constexpr double kBandTop = kHeight + 6;
constexpr double kBandHeight = 10;
constexpr double kBandText = kBandTop + kBandHeight + 13;
constexpr double kTickText = kBandText + 19;
constexpr double kBottom = kTickText + 5;

/// Both sides of the stretched view boxes.
constexpr double kBox = 10000;

long in_box(double share) { return std::lround(share * kBox); }

std::int64_t stacked(const MemorySample& sample, std::size_t layers) {
  std::int64_t bytes = 0;
  for (std::size_t k = 0; k < layers; ++k) bytes += sample.by_category[static_cast<std::size_t>(kStack[k])];
  return bytes;
}

/// The area under the upper edge of the lowest `layers` categories; what lies below is painted over it.
std::string area_path(const std::vector<MemorySample>& samples, std::size_t layers, std::int64_t end_ns,
                      const MemoryAxes& axes) {
  std::string path = fmt::format("M0 {}", kBox);
  long x = 0;
  long y = in_box(1);
  const auto level = [&](const MemorySample& sample) {
    const long next_x = in_box(axes.x_share(sample.time_ns));
    const long next_y = in_box(1 - axes.y_share(stacked(sample, layers)));
    if (next_y == y) return;
    if (next_x != x) path += fmt::format("h{}", next_x - x);
    path += fmt::format("v{}", next_y - y);
    x = next_x;
    y = next_y;
  };
  for (const MemorySample& sample : samples) level(sample);
  return path + fmt::format("H{}V{}Z", in_box(axes.x_share(end_ns)), kBox);
}

std::string stretched_box(double top, double height, std::string_view style, const std::string& content) {
  return fmt::format(
      "<svg class=\"{}\" y=\"{}\" width=\"100%\" height=\"{}\" viewBox=\"0 0 {} {}\" "
      "preserveAspectRatio=\"none\">\n{}</svg>\n",
      style, at(top), at(height), kBox, kBox, content);
}

std::string areas(const std::vector<MemorySample>& samples, std::int64_t end_ns, const MemoryAxes& axes) {
  std::string paths;
  for (std::size_t layers = kCategories; layers > 0; --layers) {
    const auto category = static_cast<std::size_t>(kStack[layers - 1]);
    const bool used = std::any_of(samples.begin(), samples.end(), [&](const MemorySample& sample) {
      return sample.by_category[category] > 0;
    });
    if (!used) continue;
    paths += fmt::format("<path class=\"{}\" d=\"{}\"/>\n", name_of(kStack[layers - 1]),
                         area_path(samples, layers, end_ns, axes));
  }
  return stretched_box(0, kHeight, "areas", paths);
}

std::string text_at(double x_share, double y, std::string_view style, std::string_view text) {
  return fmt::format("<text class=\"{}\" x=\"{}\" y=\"{}\">{}</text>\n", style, share_text(x_share), at(y),
                     escaped(text));
}

/// Where a text stands beside a place, so that it stays inside the drawing.
std::string_view anchor_of(double x_share, std::string_view text) {
  const double half = text_width(text, kPanelText) / kNarrowPanel / 2;
  return x_share < half ? "start" : x_share > 1 - half ? "end" : "middle";
}

std::string grid(const MemoryAxes& axes) {
  std::string lines;
  for (const AxisTick& tick : axes.y_ticks()) {
    const std::string y = at(kHeight * (1 - tick.share));
    lines += fmt::format("<line class=\"{}\" x2=\"100%\" y1=\"{}\" y2=\"{}\"/>\n",
                         tick.share == 0 ? "axis" : "grid", y, y);
  }
  for (const AxisTick& tick : axes.x_ticks()) {
    const std::string x = share_text(tick.share);
    lines += fmt::format("<line class=\"axis\" x1=\"{}\" x2=\"{}\" y1=\"{}\" y2=\"{}\"/>\n", x, x,
                         at(kHeight), at(kHeight + 4));
    lines +=
        text_at(tick.share, kTickText,
                fmt::format("tick {}{}", anchor_of(tick.share, tick.label), tick.wide_only ? " roomy" : ""),
                tick.label);
  }
  return lines;
}

std::string y_labels(const MemoryAxes& axes) {
  std::string labels;
  for (const AxisTick& tick : axes.y_ticks())
    labels += fmt::format("<span style=\"top:{}px\">{}</span>", at(kHeight * (1 - tick.share)), tick.label);
  return "<div class=\"bytes\" aria-hidden=\"true\">" + labels + "</div>\n";
}

double peak_y(const RunView& view, const MemoryAxes& axes) {
  return kHeight * (1 - axes.y_share(view.peak.allocated));
}

std::string peak_line(const RunView& view, const MemoryAxes& axes) {
  const std::string x = share_text(axes.x_share(view.peak_ns()));
  return fmt::format("<line class=\"peak\" x1=\"{}\" x2=\"{}\" y1=\"{}\" y2=\"{}\"/>\n", x, x,
                     at(peak_y(view, axes)), at(kHeight));
}

std::string peak_mark(const RunView& view, const MemoryAxes& axes) {
  const double x_share = axes.x_share(view.peak_ns());
  const double y = peak_y(view, axes);
  const std::string text = "peak " + format_bytes(view.peak.allocated);
  return fmt::format("<circle class=\"peak\" cx=\"{}\" cy=\"{}\" r=\"4.5\"/>\n", share_text(x_share), at(y)) +
         text_at(x_share, y - 9, fmt::format("strong {}", anchor_of(x_share, text)), text);
}

std::string names_in_areas(const std::vector<MemorySample>& samples, const RunView& view,
                           const MemoryAxes& axes) {
  std::string texts;
  for (const AreaLabel& label : area_labels(samples, view.end_ns, axes, kHeight)) {
    texts += text_at(label.x_share, kHeight * (1 - label.y_share) + 4,
                     label.wide_only ? "name middle roomy" : "name middle", label.name);
  }
  return texts;
}

/// All bands of one phase; short ones are widened so that they show, and those that then touch are one.
std::string band_path(const RunView& view, Phase phase, const MemoryAxes& axes) {
  constexpr long kShortest = 12;
  std::vector<std::pair<long, long>> pieces;
  for (const PhaseBand& band : view.phases) {
    if (band.phase != phase) continue;
    const long left = in_box(axes.x_share(band.start_ns));
    const long right = std::max(in_box(axes.x_share(band.end_ns)), left + kShortest);
    if (!pieces.empty() && left <= pieces.back().second)
      pieces.back().second = right;
    else
      pieces.emplace_back(left, right);
  }
  std::string path;
  for (const auto& [left, right] : pieces)
    path += fmt::format("M{} 0h{}v{}h{}z", left, right - left, kBox, left - right);
  return path.empty() ? path : fmt::format("<path class=\"{}\" d=\"{}\"/>\n", name_of(phase), path);
}

/// The middle of all bands of a phase; those of backward are among its replays.
std::optional<double> middle_of(const RunView& view, Phase phase, const MemoryAxes& axes) {
  const auto belongs = [&](const PhaseBand& band) {
    return band.phase == phase || (phase == Phase::backward && band.phase == Phase::replay);
  };
  const auto first = std::find_if(view.phases.begin(), view.phases.end(), belongs);
  if (first == view.phases.end()) return std::nullopt;
  const auto last = std::find_if(view.phases.rbegin(), view.phases.rend(), belongs);
  return (axes.x_share(first->start_ns) + axes.x_share(last->end_ns)) / 2;
}

/// Names under the bands, as far as they do not touch each other on a phone, or at least not on a wide page.
std::string band_names(const RunView& view, const MemoryAxes& axes) {
  std::string texts;
  double free_from_narrow = 0;
  double free_from_wide = 0;
  for (const Phase phase : {Phase::forward, Phase::backward, Phase::optimiser}) {
    const std::optional<double> wanted = middle_of(view, phase, axes);
    if (!wanted) continue;
    const double width = text_width(name_of(phase), kPanelText);
    const double half = width / kNarrowPanel / 2;
    const double half_wide = width / kWidePanel / 2;
    const double middle = std::clamp(*wanted, half, 1 - half);
    const bool narrow = middle - half >= free_from_narrow;
    if (!narrow && middle - half_wide < free_from_wide) continue;
    texts += text_at(middle, kBandText, narrow ? "tick middle" : "tick middle roomy", name_of(phase));
    free_from_wide = middle + half_wide;
    if (narrow) free_from_narrow = middle + half;
  }
  return texts;
}

std::string bands(const RunView& view, const MemoryAxes& axes) {
  std::string paths;
  for (const Phase phase : {Phase::forward, Phase::backward, Phase::replay, Phase::optimiser})
    paths += band_path(view, phase, axes);
  return stretched_box(kBandTop, kBandHeight, "bands", paths) + band_names(view, axes);
}

std::string description(const RunView& view) {
  std::string text = fmt::format("Peak {} after {}, {}.", format_bytes(view.peak.allocated),
                                 format_ms(static_cast<double>(view.peak_ns()) / 1e6), peak_text(view));
  text += " At the peak:";
  for (const Category category : kStack) {
    const std::int64_t bytes = view.peak.by_category[static_cast<std::size_t>(category)];
    if (bytes > 0) text += fmt::format(" {} {};", name_of(category), format_bytes(bytes));
  }
  text.back() = '.';
  return text;
}

std::string drawing(const RunView& view, const MemoryAxes& axes, std::size_t columns) {
  const std::vector<MemorySample> samples = thinned(view.samples, axes.end_ns(), columns);
  return fmt::format("<svg class=\"memory\" width=\"100%\" height=\"{}\" role=\"img\">\n", at(kBottom)) +
         "<title>" + escaped(fmt::format("Memory over one step: {}", view.run.segments)) +
         "</title>\n<desc>" + escaped(description(view)) + "</desc>\n" + grid(axes) +
         areas(samples, view.end_ns, axes) + bands(view, axes) + peak_line(view, axes) +
         names_in_areas(samples, view, axes) + peak_mark(view, axes) + "</svg>\n";
}

}  // namespace

std::string memory_panel(const RunView& view, const MemoryAxes& axes, std::size_t columns) {
  std::string figure =
      fmt::format("<figure class=\"panel\">\n<figcaption><h3>{}</h3>", escaped(view.run.segments));
  if (view.empty()) return figure + " <p>nothing was traced</p></figcaption></figure>\n";
  figure += fmt::format("<p><b>{}</b> at the peak: {}</p>", format_bytes(view.peak.allocated),
                        escaped(peak_text(view)));
  if (view.run.truncated) {
    figure += fmt::format("<p class=\"bad\">The trace ends after {} events; what came later is missing.</p>",
                          format_count(static_cast<std::int64_t>(view.run.events.size())));
  }
  return figure + "</figcaption>\n" +
         fmt::format("<div class=\"plot\" data-ns=\"{}\" data-bytes=\"{:.0f}\">\n", axes.end_ns(),
                     axes.top_bytes()) +
         y_labels(axes) + drawing(view, axes, columns) + "</div></figure>\n";
}

}  // namespace reprise::cli
