#include "reprise/memory/statistics.h"

#include <fmt/format.h>

namespace reprise {

std::string_view name_of(Category category) {
  static constexpr std::array<std::string_view, kCategories> kNames{
      "parameters", "gradients", "optimiser", "activations", "recomputed", "workspace", "other"};
  return kNames[static_cast<std::size_t>(category)];
}

std::string detail::format_byte_count(double bytes) {
  static constexpr std::array<std::string_view, 6> kUnits{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  if (bytes > -1024 && bytes < 1024) return fmt::format("{:.0f} B", bytes);
  std::size_t unit = 0;
  double scaled = bytes / 1024;
  // 1023.995 would print as 1024.00.
  while ((scaled >= 1023.995 || scaled <= -1023.995) && unit + 1 < kUnits.size()) {
    scaled /= 1024;
    ++unit;
  }
  return fmt::format("{:.2f} {}", scaled, kUnits[unit]);
}

}  // namespace reprise
