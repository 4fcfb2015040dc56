#include "cli/report/page.h"

#include <fmt/format.h>

#include <algorithm>

#include "cli/format.h"
#include "cli/report/area_chart.h"
#include "cli/report/bars.h"
#include "cli/report/markup.h"
#include "cli/report/snapshot.h"
#include "cli/report/style.h"
#include "cli/report/values.h"
#include "cli/svg.h"

namespace reprise::cli {

namespace {

/// What all panels of memory may take, so that the page stays below a megabyte.
constexpr std::size_t kPanelBytes = 800'000;

/// Parts of the time in a panel, each drawn with up to four points: as many as there is room for.
constexpr std::size_t kMostColumns = 500;
constexpr std::size_t kLeastColumns = 16;

std::string paragraph(std::string_view style, const std::string& text) {
  return text.empty() ? text : fmt::format("<p class=\"{}\">{}</p>\n", style, escaped(text));
}

std::string section(std::string_view title, std::string_view lead, const std::string& content) {
  if (content.empty()) return {};
  return fmt::format("<section>\n<h2>{}</h2>\n", title) +
         (lead.empty() ? std::string() : fmt::format("<p class=\"soft\">{}</p>\n", lead)) + content +
         "</section>\n";
}

/// "blocks: activations 44.10 MiB instead of 292.50 MiB (15 %), +20.5 % time".
std::string comparison_text(const RunReport& run, const RunReport& first) {
  std::string text = fmt::format(
      "{}: activations {} instead of {} ({})", run.segments, format_bytes(run.peak_activations),
      format_bytes(first.peak_activations),
      format_percent(static_cast<double>(run.peak_activations), static_cast<double>(first.peak_activations)));
  if (!run.certain_time || !first.certain_time) return text + ", times not comparable";
  if (run.step_ms > 0 && first.step_ms > 0)
    text += fmt::format(", {:+.1f} % time", 100 * (run.step_ms / first.step_ms - 1));
  return text;
}

/// The setting that saves most, beside the first.
std::string result_text(const std::vector<RunReport>& runs) {
  if (runs.empty()) return "Nothing was measured.";
  if (runs.size() == 1) {
    std::string text =
        fmt::format("{}: activations {}", runs[0].segments, format_bytes(runs[0].peak_activations));
    return runs[0].step_ms > 0 ? text + ", " + format_ms(runs[0].step_ms) + " a step" : text;
  }
  const auto best = std::min_element(
      runs.begin() + 1, runs.end(),
      [](const RunReport& a, const RunReport& b) { return a.peak_activations < b.peak_activations; });
  return comparison_text(*best, runs.front());
}

std::string heading(const Report& report) {
  std::string setup = report.data;
  if (!report.device.empty()) setup += (setup.empty() ? "on " : "; on ") + report.device;
  return "<header>\n<h1>" + escaped(report.title) + "</h1>\n" + paragraph("about", report.description) +
         paragraph("about", setup) + paragraph("result", result_text(report.runs)) +
         paragraph("about", report.remark) + paragraph("verdict", report.verdict) + "</header>\n";
}

std::string comparison(const Report& report) {
  std::vector<std::vector<Cell>> rows;
  rows.reserve(report.runs.size());
  for (const RunReport& run : report.runs) rows.push_back(run.cells);
  return rows.empty() ? std::string() : data_table("comparison", report.columns, rows);
}

std::string thinned_panels(const std::vector<RunView>& views) {
  const MemoryAxes axes(views);
  for (std::size_t columns = kMostColumns;; columns /= 2) {
    std::string text;
    for (const RunView& view : views) text += memory_panel(view, axes, columns);
    if (text.size() <= kPanelBytes || columns / 2 < kLeastColumns) return text;
  }
}

std::string panels(const std::vector<RunView>& views) {
  if (views.empty()) return {};
  std::vector<std::string_view> names;
  names.reserve(kCategories);
  for (const Category category : kStack) names.push_back(name_of(category));
  return legend(names) + thinned_panels(views);
}

std::string values(const std::vector<RunView>& views) {
  if (views.empty()) return {};
  std::string text = category_table(views) + "<h3>Largest live values</h3>\n";
  for (const RunView& view : views) text += value_table(view);
  return text;
}

std::string times(const std::vector<RunView>& views) {
  const std::string operations = operation_bars(views);
  if (operations.empty()) return {};
  const std::string segments = segment_bars(views);
  return legend({"forward", "replay", "backward", "optimiser"}) + "<h3>By operation</h3>\n" + operations +
         (segments.empty() ? segments : "<h3>By checkpoint segment</h3>\n" + segments);
}

std::string files(const std::vector<RunReport>& runs) {
  if (runs.empty()) return {};
  std::string links =
      "<li><a href=\"trace.json\">trace.json</a>: time and memory of all settings, for Perfetto</li>\n";
  for (const std::string& name : snapshot_names(runs))
    links += fmt::format("<li><a href=\"{}\">{}</a>: for PyTorch's memory viewer</li>\n", name, name);
  return "<ul>\n" + links + "</ul>\n";
}

constexpr std::string_view kMemoryLead =
    "Bytes of live blocks by category, stacked in the order of the legend; the same scales in every panel. "
    "Under each panel its phases: replays are striped. After its last allocation the optimiser is given the "
    "time that it took in the step that was timed.";
constexpr std::string_view kTimeLead =
    "One step in which each node was timed by itself; the same scale for every setting. Replays are striped.";

std::string body_of(const Report& report) {
  const std::vector<RunView> views(report.runs.begin(), report.runs.end());
  return heading(report) + section("Comparison", "", comparison(report)) +
         section("Memory over one step", kMemoryLead, panels(views)) +
         section("At the peak", "Bytes of live blocks when most of them were live.", values(views)) +
         section("Where the time goes", kTimeLead, times(views)) +
         section("Files beside this page", "", files(report.runs));
}

}  // namespace

std::string report_page(const Report& report) {
  return fmt::format(
             "<!DOCTYPE html>\n<html xmlns=\"http://www.w3.org/1999/xhtml\" lang=\"en\">\n<head>\n"
             "<meta charset=\"utf-8\"/>\n<meta name=\"viewport\" "
             "content=\"width=device-width,initial-scale=1\"/>\n"
             "<meta name=\"color-scheme\" content=\"light "
             "dark\"/>\n<title>{}</title>\n<style>\n{}</style>\n</head>\n",
             escaped(report.title), page_style()) +
         "<body>\n" + std::string(page_patterns()) + "<main>\n" + body_of(report) +
         "</main>\n<script>//<![CDATA[\n" + std::string(page_script()) + "//]]></script>\n</body>\n</html>\n";
}

}  // namespace reprise::cli
