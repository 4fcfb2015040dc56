#include "memory/placement_search.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <utility>
#include <vector>

#include "memory/placement_descent.h"

namespace reprise::packing {
namespace {

/// Orders of strips, the first to be tried first, which descents take in turns: no single one suits all
/// puzzles.
class Ranking {
 public:
  explicit Ranking(const Puzzle& puzzle) {
    const std::vector<std::int64_t> loads = loads_of(puzzle);
    constexpr std::int64_t kSteps = 1 << 20;  // sizes are as coarse as that, so that products stay small
    const std::int64_t step = std::max<std::int64_t>(1, *std::ranges::max_element(loads) / kSteps);
    for (const Strip& strip : puzzle.strips) {
      const auto first = loads.begin();
      const std::int64_t load = *std::max_element(first + strip.first, first + strip.last) / step;
      const std::int64_t size = strip.size / step;
      measures_.push_back({strip.width(), load, size, size * strip.width()});
    }
  }

  static constexpr int kOrders = 5;

  /// Ranks of the strips in one of the orders, with measures that grow with the blame by up to `weight`
  /// times.
  std::vector<int> ranks(int order, std::int64_t weight, const std::vector<std::int64_t>& blame) const {
    constexpr std::int64_t kOne = 1 << 10;
    const std::int64_t most = std::max<std::int64_t>(kOne, *std::ranges::max_element(blame));
    std::vector<std::pair<std::array<std::int64_t, 3>, std::size_t>> keys;
    for (std::size_t i = 0; i < measures_.size(); ++i) {
      const std::int64_t factor = kOne + weight * (blame[i] / (most / kOne));
      std::array<std::int64_t, 3> key = key_of(measures_[i], order);
      for (std::int64_t& measure : key) measure *= -factor;
      keys.emplace_back(key, i);
    }
    std::ranges::sort(keys);
    std::vector<int> ranks(keys.size());
    for (std::size_t i = 0; i < keys.size(); ++i) ranks[keys[i].second] = static_cast<int>(i);
    return ranks;
  }

 private:
  struct Measures {
    std::int64_t width, load, size, area;  // load: of its fullest column
  };

  static std::array<std::int64_t, 3> key_of(const Measures& m, int order) {
    switch (order) {
      case 0:
        return {m.width, m.area, m.load};
      case 1:
        return {m.load, m.area, m.width};
      case 2:
        return {m.load, m.width, m.area};
      case 3:
        return {m.area, m.width, m.load};
      default:
        return {m.size, m.width, m.load};
    }
  }

  std::vector<Measures> measures_;
};

/// One way to descend: an order, how much blame counts in it, and how many strips to look at, as a multiple
/// of the puzzle's.
struct Attempt {
  int order;
  std::int64_t weight;
  std::int64_t patience;
};

/// The ways in turns; every order with every weight makes a round, and each round is more patient.
Attempt attempt(int number) {
  constexpr std::array<std::int64_t, 4> kWeights{0, 5, 10, 20};
  const int of_all_orders = number / Ranking::kOrders;
  const std::int64_t weight = kWeights[static_cast<std::size_t>(of_all_orders) % kWeights.size()];
  const std::int64_t round = of_all_orders / static_cast<int>(kWeights.size());
  const std::int64_t patience = (weight == 0 ? 1000 : 200) * (1 + round);
  return {number % Ranking::kOrders, weight, patience};
}

/// Each way is tried for the goal, then for a height between it and the best so far: half of the way, a
/// quarter, and so on, since what was to blame at one height guides the descents at the others.
std::int64_t height_to_try(int number, std::int64_t goal, std::int64_t best) {
  constexpr int kSteps = 6;
  if (number % 2 == 0) return goal;
  return goal + ((best - 1 - goal) >> (1 + number / 2 % kSteps));
}

}  // namespace

void improve(const Puzzle& puzzle, Offsets& offsets, std::int64_t goal, Effort& effort) {
  const Ranking ranking(puzzle);
  Descent descent(puzzle, effort);
  std::int64_t best = height_of(puzzle, offsets);
  for (int number = 0; best > goal && effort.left() > 0; ++number) {
    const std::int64_t height = height_to_try(number, goal, best);
    const auto [order, weight, patience] = attempt(number / 2);
    const Verdict verdict = descent.fit_below(height, ranking.ranks(order, weight, descent.blame()),
                                              patience * static_cast<std::int64_t>(puzzle.strips.size()));
    if (verdict == Verdict::impossible) goal = std::max(goal, height + 1);
    if (verdict == Verdict::fits) {
      offsets = descent.offsets();
      best = height_of(puzzle, offsets);
    }
  }
}

}  // namespace reprise::packing
