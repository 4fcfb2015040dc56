#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <utility>

#include "reprise/error.h"
#include "reprise/memory/placement.h"

namespace reprise {
namespace {

[[noreturn]] void refuse_overlap(std::span<const PlacementItem> items, const Placement& placement,
                                 std::size_t a, std::size_t b) {
  if (b < a) std::swap(a, b);
  throw ValueError(
      fmt::format("[placement] items {} (at {}, {} bytes) and {} (at {}, {} bytes) overlap while both are "
                  "alive; place them anew",
                  a, placement.offsets[a], items[a].bytes, b, placement.offsets[b], items[b].bytes));
}

/// Walks through time with the items that are alive by their offsets: each needs to clear its neighbours
/// only.
void check_overlaps(std::span<const PlacementItem> items, const Placement& placement) {
  std::vector<std::size_t> births;
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (items[i].bytes > 0 && items[i].lower < items[i].upper) births.push_back(i);
  }
  std::vector<std::size_t> deaths = births;
  std::ranges::sort(births, {}, [&](std::size_t i) { return items[i].lower; });
  std::ranges::sort(deaths, {}, [&](std::size_t i) { return items[i].upper; });
  const auto end_of = [&](std::size_t i) { return placement.offsets[i] + items[i].bytes; };
  std::map<std::int64_t, std::size_t> alive;
  auto dead = deaths.begin();
  for (const std::size_t i : births) {
    for (; items[*dead].upper <= items[i].lower; ++dead) alive.erase(placement.offsets[*dead]);
    const auto above = alive.lower_bound(placement.offsets[i]);
    if (above != alive.end() && above->first < end_of(i)) refuse_overlap(items, placement, i, above->second);
    if (above != alive.begin()) {
      const std::size_t below = std::prev(above)->second;
      if (end_of(below) > placement.offsets[i]) refuse_overlap(items, placement, i, below);
    }
    alive.emplace_hint(above, placement.offsets[i], i);
  }
}

}  // namespace

void check_placement(std::span<const PlacementItem> items, const Placement& placement,
                     std::int64_t alignment) {
  if (alignment < 1)
    throw ValueError(fmt::format("[placement] the alignment is {}; it must be at least 1", alignment));
  if (placement.offsets.size() != items.size()) {
    throw ValueError(fmt::format("[placement] there are {} offsets of {} items; give each item one",
                                 placement.offsets.size(), items.size()));
  }
  constexpr std::int64_t kMost = INT64_MAX / 2;
  std::int64_t slab = 0;
  for (std::size_t i = 0; i < items.size(); ++i) {
    const std::int64_t offset = placement.offsets[i];
    const std::int64_t bytes = items[i].bytes;
    if (offset < 0 || offset % alignment != 0 || offset > kMost || bytes < 0 || bytes > kMost) {
      throw ValueError(
          fmt::format("[placement] item {} of {} bytes lies at {}; it must lie at a multiple of {} from 0 on",
                      i, bytes, offset, alignment));
    }
    if (bytes > 0 && items[i].lower < items[i].upper) slab = std::max(slab, offset + bytes);
  }
  if (slab % alignment != 0) slab += alignment - slab % alignment;
  if (slab != placement.slab_bytes) {
    throw ValueError(
        fmt::format("[placement] the slab has {} bytes, and the items end at {}; make them equal",
                    placement.slab_bytes, slab));
  }
  check_overlaps(items, placement);
}

}  // namespace reprise
