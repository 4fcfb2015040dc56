#include "cli/report/values.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <numeric>
#include <string_view>

#include "cli/format.h"
#include "cli/report/markup.h"
#include "cli/report/words.h"
#include "cli/svg.h"

namespace reprise::cli {

namespace {

constexpr std::size_t kMost = 10;

/// Phones show each row as a block of its own: there the name of a column stands before its cell. Roles keep
/// the table a table where it is not laid out as one.
std::string named_cell(std::string_view name, std::string_view text) {
  return fmt::format("<td role=\"cell\" data-name=\"{}\">{}</td>", name, escaped(text));
}

std::string value_row(const BlockInfo& block) {
  return fmt::format("<tr role=\"row\"><th scope=\"row\" role=\"rowheader\" class=\"number\">{}</th>",
                     format_bytes(block.allocated)) +
         named_cell("value", tensor_text(block.origin)) + named_cell("module", path_of(block.origin.place)) +
         named_cell("source", location_of(block.origin.place)) +
         named_cell("category", name_of(block.category)) + named_cell("segment", block.tag) + "</tr>\n";
}

std::string value_titles() {
  std::string cells;
  for (const std::string_view title : {"bytes", "value", "module", "source", "category", "segment"}) {
    cells += fmt::format("<th scope=\"col\" role=\"columnheader\"{}>{}</th>",
                         title == "bytes" ? " class=\"number\"" : "", title);
  }
  return "<thead role=\"rowgroup\"><tr role=\"row\">" + cells + "</tr></thead>\n";
}

}  // namespace

std::string category_table(const std::vector<RunView>& views) {
  std::vector<Column> columns{{.title = "segments", .align = Align::left}, {.title = "peak"}};
  for (const Category category : kStack) columns.push_back({.title = std::string(name_of(category))});
  std::vector<std::vector<Cell>> rows;
  for (const RunView& view : views) {
    std::vector<Cell> cells{view.run.segments, format_bytes(view.peak.allocated)};
    for (const Category category : kStack)
      cells.emplace_back(format_bytes(view.peak.by_category[static_cast<std::size_t>(category)]));
    rows.push_back(std::move(cells));
  }
  return data_table("categories at the peak", columns, rows);
}

std::string value_table(const RunView& view) {
  const std::vector<BlockInfo>& live = view.peak.live;
  if (live.empty()) return {};
  const std::size_t shown = std::min(live.size(), kMost);
  std::string rows;
  std::int64_t bytes = 0;
  for (std::size_t i = 0; i < shown; ++i) {
    rows += value_row(live[i]);
    bytes += static_cast<std::int64_t>(live[i].allocated);
  }
  const std::string caption = fmt::format(
      "<caption><b>{}</b> <span>the {} largest of {} live values: {} of the peak's {}</span></caption>\n",
      escaped(view.run.segments), shown, format_count(static_cast<std::int64_t>(live.size())),
      format_percent(static_cast<double>(bytes), static_cast<double>(view.peak.allocated)),
      format_bytes(view.peak.allocated));
  return "<div class=\"scroll\"><table class=\"values\" role=\"table\">" + caption + value_titles() +
         "<tbody role=\"rowgroup\">\n" + rows + "</tbody></table></div>\n";
}

}  // namespace reprise::cli
