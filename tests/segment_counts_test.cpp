// How often segments compute again, and how much memory a step takes: exact numbers and formulas.
#include "tape_support.h"

using namespace tape_test;
using checkpoint::Segment;
using checkpoint::SegmentOptions;
using checkpoint::Setting;
using checkpoint::Strategy;

namespace {

constexpr SegmentOptions kDropped{.spare_last = false};

/// A chain of sin, which saves its input: n nodes, n - 1 values between them.
Tensor halves(Tensor h, std::int64_t n, const SegmentOptions& options) {
  if (n == 1) return sin(h);
  for (const std::int64_t part : {n / 2, n - n / 2}) {
    const Segment segment("half", options);
    h = halves(std::move(h), part, options);
  }
  return h;
}

struct Cost {
  std::int64_t replayed_nodes = 0;
  std::int64_t replayed_bytes = 0;
  std::int64_t values = 0;  // at the peak, in units of one value, above the leaf
};

/// Forward and backward of a chain on a tensor of `numel` doubles.
template <class F>
Cost cost_of(F&& chain, std::int64_t numel = 1024) {
  const NothingLeft check;
  Tensor x = full({numel}, 0.7, kDouble).set_requires_grad(true);
  const Tensor seed = ones({numel}, kDouble);
  reset_tape_counters();
  const MemoryScope scope(current_pool());
  const std::int64_t base = live_bytes();
  {
    Tensor y = chain(x);
    y.backward(seed);
  }
  const std::int64_t peak = scope.statistics().all.requested.peak - base;
  CHECK(peak % (numel * 8) == 0);
  return {tape_counters().replayed_nodes, tape_counters().replayed_bytes, peak / (numel * 8)};
}

Cost cost_of_sequence(const Setting& setting, std::int64_t n) {
  return cost_of([&](Tensor h) {
    checkpoint::sequence(setting, n, [&](std::int64_t) { h = sin(std::move(h)); });
    return h;
  });
}

/// P(n, s) of Revolve: extra steps for a chain of n with s slots, and the first step after the best first
/// checkpoint.
class Revolve {
 public:
  Revolve(std::int64_t n, std::int64_t slots) : n_(n), steps_(at(n, slots) + 1, 0), first_(steps_.size(), 0) {
    for (std::int64_t s = 1; s <= slots; ++s) {
      for (std::int64_t m = 2; m <= n; ++m) {
        std::int64_t best = -1;
        for (std::int64_t j = s == 1 ? m - 1 : 1; j < m; ++j) {
          const std::int64_t cost = j + steps_[at(j, s)] + (m - j == 1 ? 0 : steps_[at(m - j, s - 1)]);
          if (best >= 0 && cost >= best) continue;
          best = cost;
          first_[at(m, s)] = j;
        }
        steps_[at(m, s)] = best;
      }
    }
  }
  std::int64_t steps(std::int64_t n, std::int64_t s) const { return steps_[at(n, s)]; }

  /// The chain as nested segments: what comes before the first checkpoint is one that may use all slots, the
  /// rest has one less.
  void chain(Tensor& h, std::int64_t n, std::int64_t s) const {
    while (n > 1) {
      const std::int64_t j = first_[at(n, s)];
      {
        const Segment segment("left", kDropped);
        chain(h, j, s);
      }
      n -= j;
      s -= 1;
    }
    h = sin(std::move(h));
  }

 private:
  std::size_t at(std::int64_t n, std::int64_t s) const { return static_cast<std::size_t>(s * (n_ + 1) + n); }
  std::int64_t n_;
  std::vector<std::int64_t> steps_, first_;
};

Cost cost_of_schedule(const Revolve& revolve, std::int64_t n, std::int64_t s) {
  return cost_of([&](Tensor h) {
    const Segment segment("chain", kDropped);
    revolve.chain(h, n, s);
    return h;
  });
}

}  // namespace

TEST_CASE("recursive halving computes 2, 8, 24 values again for n = 4, 8, 16", "[segment][counts]") {
  const std::vector<std::pair<std::int64_t, std::int64_t>> all{{2, 0},   {4, 2},   {8, 8},
                                                               {16, 24}, {32, 64}, {64, 160}};
  for (const auto& [n, replayed] : all) {
    CAPTURE(n);
    const Cost cost = cost_of([n = n](Tensor h) { return halves(std::move(h), n, kDropped); });
    CHECK(cost.replayed_nodes == replayed);
    CHECK(cost.replayed_bytes == replayed * 1024 * 8);
  }
}

// S(n) = n / 2 + 2 S(n / 2) is what a dropped stretch costs, S(1) = 0. Of a kept one only the first half was
// dropped: K(n) = S(n / 2) + K(n / 2), K(1) = 0. The chain itself is kept.
TEST_CASE("recursive halving that keeps what comes last computes 1, 5, 17 values again",
          "[segment][counts]") {
  const std::vector<std::pair<std::int64_t, std::int64_t>> all{{2, 0},   {4, 1},   {8, 5},
                                                               {16, 17}, {32, 49}, {64, 129}};
  for (const auto& [n, replayed] : all) {
    CAPTURE(n);
    CHECK(cost_of([n = n](Tensor h) { return halves(std::move(h), n, {}); }).replayed_nodes == replayed);
    CHECK(cost_of_sequence({.strategy = Strategy::nested}, n).replayed_nodes == replayed);
  }
}

// A segment of k values computes k - 1 of them again: its last is its output, and what its last node saves is
// the one before.
TEST_CASE("every k-th, blocks and sqrt compute exactly their insides again, but for the last segment",
          "[segment][counts]") {
  for (const std::int64_t n : {1, 2, 3, 5, 10, 16, 17, 100}) {
    CAPTURE(n);
    CHECK(cost_of_sequence({.strategy = Strategy::none}, n).replayed_nodes == 0);
    CHECK(cost_of_sequence({.strategy = Strategy::blocks}, n).replayed_nodes == 0);
    for (const int k : {1, 2, 3, 7, 200}) {
      CAPTURE(k);
      const std::int64_t full_segments = (n - 1) / k;
      CHECK(cost_of_sequence({.strategy = Strategy::every, .every = k}, n).replayed_nodes ==
            full_segments * (k - 1));
    }
    const auto k = static_cast<std::int64_t>(std::ceil(std::sqrt(static_cast<double>(n))));
    CHECK(cost_of_sequence({.strategy = Strategy::sqrt}, n).replayed_nodes == (n - 1) / k * (k - 1));
  }
}

TEST_CASE("blocks of several operations compute again what backward reads", "[segment][counts]") {
  // Of x -> exp (its output is saved) -> sin (its input is saved) -> times 2 (nothing is saved) only exp runs
  // again.
  const auto chain = [](Tensor h) {
    for (int i = 0; i < 5; ++i) {
      const Segment segment("block", kDropped);
      h = sin(exp(std::move(h))) * 2.0;
    }
    return h;
  };
  CHECK(cost_of(chain).replayed_nodes == 5);
}

TEST_CASE("views in a segment are made again without bytes", "[segment][counts]") {
  const Cost cost = cost_of([](Tensor h) {
    const Segment segment("views", kDropped);
    return reshape(sin(permute(reshape(h, {32, 32}), {1, 0})), {1024});
  });
  CHECK(cost.replayed_nodes == 2);
  CHECK(cost.replayed_bytes == 0);
}

TEST_CASE("only what leads to a wanted gradient is computed again", "[segment][counts]") {
  const NothingLeft check;
  const Tensor a = leaf_values({6});
  const Tensor b = leaf_values({6});
  Tensor y, z;
  {
    const Segment segment("branches", kDropped);
    y = sin(sin(sin(a)));
    z = sin(sin(sin(sin(sin(b)))));
  }
  reset_tape_counters();
  sum(y).backward();
  CHECK(tape_counters().replayed_nodes == 2);
  sum(z).backward();
  CHECK(tape_counters().replayed_nodes == 2 + 4);
  reset_tape_counters();
  CHECK(tape_counters().replayed_nodes == 0);
}

TEST_CASE("segments by hand compute exactly the extra steps of Revolve", "[segment][counts]") {
  const Revolve table(100, 8);
  const std::vector<std::vector<std::int64_t>> published{
      {5, 10, 6, 5, 4, 4, 4},
      {10, 45, 20, 15, 14, 13, 10},
      {16, 120, 45, 33, 27, 25, 22},
      {32, 496, 140, 93, 75, 68, 54},
      {50, 1225, 285, 180, 144, 122, 95},
      {100, 4950, 845, 490, 374, 316, 245},
  };
  const std::vector<std::int64_t> slots{1, 2, 3, 4, 5, 8};
  for (const auto& row : published) {
    for (std::size_t i = 0; i < slots.size(); ++i) {
      CAPTURE(row[0], slots[i]);
      CHECK(table.steps(row[0], slots[i]) == row[i + 1]);
      const Cost cost = cost_of_schedule(table, row[0], slots[i]);
      CHECK(cost.replayed_nodes == row[i + 1]);
      // The slots but that of the leaf, which is not counted; the result; a gradient; and in a replay two
      // values in turn.
      CHECK(cost.values <= slots[i] - 1 + 1 + 1 + 2);
      if (row[0] >= 50) CHECK(cost.values == slots[i] + 3);
    }
  }
}

TEST_CASE("a chain of 1000 steps takes the extra steps of Revolve", "[segment][counts]") {
  const Revolve table(1000, 8);
  for (const auto& [slots, steps] :
       std::vector<std::pair<std::int64_t, std::int64_t>>{{3, 12155}, {4, 7998}, {5, 6284}, {8, 4285}}) {
    CAPTURE(slots);
    CHECK(table.steps(1000, slots) == steps);
    CHECK(cost_of_schedule(table, 1000, slots).replayed_nodes == steps);
  }
}

TEST_CASE("the peak of a uniform chain is what its segments say", "[segment][memory]") {
  for (const std::int64_t n : {4, 16, 64, 256}) {
    CAPTURE(n);
    // Without segments: n values, and the gradient of the last beside the seed, which is the caller's.
    const std::int64_t none = cost_of_sequence({.strategy = Strategy::none}, n).values;
    CHECK(none == n + 1);
    const auto root = static_cast<std::int64_t>(std::sqrt(static_cast<double>(n)));
    const std::int64_t sqrt = cost_of_sequence({.strategy = Strategy::sqrt}, n).values;
    INFO("sqrt " << sqrt << " of " << none);
    CHECK(sqrt == 2 * root);
    std::int64_t log = 0;
    while ((std::int64_t{1} << log) < n) ++log;
    const std::int64_t nested = cost_of_sequence({.strategy = Strategy::nested}, n).values;
    INFO("nested " << nested);
    CHECK(nested == log + 2);
  }
}

TEST_CASE("keeping the last segment costs no peak", "[segment][memory]") {
  for (const std::int64_t n : {2, 5, 9, 16, 50}) {
    for (const int k : {1, 3, 4, 10}) {
      CAPTURE(n, k);
      const auto chain = [&](bool spare) {
        return cost_of([&](Tensor h) {
          for (std::int64_t i = 0; i < n; i += k) {
            const Segment segment("s", {.spare_last = spare});
            for (std::int64_t j = i; j < std::min<std::int64_t>(n, i + k); ++j) h = sin(std::move(h));
          }
          return h;
        });
      };
      const Cost spared = chain(true);
      const Cost dropped = chain(false);
      CHECK(spared.values <= dropped.values);
      CHECK(spared.replayed_nodes <= dropped.replayed_nodes);
    }
  }
}

TEST_CASE("a kept segment lets go when a large head needs the room", "[segment][memory]") {
  const auto step = [](bool spare, std::int64_t head) {
    const NothingLeft check;
    Tensor x = leaf_values({1024});
    const Tensor constant = values({1024});
    reset_tape_counters();
    const MemoryScope scope(current_pool());
    const std::int64_t base = live_bytes();
    Tensor h = x;
    {
      const Segment segment("trunk", {.spare_last = spare});
      for (int i = 0; i < 8; ++i) h = sin(std::move(h));
      h = std::move(h) * constant;
    }
    Tensor logits = head < 1024 ? slice(h, 0, 0, head) * 2.0 : expand(h, Shape{head / 1024, 1024}) * 2.0;
    h = Tensor();
    const Tensor loss = sum(sin(std::move(logits)));
    loss.backward();
    return std::pair(scope.statistics().all.requested.peak - base, tape_counters().replayed_nodes);
  };
  CHECK(step(true, 256).second == 0);
  CHECK(step(true, 256).first == step(false, 256).first);
  CHECK(step(true, 64 * 1024).second == 7);
  CHECK(step(true, 64 * 1024).first == step(false, 64 * 1024).first);
}

TEST_CASE("a replay frees each value at its last use", "[segment][memory]") {
  // Of a long run between two saved values, a replay holds two at a time.
  const auto chain = [](int run) {
    return cost_of([run](Tensor h) {
      const Segment segment("run", kDropped);
      const Tensor constant = ones({1024}, kDouble);
      h = sin(h);
      for (int i = 0; i < run; ++i) h = h + constant;
      return sin(std::move(h));
    });
  };
  CHECK(chain(3).values == chain(30).values);
  CHECK(chain(30).replayed_nodes == 31);
}

TEST_CASE("recomputed memory is booked as such, under its segment", "[segment][memory]") {
  Pool& pool = current_pool();
  pool.reset_peaks();
  {
    Tensor x = leaf_values({1024});
    Tensor y;
    {
      const Segment segment("booked", kDropped);
      y = sin(sin(sin(x)));
    }
    CHECK(pool.usage(pool.tag("booked")).requested.current == 1024 * 8);
    const std::int64_t before = pool.statistics().of(Category::recomputed).requested.total;
    y.backward(values({1024}));
    CHECK(pool.statistics().of(Category::recomputed).requested.total - before == 2 * 1024 * 8);
  }
  CHECK(pool.usage(pool.tag("booked")).requested.current == 0);
  CHECK(pool.usage(pool.tag("booked")).requested.peak == 3 * 1024 * 8);
}
