// Gradients that go through gelu in the backward that makes them: when that happens, and that nobody can
// tell.
#include <optional>

#include "reprise/kernels/elementwise.h"
#include "tape_support.h"

using namespace tape_test;
using checkpoint::Segment;

namespace {

/// y = the sum of its inputs; knows how to apply derivatives, and counts how often it was asked to.
struct Probe {
  static constexpr std::string_view name = "probe";
  static constexpr bool applies_derivative = true;
  inline static int folded = 0;

  Specs infer(SpecSpan in) const { return {in[0]}; }
  Saves saves(GradMask) const { return {}; }
  void forward(const Exec& exec, Inputs in, Outputs out) const {
    kernels::copy(exec.queue(), in[0], {out[0]});
    for (std::size_t i = 1; i < in.size(); ++i)
      kernels::copy(exec.queue(), in[i], {out[0], kernels::Write::accumulate});
  }
  void backward(const Exec& exec, const Saved&, OutGrads dy, GradSlots dx) const {
    if (const auto input = dx.activated(0)) {
      ++folded;
      CHECK(dx[0].write == kernels::Write::overwrite);
      CHECK(input.activation == kernels::Activation::gelu_tanh);
      kernels::unary_backward(exec.queue(), kernels::Unary::gelu_tanh, 0, input.before, {}, dy[0], dx[0]);
    } else if (dx.wants(0)) {
      kernels::copy(exec.queue(), dy[0], dx[0]);
    }
    if (dx.wants(1)) kernels::copy(exec.queue(), dy[0], dx[1]);
  }
  bool operator==(const Probe&) const = default;
};
Tensor probe(const Tensor& x) { return apply(Probe{}, x); }
Tensor probe(const Tensor& a, const Tensor& b) { return apply(Probe{}, a, b); }

/// Prevents folding, and changes nothing else.
Tensor watched(const Tensor& t) {
  t.on_gradient([](const Tensor&) { return Tensor(); });
  return t;
}

/// How often `play` folded.
int folds(const std::function<void()>& play) {
  const NothingLeft check;
  Probe::folded = 0;
  play();
  return Probe::folded;
}

TEST_CASE("gelu's derivative is applied by what reads gelu alone", "[unit]") {
  CHECK(folds([] { sum(probe(gelu(leaf_values({4, 6}) * 2.0))).backward(); }) == 1);
  CHECK(folds([] {
          const Tensor x = leaf_values({4, 6});
          sum(probe(gelu(probe(gelu(x * 2.0))))).backward();
        }) == 2);
}

TEST_CASE("gelu's derivative stays with gelu where its gradient is seen or shared", "[unit]") {
  const auto stays = [](const std::function<Tensor(const Tensor&)>& f) {
    return folds([&] { sum(f(leaf_values({4, 6}))).backward(); }) == 0;
  };
  CHECK(stays([](const Tensor& x) { return probe(gelu(x)); }));  // x has a gradient of its own to add to
  CHECK(stays([](const Tensor& x) { return probe(gelu_erf(x * 2.0)); }));
  CHECK(stays([](const Tensor& x) { return probe(watched(gelu(x * 2.0))); }));
  CHECK(stays([](const Tensor& x) { return probe(gelu(transpose(x * 2.0, 0, 1))); }));
  CHECK(stays([](const Tensor& x) {
    const Tensor h = gelu(x * 2.0);
    return probe(h) + h;
  }));
  CHECK(stays([](const Tensor& x) {
    const Tensor h = gelu(x * 2.0);
    const Tensor y = probe(h);
    return probe(y, h);  // not even where the other use is played first
  }));
  CHECK(stays([](const Tensor& x) {
    const Tensor h = gelu(x * 2.0);
    return probe(h, h);
  }));
  CHECK(stays([](const Tensor& x) {
    const Tensor p = x * 2.0;
    const Tensor y = probe(gelu(p));
    return y + p;  // p has part of its gradient when probe is played
  }));
  CHECK(stays([](const Tensor& x) {
    const Tensor h = gelu(x * 2.0), other = square(x);  // played between probe and gelu
    return probe(h) + other;
  }));
}

TEST_CASE("gelu's derivative is where chosen gradients, modes and anomalies ask for it", "[unit]") {
  const auto asks_for = [](const std::function<Tensor(const Tensor& p, const Tensor& h)>& choose) {
    return folds([&] {
      const Tensor x = leaf_values({4, 6});
      const Tensor p = x * 2.0, h = gelu(p), y = sum(probe(h));
      const Tensor chosen = choose(p, h);
      CHECK(gradients(y, std::vector{chosen.defined() ? chosen : x})[0].defined());
    });
  };
  CHECK(asks_for([](const Tensor&, const Tensor&) { return Tensor(); }) == 1);
  CHECK(asks_for([](const Tensor& p, const Tensor&) { return p; }) == 1);
  CHECK(asks_for([](const Tensor&, const Tensor& h) { return h; }) == 0);
  CHECK(folds([] {
          const Tensor h = gelu(leaf_values({4, 6}) * 2.0), y = probe(h);
          reprise::backward(std::vector{y, h}, std::vector{values({4, 6}), values({4, 6})});
        }) == 0);
  CHECK(folds([] {
          const AnomalyMode anomaly;
          sum(probe(gelu(leaf_values({4, 6}) * 2.0))).backward();
        }) == 0);
  CHECK(folds([] {
          Tensor h;
          {
            const NoGrad none;
            h = gelu(values({4, 6}));
          }
          sum(probe(h, leaf_values({4, 6}) * 2.0)).backward();
        }) == 0);
}

TEST_CASE("a tape that is kept folds each time that it is played", "[unit]") {
  Tensor x = leaf_values({4, 6});
  CHECK(folds([&] {
          const Tensor y = sum(probe(gelu(x * 2.0)));
          y.backward({.retain_tape = true});
          const auto once = bits_of(x.grad());
          x.clear_grad();
          y.backward();
          CHECK(bits_of(x.grad()) == once);
          x.clear_grad();
        }) == 2);
}

TEST_CASE("hooks of what gelu was applied to see its gradient, and errors leave no debris", "[unit]") {
  std::vector<std::uint64_t> seen;
  CHECK(folds([&] {
          const Tensor x = leaf_values({4, 6});
          const Tensor p = x * 2.0;
          p.on_gradient([&](const Tensor& gradient) {
            seen = bits_of(gradient);
            return gradient * 3.0;
          });
          sum(probe(gelu(p))).backward();
          const Tensor expected = gradients(sum(gelu(x * 2.0)), std::vector{x})[0];
          CHECK(bits_of(x.grad()) == bits_of(expected * 3.0));
        }) == 1);
  CHECK(seen.size() == 24);

  const NothingLeft check;
  const Tensor x = leaf_values({4, 6});
  const Tensor p = x * 2.0, y = sum(probe(gelu(p)));
  p.detach().fill_(1);
  CHECK_THROWS_WITH(y.backward(), Contains("[gelu]") && Contains("was changed in place"));
}

/// Two layers with gelu between them, as models have them.
struct Layers {
  Tensor x, w1, b1, w2, b2;
  WeightLayout layout;

  Layers(DType dtype, WeightLayout order) : layout(order) {
    const auto make = [&](const Shape& shape, double from) {
      Tensor t = cast(values(shape, from), dtype);
      return t.set_requires_grad(true);
    };
    const bool out_in = layout == WeightLayout::out_in;
    x = make({3, 5, 8}, 0.1);
    w1 = make(out_in ? Shape{16, 8} : Shape{8, 16}, 0.2);
    b1 = make({16}, 0.3);
    w2 = make(out_in ? Shape{8, 16} : Shape{16, 8}, 0.4);
    b2 = make({8}, 0.5);
  }
  Tensor first() const { return linear(x, w1, b1, Activation::none, layout); }
  Tensor second(const Tensor& h) const { return linear(h, w2, b2, Activation::none, layout); }
  std::vector<std::vector<std::uint64_t>> gradient_bits() const {
    std::vector<std::vector<std::uint64_t>> bits;
    for (const Tensor& t : {x, w1, b1, w2, b2}) bits.push_back(bits_of(cast(t.grad(), DType::float64)));
    return bits;
  }
};

/// Which nodes are in a segment.
enum class Cut { none, all, apart, front, nested };
constexpr Cut kCuts[] = {Cut::all, Cut::apart, Cut::front, Cut::nested};

Tensor forward(const Layers& layers, Cut cut, bool watch) {
  const checkpoint::SegmentOptions dropped{.spare_last = false};
  const auto activated = [&](const Tensor& p) { return watch ? watched(gelu(p)) : gelu(p); };
  std::optional<Segment> outer, inner;
  if (cut != Cut::none) outer.emplace("outer", dropped);
  if (cut == Cut::nested) inner.emplace("inner", dropped);
  const Tensor p = layers.first();
  const Tensor h = activated(p);
  inner.reset();
  if (cut == Cut::apart || cut == Cut::front) outer.reset();
  if (cut == Cut::apart) outer.emplace("second", dropped);
  const Tensor y = layers.second(h);
  outer.reset();
  return sum(square(y));
}

std::vector<std::vector<std::uint64_t>> step(DType dtype, WeightLayout layout, Cut cut, bool watch) {
  const NothingLeft check;
  const Layers layers(dtype, layout);
  forward(layers, cut, watch).backward();
  return layers.gradient_bits();
}

TEST_CASE("folded gradients have the bits of those that are not, in every segment", "[unit]") {
  for (const DType dtype : {DType::float32, DType::float64, DType::bfloat16}) {
    for (const WeightLayout layout : {WeightLayout::out_in, WeightLayout::in_out}) {
      CAPTURE(name_of(dtype), int(layout));
      const auto expected = step(dtype, layout, Cut::none, true);
      CHECK(step(dtype, layout, Cut::none, false) == expected);
      for (const Cut cut : kCuts) {
        CAPTURE(int(cut));
        CHECK(step(dtype, layout, cut, false) == expected);
        CHECK(step(dtype, layout, cut, true) == expected);
      }
    }
  }
}

/// Where gelu and the layer behind it are in one segment, as in every model here: a segment that ends between
/// them is brought back a node earlier.
TEST_CASE("folding counts the nodes that it plays, and takes no more memory", "[unit]") {
  const auto measure = [](Cut cut, bool watch) {
    const Layers layers(DType::float32, WeightLayout::out_in);
    const Tensor loss = forward(layers, cut, watch);
    reset_tape_counters();
    current_pool().reset_peaks();
    loss.backward();
    return std::pair{tape_counters(), current_pool().statistics().all.requested.peak};
  };
  for (const Cut cut : {Cut::none, Cut::all}) {
    CAPTURE(int(cut));
    const auto [counters, peak] = measure(cut, false);
    const auto [expected_counters, expected_peak] = measure(cut, true);
    CHECK(counters == expected_counters);
    CHECK(peak <= expected_peak);
  }
}

}  // namespace
