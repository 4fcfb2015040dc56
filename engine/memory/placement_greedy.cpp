#include "memory/placement_greedy.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <limits>
#include <map>
#include <numeric>
#include <utility>

namespace reprise::packing {
namespace {

constexpr std::int64_t kEndless = std::numeric_limits<std::int64_t>::max() / 2;

/// Up to here an order in which every strip is compared with all before it takes a tenth of a second.
constexpr std::size_t kMostForPairs = 8192;

enum class Fit { first, best };

/// Free ranges of the slab, merged, as an allocator keeps them.
class FreeRanges {
 public:
  std::int64_t take(std::int64_t size, Fit fit) {
    auto chosen = free_.end();
    for (auto range = free_.begin(); range != free_.end(); ++range) {
      if (range->second < size || (chosen != free_.end() && range->second >= chosen->second)) continue;
      chosen = range;
      if (fit == Fit::first) break;
    }
    const auto [begin, length] = *chosen;  // there is one: the last range is never used up
    free_.erase(chosen);
    if (length > size) free_.emplace(begin + size, length - size);
    return begin;
  }

  void give_back(std::int64_t begin, std::int64_t size) {
    auto next = free_.lower_bound(begin);
    if (next != free_.end() && next->first == begin + size) {
      size += next->second;
      next = free_.erase(next);
    }
    if (next != free_.begin()) {
      const auto before = std::prev(next);
      if (before->first + before->second == begin) {
        before->second += size;
        return;
      }
    }
    free_.emplace_hint(next, begin, size);
  }

 private:
  std::map<std::int64_t, std::int64_t> free_{{0, kEndless}};
};

/// Strips in order of time, as an allocator sees them that knows only the present.
Offsets sweep(const Puzzle& puzzle, Fit fit) {
  const std::vector<Strip>& strips = puzzle.strips;
  std::vector<std::size_t> births(strips.size());
  std::iota(births.begin(), births.end(), std::size_t{0});
  std::vector<std::size_t> deaths = births;
  std::ranges::stable_sort(births, {}, [&](std::size_t i) {
    return std::pair(strips[i].first, -strips[i].last);  // what stays longest lies lowest
  });
  std::ranges::stable_sort(deaths, {}, [&](std::size_t i) { return strips[i].last; });
  Offsets offsets(strips.size(), 0);
  FreeRanges free;
  auto dead = deaths.begin();
  for (const std::size_t i : births) {
    for (; strips[*dead].last <= strips[i].first; ++dead) free.give_back(offsets[*dead], strips[*dead].size);
    offsets[i] = free.take(strips[i].size, fit);
  }
  return offsets;
}

/// The puzzle with time running backward.
Puzzle reversed(const Puzzle& puzzle) {
  Puzzle result = puzzle;
  for (Strip& strip : result.strips) {
    const int first = puzzle.columns - strip.last;
    strip.last = puzzle.columns - strip.first;
    strip.first = first;
  }
  return result;
}

/// Strips in any order, each in the lowest gap between those placed before.
Offsets fill_lowest_gaps(const Puzzle& puzzle, const std::vector<std::size_t>& order) {
  struct Placed {
    std::int64_t offset;
    Strip strip;
  };
  std::vector<Placed> placed;  // by offset
  placed.reserve(order.size());
  Offsets offsets(order.size(), 0);
  for (const std::size_t i : order) {
    const Strip& strip = puzzle.strips[i];
    std::int64_t bottom = 0;
    for (const Placed& other : placed) {
      if (!other.strip.meets(strip)) continue;
      if (other.offset - bottom >= strip.size) break;
      bottom = std::max(bottom, other.offset + other.strip.size);
    }
    offsets[i] = bottom;
    placed.insert(std::ranges::upper_bound(placed, bottom, {}, &Placed::offset), {bottom, strip});
  }
  return offsets;
}

enum class First { largest, widest, most_area };

/// The strips by a measure, the highest first.
std::vector<std::size_t> order_by(const Puzzle& puzzle, First first) {
  const auto key = [&](std::size_t i) -> std::array<double, 2> {
    const Strip& strip = puzzle.strips[i];
    const auto size = static_cast<double>(strip.size);
    const auto width = static_cast<double>(strip.width());
    if (first == First::largest) return {size, width};
    if (first == First::widest) return {width, size};
    return {size * width, size};
  };
  std::vector<std::size_t> order(puzzle.strips.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, std::ranges::greater{}, key);
  return order;
}

}  // namespace

Offsets place_greedily(const Puzzle& puzzle, std::int64_t goal) {
  Offsets best;
  std::int64_t best_height = kEndless;
  const auto good_enough = [&](Offsets offsets) {
    const std::int64_t height = height_of(puzzle, offsets);
    if (height < best_height) {
      best_height = height;
      best = std::move(offsets);
    }
    return best_height <= goal;
  };
  const Puzzle backward = reversed(puzzle);
  for (const Fit fit : {Fit::best, Fit::first}) {
    if (good_enough(sweep(puzzle, fit)) || good_enough(sweep(backward, fit))) return best;
  }
  if (puzzle.strips.size() > kMostForPairs) return best;
  for (const First first : {First::largest, First::most_area, First::widest}) {
    if (good_enough(fill_lowest_gaps(puzzle, order_by(puzzle, first)))) return best;
  }
  return best;
}

}  // namespace reprise::packing
