// What a segment keeps: what the user holds, what cannot be computed again, and what changed in place; and
// nothing else.
#include "tape_support.h"

#include <optional>

using namespace tape_test;
using checkpoint::Drop;
using checkpoint::Segment;
using checkpoint::SegmentOptions;

namespace {
constexpr std::int64_t kN = 1000;
constexpr std::int64_t kBytes = kN * 8;
constexpr SegmentOptions kDropped{.spare_last = false};
constexpr SegmentOptions kCheap{.drop = Drop::cheap, .spare_last = false};
}  // namespace

TEST_CASE("a closed segment keeps its inputs and outputs only", "[segment][memory]") {
  const NothingLeft check;
  const Tensor x = leaf_values({kN});
  const std::int64_t base = live_bytes();
  Tensor h = x * 2.0;
  {
    const Segment segment("s", kDropped);
    for (int i = 0; i < 10; ++i) h = sin(std::move(h));
    CHECK(live_bytes() - base == 11 * kBytes);
  }
  CHECK(live_bytes() - base == 2 * kBytes);
}

TEST_CASE("inputs from outside that no replay reads are not kept", "[segment][memory]") {
  const NothingLeft check;
  const Tensor w = leaf_values({kN});
  Tensor plain = values({kN}) + 0.0;
  const std::int64_t base = live_bytes();
  Tensor h;
  {
    const Segment segment("s", kDropped);
    h = sin(w) + plain;
    plain = Tensor();
    CHECK(live_bytes() - base == kBytes);
  }
  CHECK(live_bytes() == base);
  h.backward(values({kN}));
}

TEST_CASE("what the user holds is kept and not computed again", "[segment]") {
  const NothingLeft check;
  Tensor w = leaf_values({kN});
  const auto replays = [&](bool hold, bool until_backward) {
    Tensor held, y;
    {
      const Segment segment("s", kDropped);
      Tensor a = sin(w);
      Tensor b = sin(a);
      if (hold) held = b;
      y = sum(sin(sin(b)));
    }
    if (!until_backward) held = Tensor();
    reset_tape_counters();
    y.backward();
    return tape_counters().replayed_nodes;
  };
  CHECK(replays(false, true) == 3);
  CHECK(replays(true, true) == 2);
  CHECK(replays(true, false) == 3);
}

TEST_CASE("an operation that cannot be repeated is kept", "[segment]") {
  // Its output is no saved value itself: what is computed from it is.
  const auto step = [](bool segments, bool nested) {
    const NothingLeft check;
    Stamp::runs = 0;
    const Tensor w = leaf_values({6});
    std::optional<Segment> outer, inner;
    if (segments) outer.emplace("outer", kDropped);
    Tensor h = stamp(sin(w));
    if (segments && nested) inner.emplace("inner", kDropped);
    h = stamp(sin(h * 0.5)) * 2.0;
    h = sin(std::move(h));
    inner.reset();
    h = sin(h + 1.0);
    outer.reset();
    sum(h).backward();
    CHECK(Stamp::runs == 2);
    return std::vector{bits_of(h), bits_of(w.grad())};
  };
  const auto plain = step(false, false);
  CHECK(step(true, false) == plain);
  CHECK(step(true, true) == plain);
}

TEST_CASE("segments that keep their own go when nobody plays them", "[segment][memory]") {
  const NothingLeft check;
  for (const SegmentOptions& options : {kDropped, kCheap, SegmentOptions{}}) {
    const Tensor w = leaf_values({8, 8});
    Tensor y;
    {
      const Segment segment("s", options);
      y = sin(stamp(sin(matmul(w, w))));
      const Segment nested("n", options);
      y = tanh(stamp(matmul(y, w)));
    }
  }
}

TEST_CASE("values that change in place inside a segment are kept as they are", "[segment][in_place]") {
  const auto step = [](bool segments, int depth, bool through_view) {
    const NothingLeft check;
    const Tensor w = leaf_values({6});
    const Tensor x = values({6}, 0.4);
    std::vector<std::unique_ptr<Segment>> open;
    for (int i = 0; segments && i < depth; ++i) open.push_back(std::make_unique<Segment>("s", kDropped));
    Tensor t = exp(x);
    if (through_view)
      reshape(t, {2, 3}).mul_(3);
    else
      t.mul_(3);
    Tensor u = t + 1.0;
    t = Tensor();
    Tensor y = sin(u * w) * w;
    u = Tensor();
    while (!open.empty()) open.pop_back();
    y = sum(y);
    y.backward();
    return std::vector{bits_of(y), bits_of(w.grad())};
  };
  for (const int depth : {1, 3}) {
    for (const bool through_view : {false, true}) {
      CAPTURE(depth, through_view);
      CHECK(step(true, depth, through_view) == step(false, depth, through_view));
    }
  }
}

TEST_CASE("a value that changes after it was read inside a segment is an error", "[segment][in_place]") {
  const NothingLeft check;
  const Tensor w = leaf_values({6});
  Tensor t, y;
  {
    const Segment segment("s", kDropped);
    t = exp(values({6}));
    y = sin((t + 1.0) * w);
    t.mul_(3);
  }
  CHECK_THROWS_WITH(sum(y).backward(), Contains("the result of exp (6)") && Contains("was changed in place"));
  CHECK_FALSE(w.grad().defined());
}

TEST_CASE("a segment's input that changes before backward is an error that names it", "[segment][in_place]") {
  struct Change {
    const char* what;
    const char* named;
    std::function<void(Tensor& x, Tensor& w)> run;
  };
  const std::vector<Change> changes{
      {"an input overwritten", "'batch' (6)", [](Tensor& x, Tensor&) { x.copy_(values({6})); }},
      {"a parameter stepped too early", "'weight' (6)",
       [](Tensor&, Tensor& w) {
         const NoGrad no_grad;
         w.add_(w, -0.1);
       }},
  };
  for (const Change& change : changes) {
    for (const int depth : {1, 3}) {
      CAPTURE(change.what, depth);
      const NothingLeft check;
      Tensor x = values({6}).set_name("batch");
      Tensor w = leaf_values({6}).set_name("weight");
      std::vector<std::unique_ptr<Segment>> open;
      for (int i = 0; i < depth; ++i) open.push_back(std::make_unique<Segment>("s", kDropped));
      Tensor y = sin(sin((x + 1.0) * w) + w);
      while (!open.empty()) open.pop_back();
      y = sum(y);
      const Books before;
      change.run(x, w);
      CHECK_THROWS_WITH(y.backward({.retain_tape = true}),
                        Contains(change.named) && Contains("was changed in place"));
      CHECK(Books() == before);
      CHECK_FALSE(w.grad().defined());
    }
  }
}

TEST_CASE("cheap segments drop what is cheap and keep what is dear", "[segment][memory]") {
  const NothingLeft check;
  const Tensor x = leaf_values({32, 32});
  const Tensor w = leaf_values({32, 32}, 0.3);
  const std::int64_t matrix = 32 * 32 * 8;
  const auto step = [&](const SegmentOptions& options) {
    const std::int64_t base = live_bytes();
    Tensor y;
    {
      const Segment segment("s", options);
      y = matmul(x, w);             // dear, and saved by the next
      y = sin(sin(std::move(y)));   // cheap: the value between is saved
      y = matmul(std::move(y), w);  // saves what sin gave
    }
    const std::int64_t kept = (live_bytes() - base) / matrix;
    reset_tape_counters();
    y.backward(values({32, 32}));
    return std::pair(kept, tape_counters().replayed_nodes);
  };
  CHECK(step({}) == std::pair<std::int64_t, std::int64_t>(4, 0));
  CHECK(step(kCheap) == std::pair<std::int64_t, std::int64_t>(2, 2));
  CHECK(step(kDropped) == std::pair<std::int64_t, std::int64_t>(1, 3));
}

TEST_CASE("cheap segments around dropped ones, and within", "[segment]") {
  const auto step = [](const SegmentOptions& outer, const SegmentOptions& inner) {
    const NothingLeft check;
    const Tensor x = leaf_values({8, 8});
    const Tensor w = leaf_values({8, 8}, 0.3);
    Tensor y = x;
    {
      const Segment a("a", outer);
      y = sin(matmul(y, w));
      {
        const Segment b("b", inner);
        y = tanh(matmul(sin(y), w)) * y;
      }
      y = sin(matmul(y, w));
    }
    sum(y).backward();
    return std::vector{bits_of(y), bits_of(x.grad()), bits_of(w.grad())};
  };
  const auto plain = step({}, {});
  for (const SegmentOptions& outer : {kDropped, kCheap}) {
    for (const SegmentOptions& inner : {kDropped, kCheap, SegmentOptions{}})
      CHECK(step(outer, inner) == plain);
  }
}

TEST_CASE("after backward a segment holds nothing, whatever the user still holds", "[segment][memory]") {
  const NothingLeft check;
  for (const SegmentOptions& options : {kDropped, kCheap, SegmentOptions{}}) {
    Tensor w = leaf_values({kN});
    w.set_grad(zeros({kN}, kDouble));
    const std::int64_t base = live_bytes();
    const std::int64_t nodes = live_nodes();
    Tensor h = exp(w);
    Tensor statistic;
    {
      const Segment segment("s", options);
      h = sin(std::move(h));
      {
        const Segment nested("n", options);
        h = sin(std::move(h));
      }
      const NoGrad no_grad;
      statistic = exp(h) * 2.0;
    }
    h = sin(std::move(h));
    h.backward(ones({kN}, kDouble));
    CHECK(live_bytes() - base == 2 * kBytes);
    CHECK(live_nodes() - nodes == 2);
  }
}

TEST_CASE("a result without gradient does not chain the steps together", "[segment][memory]") {
  const NothingLeft check;
  for (const bool train : {false, true}) {
    const Tensor w = leaf_values({kN});
    Tensor average = zeros({kN}, kDouble);
    std::int64_t nodes = 0;
    std::int64_t bytes = 0;
    for (int i = 0; i < 5; ++i) {
      Tensor h = w;
      {
        const Segment segment("s", kDropped);
        h = sin(h);
        average = average * 0.9 + values({kN}) * 0.1;
      }
      if (train) h.backward(ones({kN}, kDouble));
      h = Tensor();
      if (i == 1) nodes = live_nodes();
      if (i == 1) bytes = live_bytes();
      if (i > 1) CHECK(live_nodes() == nodes);
      if (i > 1) CHECK(live_bytes() == bytes);
    }
  }
}

TEST_CASE("a kept segment may let go while another is restored", "[segment]") {
  // The last segment reads what the first one gave; only the first is played, and needs more room than the
  // last may keep.
  const NothingLeft check;
  const auto step = [](bool segments) {
    const Tensor w = leaf_values({64, 64});
    Tensor middle, y, z;
    {
      std::optional<Segment> scope;
      if (segments) scope.emplace("first", kDropped);
      middle = w + 1.0;
      Tensor wide = expand(reshape(middle, {1, 64, 64}), Shape{16, 64, 64}) * 2.0;
      y = sum(sin(sin(std::move(wide))));
    }
    {
      std::optional<Segment> scope;
      if (segments) scope.emplace("last", SegmentOptions{});
      z = sin(std::move(middle) * 3.0);
    }
    y.backward();
    return bits_of(w.grad());
  };
  CHECK(step(true) == step(false));
}
