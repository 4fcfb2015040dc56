#include "table.h"

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <utility>

#include "utf8.h"

namespace reprise::cli {

namespace {

constexpr std::string_view kReset = "\x1b[0m";
constexpr std::string_view kBold = "\x1b[1m";
constexpr std::string_view kFaint = "\x1b[2m";
constexpr int kGap = 2;
/// A column of text that must give way keeps at least this much.
constexpr int kNarrowest = 8;

std::string_view style_of(Tone tone) {
  switch (tone) {
    case Tone::plain:
      return "";
    case Tone::good:
      return "\x1b[32m";
    case Tone::bad:
      return "\x1b[31m";
    case Tone::faint:
      return kFaint;
  }
  return "";
}

std::string spaces(int count) { return std::string(static_cast<std::size_t>(std::max(count, 0)), ' '); }

}  // namespace

void Table::add_row(std::vector<Cell> cells) {
  for (Cell& cell : cells) cell.text = printable(cell.text);
  rows_.push_back({std::move(cells), false});
}

void Table::add_rule() { rows_.push_back({{}, true}); }

std::vector<int> Table::widths() const {
  std::vector<int> widths;
  for (const Column& column : columns_) {
    widths.push_back(std::max(display_width(column.title), display_width(column.unit)));
  }
  for (const Row& row : rows_) {
    for (std::size_t i = 0; i < std::min(row.cells.size(), widths.size()); ++i) {
      widths[i] = std::max(widths[i], display_width(row.cells[i].text));
    }
  }
  return widths;
}

std::vector<int> Table::widths_within(int columns) const {
  std::vector<int> widths = this->widths();
  int excess =
      std::accumulate(widths.begin(), widths.end(), kGap * (static_cast<int>(widths.size()) - 1)) - columns;
  while (excess > 0) {
    int* widest = nullptr;
    for (std::size_t i = 0; i < widths.size(); ++i) {
      const bool may_shrink = columns_[i].align == Align::left && widths[i] > kNarrowest;
      if (may_shrink && (widest == nullptr || widths[i] > *widest)) widest = &widths[i];
    }
    if (widest == nullptr) break;
    --*widest;
    --excess;
  }
  return widths;
}

std::string Table::line(const std::vector<Cell>& cells, const std::vector<int>& widths,
                        std::string_view style, bool colour) const {
  std::string text;
  int owed = 0;  // padding is written only before a cell, so that no line ends in spaces
  for (std::size_t i = 0; i < widths.size(); ++i) {
    const std::string content = i < cells.size() ? fit(cells[i].text, widths[i]) : std::string();
    const int padding = widths[i] - display_width(content);
    if (!content.empty()) {
      const std::string_view tone = style.empty() ? style_of(cells[i].tone) : style;
      text += spaces(owed + (columns_[i].align == Align::right ? padding : 0));
      text += colour && !tone.empty() ? std::string(tone) + content + std::string(kReset) : content;
      owed = columns_[i].align == Align::right ? 0 : padding;
    } else {
      owed += padding;
    }
    owed += kGap;
  }
  return text + "\n";
}

std::string Table::render(const Terminal& terminal) const {
  const std::vector<int> widths = terminal.interactive ? widths_within(terminal.columns) : this->widths();
  const int total =
      std::accumulate(widths.begin(), widths.end(), kGap * (static_cast<int>(widths.size()) - 1));
  std::string rule;
  for (int i = 0; i < total; ++i) rule += "\xE2\x94\x80";
  if (terminal.colour) rule = std::string(kFaint) + rule + std::string(kReset);
  rule += "\n";

  std::vector<Cell> titles;
  std::vector<Cell> units;
  for (const Column& column : columns_) {
    titles.emplace_back(column.title);
    units.emplace_back(column.unit);
  }
  std::string text = line(titles, widths, kBold, terminal.colour);
  const bool has_units = std::any_of(columns_.begin(), columns_.end(),
                                     [](const Column& column) { return !column.unit.empty(); });
  if (has_units) text += line(units, widths, kFaint, terminal.colour);
  text += rule;
  for (const Row& row : rows_) text += row.rule ? rule : line(row.cells, widths, "", terminal.colour);
  return text;
}

}  // namespace reprise::cli
