#include "utf8.h"

#include <algorithm>
#include <array>

namespace reprise::cli {

namespace {

constexpr Character kBroken{0xFFFD, 1};
constexpr std::string_view kReplacement = "\xEF\xBF\xBD";
constexpr std::string_view kEllipsis = "\xE2\x80\xA6";

struct Range {
  char32_t first, last;
};

/// Combining marks, joiners and variation selectors.
constexpr std::array kZeroWidth{Range{0x0300, 0x036F}, Range{0x0483, 0x0489}, Range{0x0591, 0x05BD},
                                Range{0x0610, 0x061A}, Range{0x064B, 0x065F}, Range{0x1AB0, 0x1AFF},
                                Range{0x1DC0, 0x1DFF}, Range{0x200B, 0x200F}, Range{0x2028, 0x202E},
                                Range{0x2060, 0x2064}, Range{0x20D0, 0x20FF}, Range{0xFE00, 0xFE0F},
                                Range{0xFE20, 0xFE2F}, Range{0xFEFF, 0xFEFF}};

/// Marks, embeddings, overrides and isolates of direction; separators of lines and paragraphs; annotations
/// and tags that no terminal shows. Joiners and variation selectors, which emoji and many scripts need, are
/// none.
constexpr std::array kDeceiving{Range{0x061C, 0x061C}, Range{0x180E, 0x180E},  Range{0x200E, 0x200F},
                                Range{0x2028, 0x202E}, Range{0x2066, 0x206F},  Range{0xFEFF, 0xFEFF},
                                Range{0xFFF9, 0xFFFB}, Range{0xE0000, 0xE007F}};

/// The wide blocks of East Asian scripts and emoji.
constexpr std::array kDoubleWidth{Range{0x1100, 0x115F},   Range{0x2E80, 0x303E},   Range{0x3041, 0xA4CF},
                                  Range{0xA960, 0xA97F},   Range{0xAC00, 0xD7A3},   Range{0xF900, 0xFAFF},
                                  Range{0xFE30, 0xFE6F},   Range{0xFF00, 0xFF60},   Range{0xFFE0, 0xFFE6},
                                  Range{0x1F300, 0x1F64F}, Range{0x1F680, 0x1F6FF}, Range{0x1F900, 0x1F9FF},
                                  Range{0x20000, 0x3FFFD}};

template <std::size_t kCount>
bool within(const std::array<Range, kCount>& ranges, char32_t code) {
  return std::any_of(ranges.begin(), ranges.end(),
                     [code](const Range& range) { return code >= range.first && code <= range.last; });
}

bool is_control(char32_t code) { return code < 0x20 || (code >= 0x7F && code < 0xA0); }

std::string made_printable(std::string_view text, bool keep_lines) {
  std::string result;
  while (!text.empty()) {
    const auto [code, bytes] = first_character(text);
    const bool no_character = code == 0xFFFD || code == 0xFFFE || code == 0xFFFF;
    if (keep_lines && (code == '\n' || code == '\t'))
      result += static_cast<char>(code);
    else if (is_control(code))
      result += ' ';
    else if (no_character || within(kDeceiving, code))
      result += kReplacement;
    else
      result += text.substr(0, bytes);
    text.remove_prefix(bytes);
  }
  return result;
}

}  // namespace

Character first_character(std::string_view text) {
  const auto lead = static_cast<unsigned char>(text.front());
  if (lead < 0x80) return {lead, 1};
  const std::size_t bytes = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || text.size() < bytes) return kBroken;
  char32_t code = lead & (0x7Fu >> bytes);
  for (std::size_t i = 1; i < bytes; ++i) {
    const auto next = static_cast<unsigned char>(text[i]);
    if ((next & 0xC0u) != 0x80u) return kBroken;
    code = code << 6 | (next & 0x3Fu);
  }
  constexpr std::array<char32_t, 5> smallest{0, 0, 0x80, 0x800, 0x10000};
  const bool surrogate = code >= 0xD800 && code <= 0xDFFF;
  if (code < smallest[bytes] || code > 0x10FFFF || surrogate) return kBroken;
  return {code, bytes};
}

int display_width(char32_t code) {
  if (is_control(code) || within(kZeroWidth, code)) return 0;
  return within(kDoubleWidth, code) ? 2 : 1;
}

int display_width(std::string_view text) {
  int columns = 0;
  while (!text.empty()) {
    const Character character = first_character(text);
    columns += display_width(character.code);
    text.remove_prefix(character.bytes);
  }
  return columns;
}

std::string fit(std::string_view text, int columns) {
  if (display_width(text) <= columns) return std::string(text);
  if (columns <= 0) return {};
  int used = 1;
  std::size_t end = 0;
  while (end < text.size()) {
    const Character character = first_character(text.substr(end));
    used += display_width(character.code);
    if (used > columns) break;
    end += character.bytes;
  }
  return std::string(text.substr(0, end)) + std::string(kEllipsis);
}

std::string printable(std::string_view text) { return made_printable(text, false); }

std::string printable_lines(std::string_view text) { return made_printable(text, true); }

}  // namespace reprise::cli
