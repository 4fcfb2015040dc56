// bench_pack FILE.csv...: placement of buffers of known lifetimes. A file has the columns id, lower, upper,
// size; a number in its name ("A.1048576.csv") is the capacity that is known to hold it.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "reprise/error.h"
#include "reprise/memory/placement.h"

namespace {

using namespace reprise;
namespace fs = std::filesystem;

/// A whole number, all of `text`.
std::optional<std::int64_t> parse_number(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  for (std::size_t from = 0;;) {
    const std::size_t to = text.find(separator, from);
    parts.push_back(text.substr(from, to - from));
    if (to == std::string::npos) return parts;
    from = to + 1;
  }
}

PlacementItem parse_item(const std::string& line, const fs::path& file, int number) {
  const std::vector<std::string> cells = split(line, ',');
  std::array<std::int64_t, 4> values{};
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::optional<std::int64_t> value = i < cells.size() ? parse_number(cells[i]) : std::nullopt;
    if (!value || cells.size() != values.size())
      throw Error(fmt::format("[pack] {}, line {}: '{}' is not id,lower,upper,size; give four whole numbers",
                              file.string(), number, line));
    values[i] = *value;
  }
  if (values[2] < values[1] || values[3] < 0) {
    throw Error(
        fmt::format("[pack] {}, line {}: '{}' ends before it begins or has a negative size; correct it",
                    file.string(), number, line));
  }
  return {.lower = values[1], .upper = values[2], .bytes = values[3]};
}

std::vector<PlacementItem> read_items(const fs::path& file) {
  std::ifstream in(file);
  if (!in)
    throw Error(fmt::format("[pack] {} cannot be read; name a file of id,lower,upper,size", file.string()));
  std::vector<PlacementItem> items;
  std::string line;
  for (int number = 1; std::getline(in, line); ++number) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (number == 1 && line == "id,lower,upper,size") continue;
    if (!line.empty()) items.push_back(parse_item(line, file, number));
  }
  if (items.empty())
    throw Error(
        fmt::format("[pack] {} holds no buffers; give it lines of id,lower,upper,size", file.string()));
  return items;
}

/// The capacity in a file's name, if there is one.
std::int64_t capacity_of(const fs::path& file) {
  for (const std::string& part : split(file.filename().string(), '.')) {
    if (const std::optional<std::int64_t> number = parse_number(part)) return *number;
  }
  return 0;
}

std::string verdict(std::int64_t slab, std::int64_t capacity) {
  if (capacity == 0) return "";
  return slab <= capacity
             ? "fits its capacity"
             : fmt::format("{:+.2f} % of its capacity",
                           100 * (static_cast<double>(slab) / static_cast<double>(capacity) - 1));
}

void pack(const fs::path& file) {
  const std::vector<PlacementItem> items = read_items(file);
  const std::int64_t capacity = capacity_of(file);
  const auto start = std::chrono::steady_clock::now();
  const Placement placement = place(items, {.target_bytes = capacity});
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  check_placement(items, placement);
  const double ratio = static_cast<double>(placement.slab_bytes) /
                       static_cast<double>(std::max<std::int64_t>(1, placement.lower_bound_bytes));
  fmt::print("{:<24} {:>8} {:>16} {:>16} {:>8.4f} {:>9.2f}  {}\n", file.filename().string(), items.size(),
             placement.lower_bound_bytes, placement.slab_bytes, ratio, seconds.count(),
             verdict(placement.slab_bytes, capacity));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::cerr << "bench_pack: give files of id,lower,upper,size, such as bench_pack A.1048576.csv\n";
    return 2;
  }
  try {
    fmt::print("{:<24} {:>8} {:>16} {:>16} {:>8} {:>9}\n", "file", "buffers", "most live", "slab", "ratio",
               "seconds");
    for (int i = 1; i < argc; ++i) pack(argv[i]);
  } catch (const std::exception& error) {
    std::cerr << "bench_pack: " << error.what() << '\n';
    return 2;
  }
  return 0;
}
