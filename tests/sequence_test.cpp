// How a sequence is cut: what cannot be is refused before a block runs, whatever way the setting was made.
#include <limits>

#include "tape_support.h"

using namespace tape_test;
using checkpoint::Setting;
using checkpoint::Strategy;

namespace {

constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();

struct Enough {};

/// The pieces that a sequence is cut into: all, or the first `most`.
std::vector<std::pair<std::int64_t, std::int64_t>> pieces(const Setting& setting, std::int64_t n,
                                                          std::size_t most = 100) {
  struct Pieces {
    std::vector<std::pair<std::int64_t, std::int64_t>> list;
    std::size_t most;
  } found{{}, most};
  const auto note = [](void* context, std::int64_t first, std::int64_t last) {
    auto& seen = *static_cast<Pieces*>(context);
    seen.list.emplace_back(first, last);
    if (seen.list.size() == seen.most) throw Enough{};
  };
  try {
    checkpoint::detail::run_sequence(setting, n, note, &found);
  } catch (const Enough&) {
  }
  return found.list;
}

}  // namespace

TEST_CASE("a setting that cuts nothing is refused before a block runs", "[sequence]") {
  struct Case {
    Setting setting;
    std::int64_t n;
    const char* message;
  };
  const auto every = [](int k) {
    Setting setting{.strategy = Strategy::every};
    setting.every = k;
    return setting;
  };
  Setting changed = checkpoint::parse_setting("every:3");
  changed.every = -7;
  for (const Case& c :
       {Case{every(0), 4, "every is 0"}, Case{every(-1), 4, "every is -1"}, Case{changed, 4, "every is -7"},
        Case{every(std::numeric_limits<int>::min()), 4, "every is -2147483648"},
        Case{{Strategy::every, 0}, 0, "every is 0"}, Case{{Strategy::every, 0}, kMost, "every is 0"},
        Case{{static_cast<Strategy>(6), 1}, 4, "there is no strategy 6"},
        Case{{static_cast<Strategy>(255), 1}, 4, "there is no strategy 255"}, Case{{}, -1, "-1 blocks"},
        Case{{Strategy::sqrt}, std::numeric_limits<std::int64_t>::min(), "-9223372036854775808 blocks"}}) {
    CAPTURE(c.message);
    int calls = 0;
    const auto run = [&] { checkpoint::sequence(c.setting, c.n, [&](std::int64_t) { ++calls; }); };
    const auto matches = Catch::Matchers::StartsWith("[sequence] " + std::string(c.message));
    CHECK_THROWS_AS(run(), ValueError);
    CHECK_THROWS_WITH(run(), matches);
    CHECK_THROWS_WITH(checkpoint::blocks_per_segment(c.setting, c.n), matches);
    const NoGrad no_grad;
    CHECK_THROWS_WITH(run(), matches);
    CHECK(calls == 0);
  }
}

TEST_CASE("strategies that do not read `every` take any", "[sequence]") {
  for (const Strategy strategy :
       {Strategy::none, Strategy::blocks, Strategy::sqrt, Strategy::nested, Strategy::cheap}) {
    int calls = 0;
    checkpoint::sequence({.strategy = strategy, .every = 0}, 5, [&](std::int64_t i) { CHECK(i == calls++); });
    CHECK(calls == 5);
  }
}

TEST_CASE("sequences are cut without overflow, however long", "[sequence]") {
  using Pieces = std::vector<std::pair<std::int64_t, std::int64_t>>;
  constexpr int kInt = std::numeric_limits<int>::max();
  CHECK(pieces({Strategy::every, kInt}, 5) == Pieces{{0, 5}});
  CHECK(pieces({Strategy::every, 2}, 5) == Pieces{{0, 2}, {2, 4}, {4, 5}});
  CHECK(pieces({Strategy::every, kInt}, kMost, 2) == Pieces{{0, kInt}, {kInt, 2LL * kInt}});
  CHECK(pieces({Strategy::none}, kMost) == Pieces{{0, kMost}});
  CHECK(pieces({Strategy::sqrt}, kMost, 1) == Pieces{{0, 3037000500}});
  CHECK(pieces({Strategy::nested}, kMost, 3) == Pieces{{0, 1}, {1, 2}, {2, 3}});
  CHECK(pieces({Strategy::cheap}, kMost, 1) == Pieces{{0, 1}});
  CHECK(checkpoint::blocks_per_segment({Strategy::none}, kMost) == kMost);
  CHECK(pieces({Strategy::nested}, 0).empty());
}
