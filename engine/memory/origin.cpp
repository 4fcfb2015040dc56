#include "reprise/memory/origin.h"

#include <fmt/format.h>

#include <array>

#include "reprise/memory/statistics.h"

namespace reprise {

std::string_view name_of(Phase phase) {
  static constexpr std::array<std::string_view, 5> kNames{"other", "forward", "replay", "backward",
                                                          "optimiser"};
  return kNames[static_cast<std::size_t>(phase)];
}

std::string describe(const Origin& origin) {
  if (origin.place != nullptr && origin.place->file.empty())
    return fmt::format("{} {} {}", origin.place->path, to_string(origin.shape), name_of(origin.dtype));
  std::string result(origin.operation);
  if (!origin.operation.empty()) {
    result += origin.scratch ? fmt::format(", {} of scratch", format_bytes(origin.shape.numel()))
                             : fmt::format(" {} {}", to_string(origin.shape), name_of(origin.dtype));
    if (origin.phase != Phase::other) result += fmt::format(", {}", name_of(origin.phase));
  }
  if (origin.place == nullptr) return result.empty() ? "unknown" : result;
  result += fmt::format("{}{}", result.empty() ? "" : " in ", origin.place->path);
  if (const std::string where = location_of(origin.place); !where.empty())
    result += fmt::format(" ({})", where);
  return result;
}

}  // namespace reprise
