// Pieces of markup that every part of the page uses.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "cli/table.h"

namespace reprise::cli {

/// A share of 1 as a percentage of SVG and CSS: "41.25%".
std::string share_text(double share);

/// `<th scope="col">` or "row"; `content` may hold markup.
std::string header_cell(std::string_view scope, std::string_view content, std::string_view style = {});

/// `<td>`; `content` may hold markup.
std::string data_cell(std::string_view content, std::string_view style = {});

/// A legend: each entry a swatch of the class that bears its name, and the name.
std::string legend(const std::vector<std::string_view>& names);

/// A table in a box of its own, which scrolls where the page is narrow; the first column heads its row.
std::string data_table(std::string_view name, const std::vector<Column>& columns,
                       const std::vector<std::vector<Cell>>& rows);

}  // namespace reprise::cli
