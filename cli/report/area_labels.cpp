#include "cli/report/area_labels.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <optional>

#include "cli/plot_layout.h"

namespace reprise::cli {

namespace {

constexpr std::size_t kColumns = 240;

/// The extent of one area within a column, at its narrowest, in shares of the height.
struct Room {
  double bottom = 0;
  double top = 1;
};
using Area = std::array<Room, kColumns>;

void narrow(Area& area, std::size_t first, std::size_t last, double bottom, double top) {
  for (std::size_t column = first; column <= last; ++column) {
    area[column].bottom = std::max(area[column].bottom, bottom);
    area[column].top = std::min(area[column].top, top);
  }
}

std::size_t column_of(double x_share) {
  return std::min(static_cast<std::size_t>(x_share * kColumns), kColumns - 1);
}

/// The extents of all areas, from the ground up.
std::array<Area, kCategories> areas_of(std::span<const MemorySample> samples, std::int64_t end_ns,
                                       const MemoryAxes& axes) {
  std::array<Area, kCategories> areas;
  for (std::size_t i = 0; i < samples.size(); ++i) {
    const std::int64_t until = i + 1 < samples.size() ? samples[i + 1].time_ns : end_ns;
    const std::size_t first = column_of(axes.x_share(samples[i].time_ns));
    const std::size_t last = std::max(column_of(axes.x_share(until)), first);
    std::int64_t below = 0;
    for (std::size_t k = 0; k < kCategories; ++k) {
      const std::int64_t above = below + samples[i].by_category[static_cast<std::size_t>(kStack[k])];
      narrow(areas[k], first, last, axes.y_share(below), axes.y_share(above));
      below = above;
    }
  }
  return areas;
}

/// The place with most room above and below for a text over that many columns, left of `end`.
std::optional<AreaLabel> best_place(const Area& area, std::size_t columns, std::size_t end, double height) {
  std::optional<AreaLabel> best;
  double most = (kPanelText + 3) / height;
  for (std::size_t first = 0; first + columns <= end; ++first) {
    Room room;
    for (std::size_t i = first; i < first + columns; ++i) {
      room.bottom = std::max(room.bottom, area[i].bottom);
      room.top = std::min(room.top, area[i].top);
    }
    if (room.top - room.bottom <= most) continue;
    most = room.top - room.bottom;
    const double middle = static_cast<double>(first) + static_cast<double>(columns) / 2;
    best = AreaLabel{{}, middle / kColumns, (room.bottom + room.top) / 2, false};
  }
  return best;
}

}  // namespace

std::vector<AreaLabel> area_labels(std::span<const MemorySample> samples, std::int64_t end_ns,
                                   const MemoryAxes& axes, double height) {
  const std::array<Area, kCategories> areas = areas_of(samples, end_ns, axes);
  const std::size_t end = column_of(axes.x_share(end_ns)) + 1;
  std::vector<AreaLabel> labels;
  for (std::size_t k = 0; k < kCategories; ++k) {
    const std::string_view name = name_of(kStack[k]);
    for (const double width : {kNarrowPanel, kWidePanel}) {
      const double share = (text_width(name, kPanelText) + 6) / width;
      const auto columns = static_cast<std::size_t>(std::ceil(share * kColumns));
      std::optional<AreaLabel> label = best_place(areas[k], columns, end, height);
      if (!label) continue;
      label->name = name;
      label->wide_only = width == kWidePanel;
      labels.push_back(*label);
      break;
    }
  }
  return labels;
}

}  // namespace reprise::cli
