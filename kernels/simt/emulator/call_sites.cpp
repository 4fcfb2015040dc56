#include "simt/emulator/call_sites.h"

#include <cstdio>
#include <cstdlib>
#include <set>
#include <string>
#include <tuple>

#include "simt/emulator/diagnostics.h"

namespace simt {

namespace {

/// "file:line" or "file:line:column"; the file may be the tail of a path.
struct Pattern {
  std::string file;
  unsigned line = 0, column = 0;
};

Pattern parse(const char* text) {
  Pattern pattern;
  if (text == nullptr) return pattern;
  std::string rest = text;
  unsigned numbers[2] = {};
  int count = 0;
  for (; count < 2; count++) {
    const std::size_t colon = rest.rfind(':');
    if (colon == std::string::npos || rest.find_first_not_of("0123456789", colon + 1) != std::string::npos)
      break;
    numbers[count] = static_cast<unsigned>(std::strtoul(rest.c_str() + colon + 1, nullptr, 10));
    rest.resize(colon);
  }
  pattern.file = rest;
  pattern.line = numbers[count == 2 ? 1 : 0];
  pattern.column = count == 2 ? numbers[0] : 0;
  return pattern;
}

bool ends_with(const std::string& text, const std::string& tail) {
  if (tail.size() > text.size() || text.compare(text.size() - tail.size(), tail.size(), tail) != 0)
    return false;
  return tail.size() == text.size() || text[text.size() - tail.size() - 1] == '/';
}

// Read before any kernel runs, and kept for the life of the program.
const Pattern& skip_pattern = *new Pattern(parse(std::getenv("SIMT_SKIP_BARRIER")));
const char* const list_path = std::getenv("SIMT_LIST_BARRIERS");

}  // namespace

bool watch_sites = skip_pattern.line != 0 || list_path != nullptr;

bool visit_site(const Site& site, const char* what) {
  using Key = std::tuple<std::string, unsigned, unsigned, std::string>;
  static auto& seen = *new std::set<Key>;
  if (list_path != nullptr && seen.emplace(site.file_name(), site.line(), site.column(), what).second) {
    if (std::FILE* list = std::fopen(list_path, "a")) {
      std::fprintf(list, "%s:%u:%u %s\n", site.file_name(), site.line(), site.column(), what);
      std::fclose(list);
    }
  }
  return site.line() == skip_pattern.line &&
         (skip_pattern.column == 0 || site.column() == skip_pattern.column) &&
         ends_with(site.file_name(), skip_pattern.file);
}

}  // namespace simt
