#include "memory/placement_puzzle.h"

#include <algorithm>
#include <numeric>

namespace reprise::packing {

std::vector<std::int64_t> loads_of(const Puzzle& puzzle) {
  std::vector<std::int64_t> loads(static_cast<std::size_t>(puzzle.columns) + 1, 0);
  for (const Strip& strip : puzzle.strips) {
    loads[static_cast<std::size_t>(strip.first)] += strip.size;
    loads[static_cast<std::size_t>(strip.last)] -= strip.size;
  }
  std::partial_sum(loads.begin(), loads.end(), loads.begin());
  loads.pop_back();
  return loads;
}

std::int64_t height_of(const Puzzle& puzzle, const Offsets& offsets) {
  std::int64_t height = 0;
  for (std::size_t i = 0; i < offsets.size(); ++i) {
    height = std::max(height, offsets[i] + puzzle.strips[i].size);
  }
  return height;
}

std::vector<Part> independent_parts(const Puzzle& puzzle) {
  std::vector<std::size_t> order(puzzle.strips.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, {}, [&](std::size_t i) { return puzzle.strips[i].first; });
  std::vector<Part> parts;
  int begin = 0;
  int end = 0;
  for (const std::size_t i : order) {
    Strip strip = puzzle.strips[i];
    if (strip.first >= end) {
      parts.emplace_back();
      begin = strip.first;
    }
    end = std::max(end, strip.last);
    strip.first -= begin;
    strip.last -= begin;
    Part& part = parts.back();
    part.puzzle.strips.push_back(strip);
    part.puzzle.columns = end - begin;
    part.strips.push_back(i);
  }
  return parts;
}

}  // namespace reprise::packing
