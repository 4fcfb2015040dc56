// Programs of every shape: each gives the same bits with and without segments.
#include "reprise/context.h"
#include "tape_support.h"

#include <chrono>
#include <optional>
#include <thread>

using namespace tape_test;
using checkpoint::Drop;
using checkpoint::Segment;
using checkpoint::SegmentOptions;

namespace {

/// A segment in the run with segments, nothing in the other.
class Maybe {
 public:
  Maybe(bool wanted, const SegmentOptions& options) {
    if (wanted) segment_.emplace("segment", options);
  }
  void end() { segment_.reset(); }

 private:
  std::optional<Segment> segment_;
};

using Bits = std::vector<std::vector<std::uint64_t>>;

/// Runs f(segments, options) without segments, and with each kind of them; what it returns must be equal.
template <class F>
void same_bits(F&& f) {
  const auto run = [&](bool segments, const SegmentOptions& options) {
    const NothingLeft check;
    manual_seed(1);
    return f(segments, options);
  };
  const Bits plain = run(false, {});
  for (const Drop drop : {Drop::everything, Drop::cheap}) {
    for (const bool spare : {false, true}) {
      CAPTURE(drop == Drop::cheap, spare);
      CHECK(run(true, {.drop = drop, .spare_last = spare}) == plain);
    }
  }
}

/// Fills memory that was let go with other numbers.
void overwrite_free_memory(const Shape& shape) {
  std::vector<Tensor> junk;
  for (int i = 0; i < 20; ++i) junk.push_back(full(shape, 100, kDouble) * 1.0);
}

}  // namespace

TEST_CASE("two losses of one segment, played one after the other", "[segment]") {
  same_bits([](bool segments, const SegmentOptions& options) {
    Tensor w = leaf_values({4, 4}), v = leaf_values({4, 4}, 0.3);
    const Tensor x = values({4, 4}, 0.7);
    Tensor actor, critic;
    {
      const Maybe segment(segments, options);
      const Tensor h = tanh(matmul(x, w)) * x;
      const Tensor mask = greater(h, zeros({4, 4}, kDouble));  // wants no gradient, but is computed from h
      actor = sum(h * h);
      critic = sum(square(where(mask, v, v * 0.1)));
    }
    actor.backward();
    const Tensor next = tanh(matmul(x * -1.0, w));  // the next step's forward
    overwrite_free_memory({4, 4});
    critic.backward();
    return Bits{bits_of(w.grad()), bits_of(v.grad())};
  });
}

TEST_CASE("an inner segment's second result is never used", "[segment]") {
  same_bits([](bool segments, const SegmentOptions& options) {
    Tensor w = leaf_values({6});
    Tensor y;
    {
      const Maybe outer(segments, options);
      const Tensor a = exp(w * 0.5);
      Tensor b = sin(a), used;
      {
        const Maybe inner(segments, options);
        const Tensor unused = tanh(b) * a;
        used = tanh(cos(a));
      }
      b = Tensor();
      y = sum(used * used);
    }
    overwrite_free_memory({6});
    y.backward();
    return Bits{bits_of(w.grad())};
  });
}

TEST_CASE("a spared segment lets go while another is replayed", "[segment]") {
  for (const int live : {0, 1, 3}) {
    for (const bool hook : {false, true}) {
      for (const bool retain : {false, true}) {
        CAPTURE(live, hook, retain);
        same_bits([&](bool segments, const SegmentOptions& options) {
          Tensor w = leaf_values({4, 4}), g = leaf_values({4}, 0.2), b = leaf_values({4}, 0.4);
          Tensor n, side;
          {
            const Maybe trunk(segments, options);
            n = layer_norm(tanh(w * 1.0), g, b);
          }
          {
            const Maybe branch(segments, options);
            Tensor e = w;
            for (int i = 0; i < 2; ++i) e = linear(gelu(matmul(e, w)), w, b);
            side = concatenate({n, n, n, exp(e)}, 0);
          }
          if (hook) n.on_gradient([](const Tensor&) { return Tensor(); });
          const Tensor p = tanh(n);
          n = Tensor();
          const Tensor other = zeros({64 * live}, kDouble);
          const Tensor loss = mean(square(p));
          loss.backward({.retain_tape = retain});
          if (retain) sum(side).backward();
          return Bits{bits_of(w.grad()), bits_of(g.grad())};
        });
      }
    }
  }
}

TEST_CASE("a loss is played inside an open segment", "[segment]") {
  same_bits([](bool segments, const SegmentOptions& options) {
    Tensor w = leaf_values({8}), v = leaf_values({8}, 0.6);
    Tensor late;
    {
      const Maybe segment(segments, options);
      const Tensor h = sin(exp(w * 0.5));
      mean(square(h)).backward();
      Tensor gate;
      {
        const NoGrad no_grad;
        gate = h * 2.0;
      }
      late = sum(v * gate);
    }
    overwrite_free_memory({8});
    late.backward();
    return Bits{bits_of(w.grad()), bits_of(v.grad())};
  });
}

TEST_CASE("a backward that failed leaves the rest of its segment playable", "[segment][exceptions]") {
  same_bits([](bool segments, const SegmentOptions& options) {
    Tensor w = leaf_values({6}), v = leaf_values({6}, 0.4);
    Tensor first, second;
    {
      const Maybe outer(segments, options);
      Tensor a;
      {
        const Maybe inner(segments, options);
        a = exp(sin(w));
      }
      a.on_gradient([failed = false](const Tensor&) mutable {
        if (!std::exchange(failed, true)) throw std::runtime_error("hook");
        return Tensor();
      });
      const Tensor b = tanh(a * v);
      first = sum(cos(b));
      second = sum(exp(a) * v);
    }
    CHECK_THROWS_WITH(first.backward(), "hook");
    CHECK_FALSE(w.grad().defined());
    w.clear_grad();
    v.clear_grad();
    overwrite_free_memory({6});
    second.backward();
    return Bits{bits_of(w.grad()), bits_of(v.grad())};
  });
}

TEST_CASE("one retained tape, gradients of results and a last backward", "[segment]") {
  same_bits([](bool segments, const SegmentOptions& options) {
    Tensor w = leaf_values({6});
    Tensor middle, y;
    {
      const Maybe outer(segments, options);
      {
        const Maybe inner(segments, options);
        middle = exp(sin(w));
      }
      const Maybe other(segments, options);
      y = sum(tanh(cos(middle) * w));
    }
    Bits bits;
    for (int i = 0; i < 2; ++i) {
      for (const Tensor& gradient : gradients(y, std::vector{middle, w}, {.retain_tape = true}))
        bits.push_back(bits_of(gradient));
    }
    y.backward();
    bits.push_back(bits_of(w.grad()));
    return bits;
  });
}

TEST_CASE("what a segment made and nobody wants a gradient of is a leaf", "[segment]") {
  same_bits([](bool segments, const SegmentOptions& options) {
    Tensor w, y;
    {
      const Maybe segment(segments, options);
      w = values({6}) * 0.5;
      CHECK(w.is_leaf());
      w.set_requires_grad(true);
      y = sum(exp(sin(w)));
    }
    y.backward();
    const Bits bits{bits_of(w.grad())};
    {
      const NoGrad no_grad;
      w.add_(w.grad(), -0.1);
    }
    return Bits{bits[0], bits_of(w.detach())};
  });
}

TEST_CASE("memory changed through an alias before it is read again", "[segment]") {
  same_bits([](bool segments, const SegmentOptions& options) {
    Tensor w = leaf_values({6});
    Tensor y;
    {
      const Maybe segment(segments, options);
      Tensor mask;
      {
        const NoGrad no_grad;
        mask = w * 2.0;
      }
      mask.detach().fill_(0.25);
      y = sum(exp(w) * mask);
    }
    overwrite_free_memory({6});
    y.backward();
    return Bits{bits_of(w.grad())};
  });
}

TEST_CASE("a result that took over the memory of a slice is replayed from its start", "[segment]") {
  same_bits([](bool segments, const SegmentOptions& options) {
    Tensor w = leaf_values({6});
    Tensor y;
    {
      const Maybe segment(segments, options);
      Tensor h = slice(exp(w), 0, 3, 6) + 0.5;
      h = tanh(slice(std::move(h), 0, 1, 3));
      h = sin(std::move(h));
      y = sum(h * h);
    }
    overwrite_free_memory({6});
    y.backward();
    return Bits{bits_of(w.grad())};
  });
}

TEST_CASE("a hook ends a segment that is being played", "[segment]") {
  same_bits([](bool segments, const SegmentOptions& options) {
    Tensor w = leaf_values({6});
    auto outer = std::make_unique<Maybe>(segments, options);
    const Tensor a = exp(w * 0.5);
    const Tensor b = sin(tanh(a));
    b.on_gradient([&](const Tensor&) {
      outer->end();
      overwrite_free_memory({6});
      return Tensor();
    });
    sum(cos(b)).backward();
    return Bits{bits_of(w.grad())};
  });
}

TEST_CASE("a metric without gradient keeps nothing of the steps before", "[segment][memory]") {
  Tensor w = leaf_values({16, 16});
  const Tensor x = values({4, 16});
  Tensor average = zeros({}, kDouble);
  std::int64_t nodes = 0, bytes = 0;
  for (const int way : {0, 1, 2, 3}) {
    for (int step = 0; step < 20; ++step) {
      Tensor loss;
      try {
        const Segment segment("s", {.spare_last = way != 1});
        Tensor h = tanh(matmul(x, w));
        const Tensor aux = square(tanh(h));
        {
          const NoGrad no_grad;
          average = average + mean(aux);
        }
        h = exp(h);
        if (way == 2) throw std::runtime_error("midway");
        loss = sum(h);
      } catch (const std::runtime_error&) {
      }
      if (loss.defined() && way != 3) loss.backward();  // way 3: an evaluation
      loss = Tensor();
      w.clear_grad();
      if (step == 1) nodes = live_nodes(), bytes = live_bytes();
    }
    CAPTURE(way);
    CHECK(live_nodes() == nodes);
    CHECK(live_bytes() == bytes);
  }
}

TEST_CASE("many losses of one segment are played one by one", "[segment]") {
  const NothingLeft check;
  Tensor w = leaf_values({1});
  std::vector<Tensor> losses;
  const auto start = std::chrono::steady_clock::now();
  {
    const Segment segment("s", {.spare_last = false});
    for (int i = 0; i < 2000; ++i) losses.push_back(sum(square(tanh(tanh(w * double(i))))));
  }
  for (const Tensor& loss : losses) loss.backward();
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(10));
  const auto got = bits_of(w.grad());
  w.clear_grad();
  losses.clear();
  for (int i = 0; i < 2000; ++i) sum(square(tanh(tanh(w * double(i))))).backward();
  CHECK(got == bits_of(w.grad()));
}

TEST_CASE("segments that end out of order end together", "[segment]") {
  const NothingLeft check;
  Tensor w = leaf_values({6});
  Tensor y = exp(w);
  std::optional<Segment> outer, inner;
  outer.emplace("outer");
  inner.emplace("inner");
  y = sin(y);
  outer.reset();
  CHECK(context().region == nullptr);
  y = sum(tanh(y));
  inner.reset();
  CHECK(context().region == nullptr);
  CHECK(context().tag == nullptr);
  y.backward();
  const auto bits = bits_of(w.grad());
  w.clear_grad();
  sum(tanh(sin(exp(w)))).backward();
  CHECK(bits == bits_of(w.grad()));
}

TEST_CASE("NoGrad and AnomalyMode end in any order", "[tape]") {
  std::optional<NoGrad> first(std::in_place), second(std::in_place);
  first.reset();
  CHECK_FALSE(grad_enabled());
  second.reset();
  CHECK(grad_enabled());
  std::optional<AnomalyMode> outer(std::in_place), inner(std::in_place);
  outer.reset();
  CHECK(context().anomaly());
  inner.reset();
  CHECK_FALSE(context().anomaly());
}

TEST_CASE("a gradient that a hook computed inside an open segment is not changed where it lies",
          "[segment]") {
  same_bits([](bool segments, const SegmentOptions& options) {
    const Tensor x = leaf_values({2}), y = leaf_values({3, 2}, 0.3);
    const Tensor h = silu(abs(x));
    Tensor loss;
    {
      const Maybe segment(segments, options);
      h.on_gradient([](const Tensor& g) { return g * 2.0; });
      const Tensor g = gradients(max(h), std::vector<Tensor>{x})[0];  // through silu and abs, in its memory
      loss = sum(tanh(g * sigmoid(y)));
    }
    loss.backward();
    return Bits{bits_of(y.grad()), bits_of(h)};
  });
}

TEST_CASE("a segment that ends on another thread is an error where it began", "[segment][threads]") {
  const NothingLeft check;
  Tensor w = leaf_values({6});
  auto segment = std::make_unique<Segment>("moved");
  Tensor y = exp(w);
  std::thread([&] { segment.reset(); }).join();
  CHECK_THROWS_WITH(sin(y), Contains("ended on another; end it where it began"));
  CHECK(context().region == nullptr);
  sum(sin(y)).backward();
  CHECK(w.grad().defined());
}

TEST_CASE("nesting costs a time in proportion to the levels", "[segment]") {
  for (const bool spare : {false, true}) {
    const NothingLeft check;
    Tensor w = leaf_values({2});
    const auto start = std::chrono::steady_clock::now();
    constexpr int kLevels = 20000;  // a minute and more where each level looks at all of them
    std::vector<Tensor> weights;
    std::vector<std::unique_ptr<Segment>> open;
    Tensor h = w;
    for (int i = 0; i < kLevels; ++i) {
      open.push_back(std::make_unique<Segment>("level", SegmentOptions{.spare_last = spare}));
      weights.push_back(leaf_values({2}));
      h = tanh(h * weights.back());
    }
    while (!open.empty()) open.pop_back();
    reset_tape_counters();
    sum(h).backward();
    CHECK(tape_counters().replayed_nodes <= 2 * kLevels);
    CHECK(w.grad().defined());
    CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(20));
  }
}
