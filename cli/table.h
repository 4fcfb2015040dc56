// Tables of text with aligned columns.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "terminal.h"

namespace reprise::cli {

enum class Align { left, right };

struct Column {
  std::string title;
  std::string unit{};  ///< shown under the title when it is not empty
  Align align = Align::right;
};

/// How a row or a cell stands out where there is colour.
enum class Tone { plain, good, bad, faint };

struct Cell {
  std::string text;
  Tone tone = Tone::plain;

  Cell(std::string cell_text, Tone cell_tone = Tone::plain)  // NOLINT(google-explicit-constructor)
      : text(std::move(cell_text)), tone(cell_tone) {}
  Cell(const char* cell_text) : text(cell_text) {}  // NOLINT(google-explicit-constructor)
};

class Table {
 public:
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

  /// Missing cells stay empty; cells beyond the last column are not shown.
  void add_row(std::vector<Cell> cells);
  /// A rule between the rows before and after.
  void add_rule();

  /// Lines that end with "\n". Where the terminal is interactive, its left-aligned columns are cut so that
  /// lines fit.
  std::string render(const Terminal& terminal) const;

 private:
  struct Row {
    std::vector<Cell> cells;
    bool rule = false;
  };

  std::vector<int> widths() const;
  std::vector<int> widths_within(int columns) const;
  std::string line(const std::vector<Cell>& cells, const std::vector<int>& widths, std::string_view style,
                   bool colour) const;

  std::vector<Column> columns_;
  std::vector<Row> rows_;
};

}  // namespace reprise::cli
