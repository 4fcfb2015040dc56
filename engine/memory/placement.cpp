#include "reprise/memory/placement.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "memory/placement_greedy.h"
#include "memory/placement_search.h"
#include "reprise/error.h"

namespace reprise {
namespace {

using packing::Effort;
using packing::Offsets;
using packing::Part;
using packing::Puzzle;

/// Sums up to here leave room to add any two.
constexpr std::int64_t kMostBytes = std::int64_t{1} << 61;
/// Larger puzzles are not searched: a descent keeps up to half a waiting strip for every pair.
constexpr std::size_t kMostSearched = 1024;

bool takes_space(const PlacementItem& item) { return item.bytes > 0 && item.lower < item.upper; }

std::int64_t rounded_up(std::int64_t bytes, std::int64_t alignment) {
  const std::int64_t rest = bytes % alignment;
  return rest == 0 ? bytes : bytes + (alignment - rest);
}

void check_options(const PlacementOptions& options) {
  const auto refuse = [](const char* what, auto value, const char* advice) {
    throw ValueError(fmt::format("[placement] {} is {}; {}", what, value, advice));
  };
  if (options.alignment < 1 || options.alignment > kMostBytes)
    refuse("the alignment", options.alignment, "it must be between 1 and 2^61");
  if (options.target_bytes < 0) refuse("the target", options.target_bytes, "0 is as small as possible");
  if (options.effort < 0) refuse("the effort", options.effort, "0 is no search");
  if (!(options.time_limit_s >= 0)) refuse("the time limit", options.time_limit_s, "0 is none");
}

void check_items(std::span<const PlacementItem> items, std::int64_t alignment) {
  if (items.size() > static_cast<std::size_t>(std::numeric_limits<int>::max()) / 2)
    throw ValueError(fmt::format("[placement] {} items are too many; place at most 2^30", items.size()));
  std::int64_t sum = 0;
  for (std::size_t i = 0; i < items.size(); ++i) {
    const auto& [lower, upper, bytes] = items[i];
    if (bytes < 0)
      throw ValueError(fmt::format("[placement] item {} has {} bytes; give it 0 or more", i, bytes));
    if (upper < lower) {
      throw ValueError(fmt::format("[placement] item {} ends at {} before it begins at {}; exchange them", i,
                                   upper, lower));
    }
    if (!takes_space(items[i])) continue;
    if (bytes > kMostBytes - sum || rounded_up(bytes, alignment) > kMostBytes - sum) {
      throw ValueError(
          fmt::format("[placement] up to item {}, the items take more than 2^61 bytes; place fewer", i));
    }
    sum += rounded_up(bytes, alignment);
  }
}

/// Items as strips whose sizes are multiples of a unit.
struct Whole {
  Puzzle puzzle;
  std::vector<std::size_t> items;  // of each strip
  std::int64_t unit = 1;
};

/// Numbers the columns: one ends where an item ends after another has begun.
void assign_columns(std::span<const PlacementItem> items, Whole& whole) {
  struct Event {
    std::int64_t time;
    bool is_begin;  // ends come before beginnings at the same time
    std::size_t strip;
  };
  std::vector<Event> events;
  for (std::size_t i = 0; i < whole.items.size(); ++i) {
    events.push_back({items[whole.items[i]].lower, true, i});
    events.push_back({items[whole.items[i]].upper, false, i});
  }
  std::ranges::stable_sort(events, {}, [](const Event& e) { return std::pair(e.time, e.is_begin); });
  int column = 0;
  bool has_grown = false;
  for (const Event& event : events) {
    if (!event.is_begin && has_grown) ++column;
    has_grown = event.is_begin;
    packing::Strip& strip = whole.puzzle.strips[event.strip];
    (event.is_begin ? strip.first : strip.last) = column;
  }
  whole.puzzle.columns = column;
}

Whole whole_of(std::span<const PlacementItem> items, std::int64_t alignment) {
  Whole whole;
  whole.unit = 0;
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (!takes_space(items[i])) continue;
    const std::int64_t bytes = rounded_up(items[i].bytes, alignment);
    whole.unit = std::gcd(whole.unit, bytes);
    whole.items.push_back(i);
    whole.puzzle.strips.push_back({0, 0, bytes});
  }
  for (packing::Strip& strip : whole.puzzle.strips) strip.size /= whole.unit;
  assign_columns(items, whole);
  return whole;
}

Effort::Deadline deadline_of(double seconds) {
  using Clock = std::chrono::steady_clock;
  constexpr double kLongest = 1e9;  // seconds that a time point can surely hold
  if (seconds == 0 || seconds > kLongest) return {};
  return Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}

/// Each part greedily, then the highest ones by search, until all are below the goal or below one that is
/// not.
Offsets solve(const Puzzle& puzzle, std::int64_t goal, const PlacementOptions& options) {
  struct Solved {
    Part part;
    Offsets offsets;
    std::int64_t height;
  };
  std::vector<Solved> solved;
  for (Part& part : packing::independent_parts(puzzle)) {
    Offsets offsets = packing::place_greedily(part.puzzle, goal);
    const std::int64_t height = packing::height_of(part.puzzle, offsets);
    solved.push_back({std::move(part), std::move(offsets), height});
  }
  std::ranges::stable_sort(solved, std::ranges::greater{}, &Solved::height);
  const Effort::Deadline deadline = deadline_of(options.time_limit_s);
  std::int64_t left = options.effort;
  auto high = std::ranges::count_if(solved, [&](const Solved& s) { return s.height > goal; });
  for (auto& [part, offsets, height] : solved) {
    if (height > goal && part.puzzle.strips.size() <= kMostSearched) {
      Effort effort(left / high, deadline);
      left -= left / high;
      packing::improve(part.puzzle, offsets, goal, effort);
      left += std::max<std::int64_t>(0, effort.left());
    }
    goal = std::max(goal, packing::height_of(part.puzzle, offsets));
    high = std::max<std::int64_t>(1, high - 1);
  }
  Offsets offsets(puzzle.strips.size());
  for (const Solved& s : solved) {
    for (std::size_t i = 0; i < s.offsets.size(); ++i) offsets[s.part.strips[i]] = s.offsets[i];
  }
  return offsets;
}

}  // namespace

Placement place(std::span<const PlacementItem> items, const PlacementOptions& options) {
  check_options(options);
  check_items(items, options.alignment);
  Placement placement;
  placement.offsets.resize(items.size(), 0);
  const Whole whole = whole_of(items, options.alignment);
  if (whole.items.empty()) return placement;
  const std::int64_t bound = std::ranges::max(packing::loads_of(whole.puzzle));
  const std::int64_t goal = std::max(bound, options.target_bytes / whole.unit);
  const Offsets offsets = solve(whole.puzzle, goal, options);
  for (std::size_t i = 0; i < offsets.size(); ++i)
    placement.offsets[whole.items[i]] = offsets[i] * whole.unit;
  placement.slab_bytes = packing::height_of(whole.puzzle, offsets) * whole.unit;
  placement.lower_bound_bytes = bound * whole.unit;
  check_placement(items, placement, options.alignment);
  return placement;
}

}  // namespace reprise
