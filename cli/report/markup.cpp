#include "cli/report/markup.h"

#include <fmt/format.h>

#include "cli/format.h"
#include "cli/svg.h"

namespace reprise::cli {

namespace {

std::string attribute(std::string_view style) {
  return style.empty() ? std::string() : fmt::format(" class=\"{}\"", style);
}

std::string_view side_of(const Column& column) { return column.align == Align::right ? "number" : ""; }

/// What differs must not be told by colour alone.
std::string cell_content(const Cell& cell) {
  return escaped(cell.text) + (cell.tone == Tone::bad ? " <b class=\"bad\">differs</b>" : "");
}

std::string title_of(const Column& column) {
  if (column.unit.empty()) return escaped(column.title);
  return escaped(column.title) + (column.title.empty() ? "" : " ") + "<small>" + escaped(column.unit) +
         "</small>";
}

std::string title_row(const std::vector<Column>& columns) {
  std::string cells;
  for (const Column& column : columns) cells += header_cell("col", title_of(column), side_of(column));
  return "<tr>" + cells + "</tr>\n";
}

std::string cell_row(const std::vector<Column>& columns, const std::vector<Cell>& cells) {
  std::string row;
  for (std::size_t i = 0; i < columns.size(); ++i) {
    const std::string content = i < cells.size() ? cell_content(cells[i]) : std::string();
    row +=
        i == 0 ? header_cell("row", content, side_of(columns[i])) : data_cell(content, side_of(columns[i]));
  }
  return "<tr>" + row + "</tr>\n";
}

}  // namespace

std::string share_text(double share) {
  std::string text = format_fixed(100 * share, 2);
  while (text.ends_with('0')) text.pop_back();
  if (text.ends_with('.')) text.pop_back();
  return text + "%";
}

std::string header_cell(std::string_view scope, std::string_view content, std::string_view style) {
  return fmt::format("<th scope=\"{}\"{}>{}</th>", scope, attribute(style), content);
}

std::string data_cell(std::string_view content, std::string_view style) {
  return fmt::format("<td{}>{}</td>", attribute(style), content);
}

std::string legend(const std::vector<std::string_view>& names) {
  std::string entries;
  for (const std::string_view name : names) {
    entries += fmt::format(
        "<li><svg width=\"14\" height=\"14\" aria-hidden=\"true\"><rect class=\"{}\" width=\"14\" "
        "height=\"14\" "
        "rx=\"3\"/></svg>{}</li>",
        name, name);
  }
  return "<ul class=\"legend\">" + entries + "</ul>\n";
}

std::string data_table(std::string_view name, const std::vector<Column>& columns,
                       const std::vector<std::vector<Cell>>& rows) {
  std::string body;
  for (const std::vector<Cell>& cells : rows) body += cell_row(columns, cells);
  return fmt::format(
             "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{}\"><table>\n<thead>",
             escaped(name)) +
         title_row(columns) + "</thead>\n<tbody>\n" + body + "</tbody></table></div>\n";
}

}  // namespace reprise::cli
