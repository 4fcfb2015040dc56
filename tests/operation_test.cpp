// Operations of a user: all that one may have, and that nothing is left behind when they throw.
#include "tape_support.h"

#include <limits>

using namespace tape_test;

namespace {

/// Declares less than it reads.
struct Greedy {
  static constexpr std::string_view name = "greedy";
  Specs infer(SpecSpan in) const { return {in[0]}; }
  Saves saves(GradMask) const { return {}; }
  void forward(const Exec& exec, Inputs in, Outputs out) const {
    kernels::copy(exec.queue(), in[0], {out[0]});
  }
  void backward(const Exec&, const Saved& saved, OutGrads, GradSlots) const { (void)saved.input(0); }
  bool operator==(const Greedy&) const = default;
};

/// Gives no gradients.
struct Rounded {
  static constexpr std::string_view name = "rounded";
  Specs infer(SpecSpan in) const { return {in[0]}; }
  void forward(const Exec&, Inputs in, Outputs out) const {
    for (std::int64_t i = 0; i < in[0].numel(); ++i)
      out[0].as<double>()[i] = std::nearbyint(in[0].as<double>()[i]);
  }
  bool operator==(const Rounded&) const = default;
};

/// The smaller and the larger half, each y = x + shift; only input 0 can get a gradient.
struct Halves {
  std::vector<double> shifts;
  static constexpr std::string_view name = "halves";
  static constexpr GradMask gradient_inputs = 1;
  Specs infer(SpecSpan in) const {
    Spec half = in[0];
    half.shape.set(0, half.shape[0] / 2);
    return {half, half};
  }
  Saves saves(GradMask) const { return {}; }
  void forward(const Exec&, Inputs in, Outputs out) const {
    const std::int64_t n = out[0].numel();
    for (std::int64_t i = 0; i < 2 * n; ++i) {
      out[static_cast<std::size_t>(i / n)].as<double>()[i % n] =
          in[0].as<double>()[i] + shifts[static_cast<std::size_t>(i / n)];
    }
  }
  void backward(const Exec&, const Saved&, OutGrads dy, GradSlots dx) const {
    const std::int64_t n = dx[0].view.numel() / 2;
    for (std::int64_t i = 0; i < 2 * n; ++i) {
      const auto half = static_cast<std::size_t>(i / n);
      const double gradient = dy.has(half) ? dy[half].as<double>()[i % n] : 0;
      double& slot = dx[0].view.as<double>()[i];
      slot = dx[0].write == kernels::Write::accumulate ? slot + gradient : gradient;
    }
  }
  bool operator==(const Halves&) const = default;
};

}  // namespace

TEST_CASE("statistics of rows without elements are written", "[operation]") {
  const AnomalyMode anomaly;  // looks at auxiliaries, too
  for (int i = 0; i < 20; ++i) {
    { const Tensor junk = full({3}, std::numeric_limits<double>::quiet_NaN(), kDouble); }
    const Tensor x = zeros({3, 0}, kDouble).set_requires_grad(true), w = zeros({0}, kDouble);
    CHECK(layer_norm(x, w, w).numel() == 0);
    CHECK(rms_norm(x, w).numel() == 0);
    const Tensor q = zeros({1, 1, 3, 0}, kDouble).set_requires_grad(true);
    CHECK(attention(q, q, q).numel() == 0);
  }
}

TEST_CASE("an operation of a user has auxiliaries and scratch", "[operation]") {
  const NothingLeft check;
  Tensor x = leaf({1, -2, 3}, {3});
  const std::int64_t base = live_bytes();
  const Tensor y = cube(x);
  CHECK(elements_of(y) == Doubles{1, -8, 27});
  CHECK(live_bytes() - base == 2 * 24);
  sum(y + y).backward();
  CHECK(elements_of(x.grad()) == Doubles{6, 24, 54});
  CHECK(live_bytes() - base == 2 * 24);
  {
    const NoGrad no_grad;
    const Tensor z = cube(x);
    CHECK(live_bytes() - base == 3 * 24);
  }
  CHECK_THROWS_WITH(cube(ones({2})), Contains("[cube] takes float64"));
}

TEST_CASE("an operation of a user may be random", "[operation]") {
  const NothingLeft check;
  Tensor x = leaf_values({100});
  manual_seed(3);
  const Tensor y = jitter(x);
  const Tensor z = jitter(x);
  CHECK(generator().next == 2);
  CHECK(bits_of(y) != bits_of(z));
  sum(y).backward();
  for (std::size_t i = 0; i < 100; ++i)
    CHECK(elements_of(x.grad())[i] * elements_of(x)[i] == Approx(elements_of(y)[i]));
  manual_seed(3);
  CHECK(bits_of(jitter(x)) == bits_of(y));
}

TEST_CASE("an operation has several outputs, of which any may go unused", "[operation]") {
  const NothingLeft check;
  for (const int used : {1, 2, 3}) {
    CAPTURE(used);
    Tensor x = leaf_values({6});
    const std::vector<Tensor> y = apply_all(Halves{{10, 20}}, {x, arange(3)});
    REQUIRE(y.size() == 2);
    Tensor loss = scalar(0, kDouble);
    if (used & 1) loss = loss + sum(y[0]);
    if (used & 2) loss = loss + sum(y[1] * 5.0);
    loss.backward();
    const double a = used & 1 ? 1 : 0;
    const double b = used & 2 ? 5 : 0;
    CHECK(elements_of(x.grad()) == Doubles{a, a, a, b, b, b});
  }
  CHECK_THROWS_WITH(apply_all(Halves{{0, 0}}, {leaf_values({4}), leaf_values({4})}),
                    Contains("[halves] gives no gradient for input 1") && Contains("detach()"));
}

TEST_CASE("an operation without backward ends the tape", "[operation]") {
  Tensor x = leaf_values({3});
  const Tensor y = apply(Rounded{}, x);
  CHECK_FALSE(y.requires_grad());
  CHECK(y.is_leaf());
}

TEST_CASE("reading what was not declared is a defect of the operation", "[operation]") {
  Tensor x = leaf_values({3});
  CHECK_THROWS_WITH(apply(Greedy{}, x).backward(values({3})), Contains("[greedy] backward reads input 0"));
  CHECK_FALSE(x.grad().defined());
}

TEST_CASE("more inputs than an operation can have are refused", "[operation]") {
  const std::vector<Tensor> many(65, ones({1}));
  CHECK_THROWS_WITH(apply_all(ops::Concatenate{}, std::vector<Tensor>(many)),
                    Contains("[concatenate] 65 inputs; at most 64"));
  CHECK(concatenate(many, 0).numel() == 65);
}

TEST_CASE("an exception in a forward leaves everything as it was", "[operation][exceptions]") {
  const NothingLeft check;
  Tensor x = leaf_values({100});
  Tensor kept = exp(x);
  const Books before;
  for (const bool no_grad : {false, true}) {
    for (const bool in_segment : {false, true}) {
      CAPTURE(no_grad, in_segment);
      Cube::forward_fuse.left = 0;
      const auto run = [&] {
        std::unique_ptr<NoGrad> scope(no_grad ? new NoGrad : nullptr);
        if (!in_segment) return cube(jitter(kept));
        return checkpoint::segment("s", [&] { return cube(jitter(exp(kept))); });
      };
      manual_seed(before.numbers.seed);
      generator() = before.numbers;
      CHECK_THROWS_WITH(run(), Contains("forward of cube"));
      generator() = before.numbers;  // jitter ran; only what threw took no key
      CHECK(Books() == before);
      CHECK(grad_enabled());
    }
  }
  sum(kept).backward();
  CHECK(bits_of(x.grad()) == bits_of(kept));
}

TEST_CASE("a random operation that throws takes no key", "[operation][exceptions]") {
  const Tensor x = values({100});
  const Books before;
  current_pool().fail_after(2);
  CHECK_THROWS_AS(jitter(x), OutOfMemory);
  CHECK(Books() == before);
}

TEST_CASE("an exception in a backward leaves no gradient half done", "[operation][exceptions]") {
  const NothingLeft check;
  struct Case {
    const char* what;
    std::function<void(const Tensor& trunk)> arm;
  };
  const std::vector<Case> cases{
      {"operation", [](const Tensor&) { Cube::backward_fuse.left = 0; }},
      {"hook",
       [](const Tensor& trunk) {
         trunk.on_gradient([](const Tensor&) -> Tensor { throw std::runtime_error("in a hook"); });
       }},
      {"memory", [](const Tensor&) { current_pool().fail_after(4); }},
  };
  for (const Case& c : cases) {
    for (const bool segments : {false, true}) {
      CAPTURE(c.what, segments);
      Tensor w = leaf_values({50});
      Tensor v = leaf_values({50});
      v.set_grad(ones({50}, kDouble));
      Tensor trunk, y;
      const auto forward = [&] {
        std::unique_ptr<checkpoint::Segment> scope(
            segments ? new checkpoint::Segment("s", {.spare_last = false}) : nullptr);
        trunk = exp(w);
        y = tanh(cube(trunk) * v);
        scope.reset();
        y = sum(y * v);
      };
      forward();
      const Books before;
      c.arm(trunk);
      CHECK_THROWS(y.backward({.retain_tape = true}));
      CHECK(Books() == before);
      CHECK_FALSE(w.grad().defined());
      CHECK_THROWS_WITH(v.grad(), Contains("[grad] a backward stopped midway"));
      v.clear_grad();
      if (std::string(c.what) == "hook") forward();
      y.backward();
      const auto got = bits_of(w.grad());
      w.clear_grad();
      v.clear_grad();
      forward();
      y.backward();
      CHECK(bits_of(w.grad()) == got);
    }
  }
}

TEST_CASE("an exception in a hook of a leaf leaves no gradient half done", "[operation][exceptions]") {
  const NothingLeft check;
  Tensor a = leaf_values({5});
  Tensor b = leaf_values({5});
  b.on_gradient([](const Tensor&) -> Tensor { throw std::runtime_error("in a hook"); });
  const Tensor y = sum(a * b);
  const Books before;
  CHECK_THROWS_WITH(y.backward({.retain_tape = true}), "in a hook");
  CHECK(Books() == before);
  CHECK_FALSE(a.grad().defined());
  CHECK_FALSE(b.grad().defined());
  CHECK_THROWS(gradients(y, std::vector<Tensor>{a, b}, {.retain_tape = true}));
  CHECK(Books() == before);
  CHECK(bits_of(gradients(y, std::vector<Tensor>{a}, {.retain_tape = true})[0]) == bits_of(b));
}

TEST_CASE("an exception in a replay leaves the segment dropped", "[operation][exceptions]") {
  const NothingLeft check;
  for (const int depth : {1, 3}) {
    CAPTURE(depth);
    Tensor w = leaf_values({50});
    Tensor y;
    const std::function<void(int)> nest = [&](int left) {
      const checkpoint::Segment segment("s", {.spare_last = false});
      y = cube(exp(y));
      if (left > 1) nest(left - 1);
      y = tanh(cube(y * 0.1));
    };
    y = w * 1.0;
    nest(depth);
    y = sum(y);
    const Books before;
    Cube::forwards = 0;
    y.backward({.retain_tape = true});
    const auto gradient = bits_of(w.grad());
    const int replays = Cube::forwards;
    CHECK(replays > 0);
    w.clear_grad();
    CHECK(Books() == before);
    for (int fuse = 0; fuse < replays; ++fuse) {
      Cube::forward_fuse.left = fuse;
      CHECK_THROWS_WITH(y.backward({.retain_tape = true}), "forward of cube");
      CHECK(Books() == before);
      CHECK_FALSE(w.grad().defined());
    }
    y.backward();
    CHECK(bits_of(w.grad()) == gradient);
  }
}

namespace {

/// y = x * x * row, as somebody writes it who thinks of one memory order only; also as an auxiliary.
struct Naive {
  static constexpr std::string_view name = "naive";
  static constexpr int auxiliaries = 1;
  static constexpr bool gradient_in_place = true;
  static constexpr GradMask gradient_over_input = 1;
  Specs infer(SpecSpan in) const { return {in[0], in[0]}; }
  Saves saves(GradMask) const { return {.inputs = 3, .outputs = 2}; }
  void forward(const Exec&, Inputs in, Outputs out) const {
    for (std::int64_t i = 0; i < in[0].numel(); ++i) {
      const double x = in[0].as<double>()[i];
      out[1].as<double>()[i] = x * x;
      out[0].as<double>()[i] = x * x * in[1].as<double>()[i];
    }
  }
  void backward(const Exec&, const Saved& saved, OutGrads dy, GradSlots dx) const {
    for (std::int64_t i = 0; i < saved.input(0).numel(); ++i) {
      const double gradient = dy[0].as<double>()[i], x = saved.input(0).as<double>()[i];
      const double to[] = {gradient * 2 * x * saved.input(1).as<double>()[i],
                           gradient * saved.output(1).as<double>()[i]};
      for (std::size_t k = 0; k < 2; ++k) {
        if (!dx.wants(k)) continue;
        double& slot = dx[k].view.as<double>()[i];
        slot = dx[k].write == kernels::Write::accumulate ? slot + to[k] : to[k];
      }
    }
  }
  bool operator==(const Naive&) const = default;
};

Tensor in_layout(const std::string& layout, const Tensor& x) {
  if (layout == "channels-last") return to_channels_last(x);
  if (layout == "transposed") return transpose(transpose(x, 1, 3).contiguous(), 1, 3);
  if (layout == "sliced") return slice(concatenate({x, x}, 2), 2, 0, x.size(2));
  if (layout == "expanded") return expand(slice(x, 0, 0, 1), x.shape());
  return x;
}

}  // namespace

TEST_CASE("an operation that thinks of one memory order is right for all", "[operation][layouts]") {
  const std::vector<std::string> layouts{"row-major", "channels-last", "transposed", "sliced", "expanded"};
  for (const bool segmented : {false, true}) {
    for (const std::string& of_x : layouts) {
      for (const std::string& of_y : layouts) {
        for (const bool leaves : {false, true}) {
          CAPTURE(segmented, of_x, of_y, leaves);
          const NothingLeft check;
          const auto run = [&](bool naive) {
            Tensor x = leaf_values({2, 3, 4, 5}), y = leaf_values({2, 3, 4, 5}, 0.6);
            Tensor a = in_layout(of_x, leaves ? x.detach() : x), b = in_layout(of_y, leaves ? y.detach() : y);
            if (leaves) {
              a = a.detach().set_requires_grad(true);
              b = b.detach().set_requires_grad(true);
            }
            const auto forward = [&] {
              const Tensor p = naive ? apply(Naive{}, a, b) : a * a * b;
              const Tensor q = naive ? apply(Naive{}, p, a) : p * p * a;
              return sum(q * values({2, 3, 4, 5}, 0.4)) + sum(to_channels_last(p) * b);
            };
            const Tensor loss =
                segmented ? checkpoint::segment("s", forward, {.spare_last = false}) : forward();
            loss.backward({.retain_tape = true});
            loss.backward();  // adds to what is there
            Doubles all = elements_of(loss.detach());
            for (const Tensor& t : {leaves ? a : x, leaves ? b : y}) {
              for (const double value : elements_of(t.grad())) all.push_back(value);
            }
            return all;
          };
          const Doubles got = run(true), want = run(false);
          REQUIRE(got.size() == want.size());
          for (std::size_t i = 0; i < got.size(); ++i) CHECK(got[i] == Approx(want[i]).margin(1e-12));
        }
      }
    }
  }
  const Tensor x = to_channels_last(values({2, 3, 4, 5}));
  CHECK(apply(Naive{}, x, x).is_contiguous());
  CHECK_FALSE(exp(x).is_contiguous());
}
