// Placement of buffers of known lifetimes: optima, an independent check, brute force, files, bad input.
#include "reprise/memory/placement.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <random>
#include <sstream>

#include "reprise/error.h"

using namespace reprise;
using Catch::Matchers::Contains;
namespace fs = std::filesystem;

namespace {

bool overlap(std::int64_t a, std::int64_t a_end, std::int64_t b, std::int64_t b_end) {
  return a < b_end && b < a_end;
}

/// Looks at every pair, sharing nothing with the code under test.
void check_valid(const std::vector<PlacementItem>& items, const Placement& placement,
                 std::int64_t alignment) {
  REQUIRE(placement.offsets.size() == items.size());
  std::int64_t top = 0, most = 0;
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (items[i].bytes == 0 || items[i].lower == items[i].upper) continue;
    const std::int64_t begin = placement.offsets[i], end = begin + items[i].bytes;
    CHECK(begin >= 0);
    CHECK(begin % alignment == 0);
    top = std::max(top, end);
    std::int64_t live = 0;
    for (std::size_t j = 0; j < items.size(); ++j) {
      if (items[j].lower <= items[i].lower && items[i].lower < items[j].upper)
        live += (items[j].bytes + alignment - 1) / alignment * alignment;
      if (j == i || items[j].bytes == 0 || items[j].lower == items[j].upper) continue;
      if (overlap(items[i].lower, items[i].upper, items[j].lower, items[j].upper))
        CHECK_FALSE(overlap(begin, end, placement.offsets[j], placement.offsets[j] + items[j].bytes));
    }
    most = std::max(most, live);
  }
  CHECK(placement.slab_bytes == (top + alignment - 1) / alignment * alignment);
  CHECK(placement.lower_bound_bytes == most);
  CHECK(placement.slab_bytes >= placement.lower_bound_bytes);
}

std::vector<PlacementItem> random_items(std::uint32_t seed, std::size_t count, std::int64_t times,
                                        std::int64_t most) {
  std::mt19937 random(seed);
  std::vector<PlacementItem> items(count);
  for (PlacementItem& item : items) {
    item.lower = std::uniform_int_distribution<std::int64_t>(0, times - 1)(random);
    item.upper = std::uniform_int_distribution<std::int64_t>(item.lower, times)(random);
    item.bytes = std::uniform_int_distribution<std::int64_t>(0, most)(random);
  }
  return items;
}

/// The smallest slab: some order in which each item goes to its lowest free place reaches it.
std::int64_t smallest_slab(const std::vector<PlacementItem>& items) {
  std::vector<std::size_t> order(items.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::int64_t best = INT64_MAX;
  do {
    std::vector<std::int64_t> offsets(items.size());
    std::int64_t top = 0;
    for (std::size_t k = 0; k < order.size(); ++k) {
      const PlacementItem& item = items[order[k]];
      std::int64_t& offset = offsets[order[k]] = 0;
      for (bool moved = true; moved;) {
        moved = false;
        for (std::size_t l = 0; l < k; ++l) {
          const PlacementItem& other = items[order[l]];
          if (!overlap(item.lower, item.upper, other.lower, other.upper)) continue;
          if (!overlap(offset, offset + item.bytes, offsets[order[l]], offsets[order[l]] + other.bytes))
            continue;
          offset = offsets[order[l]] + other.bytes;
          moved = true;
        }
      }
      if (item.bytes > 0 && item.lower < item.upper) top = std::max(top, offset + item.bytes);
    }
    best = std::min(best, top);
  } while (std::next_permutation(order.begin(), order.end()));
  return best;
}

std::vector<PlacementItem> read_items(const fs::path& file) {
  std::ifstream in(file);
  std::string line;
  std::getline(in, line);
  std::vector<PlacementItem> items;
  while (std::getline(in, line)) {
    std::ranges::replace(line, ',', ' ');
    std::istringstream cells(line);
    std::int64_t id = 0;
    PlacementItem item;
    cells >> id >> item.lower >> item.upper >> item.bytes;
    items.push_back(item);
  }
  return items;
}

}  // namespace

TEST_CASE("small puzzles are placed as well as can be", "[placement]") {
  CHECK(place({}).slab_bytes == 0);
  CHECK(place(std::vector<PlacementItem>{{0, 5, 7}}).slab_bytes == 7);
  CHECK(place(std::vector<PlacementItem>{{0, 5, 0}, {3, 3, 100}}).slab_bytes == 0);
  // One after the other in time: they share the place.
  CHECK(place(std::vector<PlacementItem>{{0, 2, 8}, {2, 4, 8}}).slab_bytes == 8);
  CHECK(place(std::vector<PlacementItem>{{0, 3, 8}, {2, 4, 8}}).slab_bytes == 16);
  for (std::uint32_t seed = 0; seed < 200; ++seed) {
    const std::vector<PlacementItem> items = random_items(seed, 1 + seed % 6, 6, 9);
    CAPTURE(seed);
    const Placement placement = place(items);
    check_valid(items, placement, 1);
    CHECK(placement.slab_bytes == smallest_slab(items));
  }
}

TEST_CASE("placements are valid, aligned and always the same", "[placement]") {
  for (const std::int64_t alignment : {1, 3, 256}) {
    for (const std::size_t count : {2u, 17u, 60u, 400u, 1500u}) {
      const std::vector<PlacementItem> items =
          random_items(static_cast<std::uint32_t>(count), count, 300, 5000);
      const PlacementOptions options{.alignment = alignment, .effort = 200'000};
      const Placement placement = place(items, options);
      CAPTURE(alignment, count);
      check_valid(items, placement, alignment);
      CHECK_NOTHROW(check_placement(items, placement, alignment));
      CHECK(place(items, options).offsets == placement.offsets);
    }
  }
}

TEST_CASE("the search is never worse than without, and stops at its target", "[placement]") {
  const std::vector<PlacementItem> items = random_items(5, 120, 100, 1000);
  const Placement greedy = place(items, {.effort = 0});
  const Placement searched = place(items, {.effort = 3'000'000});
  CHECK(searched.slab_bytes <= greedy.slab_bytes);
  const Placement enough = place(items, {.target_bytes = greedy.slab_bytes, .effort = 3'000'000});
  CHECK(enough.slab_bytes <= greedy.slab_bytes);
}

TEST_CASE("a training step of many thousands of buffers is placed in a moment", "[placement]") {
  std::vector<PlacementItem> items;
  constexpr std::int64_t kCount =
      25'000;  // saved on the way forward, read on the way back, and as many that pass
  for (std::int64_t i = 0; i < kCount; ++i) {
    items.push_back({i, 2 * kCount - i, 256 * (1 + i % 7)});
    items.push_back({i, i + 2, 256 * (1 + i % 5)});
  }
  const auto start = std::chrono::steady_clock::now();
  const Placement placement = place(items, {.alignment = 256});
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  CHECK_NOTHROW(check_placement(items, placement, 256));
  CHECK(static_cast<double>(placement.slab_bytes) <= 1.01 * static_cast<double>(placement.lower_bound_bytes));
  CHECK(seconds.count() < 20);  // takes under one on a quiet machine
}

TEST_CASE("the published puzzles reach their capacity", "[placement]") {
  const char* const given = std::getenv("REPRISE_DATA");
  const fs::path folder =
      (given != nullptr ? fs::path(given) : fs::path(__FILE__).parent_path() / "../../shared/data") /
      "packing";
  if (!fs::exists(folder)) {
    WARN("skipped: there is no " << folder.string() << "; REPRISE_DATA names the folder");
    return;
  }
  constexpr std::int64_t kCapacity = 1'048'576;
  int files = 0, reached = 0;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    const std::vector<PlacementItem> items = read_items(entry.path());
    const Placement placement = place(items, {.target_bytes = kCapacity});
    CAPTURE(entry.path().filename().string());
    check_valid(items, placement, 1);
    CHECK(static_cast<double>(placement.slab_bytes) <= 1.03 * kCapacity);
    ++files;
    reached += placement.slab_bytes <= kCapacity ? 1 : 0;
  }
  CHECK(files == 6);
  CHECK(reached >= 4);
}

TEST_CASE("what cannot be placed is refused, and what is wrong with a placement named", "[placement]") {
  using Items = std::vector<PlacementItem>;
  CHECK_THROWS_WITH(place(Items{{0, 1, 5}, {0, 1, -1}}), Contains("[placement] item 1 has -1 bytes"));
  CHECK_THROWS_WITH(place(Items{{3, 2, 5}}), Contains("[placement] item 0 ends at 2 before it begins at 3"));
  CHECK_THROWS_AS(place(Items{{0, 1, INT64_MAX}, {0, 1, INT64_MAX}}), ValueError);
  CHECK_THROWS_AS(place(Items{{0, 1, 1}}, {.alignment = 0}), ValueError);
  CHECK_THROWS_AS(place(Items{{0, 1, 1}}, {.effort = -1}), ValueError);
  CHECK_THROWS_AS(place(Items{{0, 1, 1}}, {.time_limit_s = -1}), ValueError);
  const Items items{{0, 2, 4}, {1, 3, 4}};
  const Placement good = place(items);
  for (const Placement& bad : {Placement{{0, 2}, 6, 8}, Placement{{-1, 4}, 8, 8}, Placement{{0, 4}, 9, 8},
                               Placement{{0}, 8, 8}, Placement{{0, 5}, 9, 8}}) {
    if (bad.offsets == std::vector<std::int64_t>{0, 5}) {
      CHECK_THROWS_AS(check_placement(items, bad, 4), ValueError);  // not aligned
      continue;
    }
    CHECK_THROWS_AS(check_placement(items, bad), ValueError);
  }
  CHECK_NOTHROW(check_placement(items, good));
}
