// How the page looks and moves.
#pragma once

#include <string_view>

namespace reprise::cli {

/// The rules of the page: light and dark, wide and narrow, on paper.
std::string_view page_style();

/// The patterns that areas and bars refer to; stands in the page before them.
std::string_view page_patterns();

/// Shows the values under the pointer in the panels of memory; nothing of the page depends on it.
std::string_view page_script();

}  // namespace reprise::cli
