// Text that people read: how wide it is on a terminal, and how to cut it.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace reprise::cli {

/// One character of a text; bytes that are not UTF-8 count as one U+FFFD each.
struct Character {
  char32_t code = 0;
  std::size_t bytes = 0;
};

/// The first character of a text that is not empty.
Character first_character(std::string_view text);

/// Columns of one character on a terminal: 0 (combining, control), 1 or 2 (East Asian, emoji).
int display_width(char32_t code);

/// Columns of a text on a terminal.
int display_width(std::string_view text);

/// The text, or as much of its beginning as fits into `columns` together with a final "…".
std::string fit(std::string_view text, int columns);

/// The text as one line that shows what it holds: control characters turned into spaces; broken UTF-8, and
/// characters that turn the direction of text or hide it, into U+FFFD.
std::string printable(std::string_view text);

/// The same, but its line ends and tabs stay.
std::string printable_lines(std::string_view text);

}  // namespace reprise::cli
