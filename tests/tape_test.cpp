// Playing the tape: gradients, accumulation, hooks, chosen inputs, the anomaly mode.
#include "tape_support.h"

using namespace tape_test;

namespace {

Doubles times(Doubles v, double factor) {
  for (double& x : v) x *= factor;
  return v;
}

}  // namespace

TEST_CASE("gradients follow the chain rule", "[tape]") {
  const NothingLeft check;
  const Tensor a = leaf({1, 2, 3}, {3});
  const Tensor b = leaf({4, 5, 6}, {3});
  const Tensor c = a * b + a;
  sum(c * c).backward();
  CHECK(elements_of(a.grad()) == Doubles{2 * 5 * 5, 2 * 12 * 6, 2 * 21 * 7});
  CHECK(elements_of(b.grad()) == Doubles{2 * 5 * 1, 2 * 12 * 2, 2 * 21 * 3});
  CHECK_FALSE(c.grad().defined());
  CHECK(a.grad().dtype() == DType::float64);
}

TEST_CASE("the same tensor may be several inputs", "[tape]") {
  struct Case {
    const char* what;
    std::function<Tensor(const Tensor&)> f;
    double gradient;
  };
  const std::vector<Case> cases{
      {"x * x", [](const Tensor& x) { return x * x; }, 6},
      {"x + x", [](const Tensor& x) { return x + x; }, 2},
      {"x - x", [](const Tensor& x) { return x - x; }, 0},
      {"x / x", [](const Tensor& x) { return x / x; }, 0},
      {"(x - x) + x * x", [](const Tensor& x) { return (x - x) + x * x; }, 6},
      {"concatenate",
       [](const Tensor& x) {
         return sum(concatenate({x, x, x}, 0), {0}, true);
       },
       3},
  };
  for (const Case& c : cases) {
    CAPTURE(c.what);
    for (const bool with_gradient : {false, true}) {
      for (const bool interior : {false, true}) {
        CAPTURE(with_gradient, interior);
        Tensor x = leaf({3}, {1});
        if (with_gradient) x.set_grad(tensor<double>({100}, {1}));
        c.f(interior ? x * 1.0 : x).backward();
        CHECK(elements_of(x.grad())[0] == Approx(c.gradient + (with_gradient ? 100 : 0)));
      }
    }
  }
}

TEST_CASE("diamonds add up before they are passed on", "[tape]") {
  const NothingLeft check;
  Tensor x = leaf(0.5);
  Tensor y = x;
  for (int i = 0; i < 40; ++i) y = y + y;
  reset_tape_counters();
  y.backward();
  CHECK(x.grad().item<double>() == 0x1p40);
  CHECK(tape_counters().backward_nodes == 40);

  x.clear_grad();
  const Tensor trunk = exp(x);
  int calls = 0;
  trunk.on_gradient([&](const Tensor& g) {
    ++calls;
    CHECK(g.item<double>() == 2 + 3 + 1);
    return Tensor();
  });
  (trunk * 2.0 + (trunk * 3.0 + trunk)).backward();
  CHECK(calls == 1);
  CHECK(x.grad().item<double>() == Approx(6 * std::exp(0.5)));
}

TEST_CASE("several backward calls add up", "[tape]") {
  const NothingLeft check;
  Tensor w = leaf_values({4});
  const auto loss = [&] { return sum(square(w)); };
  loss().backward();
  const Doubles once = elements_of(w.grad());
  loss().backward();
  CHECK(elements_of(w.grad()) == times(once, 2));
  w.clear_grad();
  CHECK_FALSE(w.grad().defined());
  loss().backward();
  CHECK(elements_of(w.grad()) == once);
}

TEST_CASE("the gradient of a leaf is memory of its own", "[tape]") {
  Tensor a = leaf_values({3});
  Tensor b = leaf_values({3});
  const Tensor seed = values({3});
  (a + b).backward(seed);
  CHECK_FALSE(a.grad().shares_storage_with(b.grad()));
  CHECK_FALSE(a.grad().shares_storage_with(seed));
  CHECK(bits_of(a.grad()) == bits_of(seed));
  a.grad().fill_(7);
  CHECK(bits_of(b.grad()) == bits_of(seed));
}

TEST_CASE("a tape is played once unless it is retained", "[tape]") {
  const NothingLeft check;
  Tensor w = leaf_values({4});
  const Tensor y = sum(exp(w) * w);
  y.backward({.retain_tape = true});
  const Doubles once = elements_of(w.grad());
  y.backward({.retain_tape = true});
  CHECK(elements_of(w.grad()) == times(once, 2));
  w.clear_grad();
  y.backward();
  CHECK(elements_of(w.grad()) == once);
  CHECK_THROWS_WITH(y.backward(),
                    Contains("[backward]") && Contains("already played") && Contains("retain_tape"));
  CHECK_THROWS_AS((y * 2.0).backward(), TapeError);
  CHECK(elements_of(w.grad()) == once);
}

TEST_CASE("two losses share a retained trunk", "[tape]") {
  const NothingLeft check;
  Tensor w = leaf_values({4});
  const auto run = [&](bool together) {
    w.clear_grad();
    const Tensor trunk = exp(w);
    const Tensor a = sum(square(trunk));
    const Tensor b = sum(tanh(trunk));
    if (together) {
      backward(std::vector<Tensor>{a, b});
    } else {
      a.backward({.retain_tape = true});
      b.backward();
    }
    return elements_of(w.grad());
  };
  const Doubles apart = run(false);
  const Doubles together = run(true);
  for (std::size_t i = 0; i < apart.size(); ++i) CHECK(apart[i] == Approx(together[i]).epsilon(1e-14));
}

TEST_CASE("backward takes gradients of any shape and refuses wrong ones", "[tape]") {
  Tensor w = leaf_values({2, 3});
  const Tensor y = w * 3.0;
  CHECK_THROWS_WITH(y.backward(), Contains("[backward]") && Contains("is not a scalar"));
  CHECK_THROWS_WITH(y.backward(values({3})), Contains("the gradient given is float64 (3)"));
  CHECK_THROWS_AS(y.backward(ones({2, 3})), ShapeError);
  CHECK_THROWS_WITH(values({1}).backward(), Contains("wants a gradient"));
  CHECK_THROWS_WITH(Tensor().backward(), Contains("[backward] output 0 is an undefined tensor"));
  CHECK_THROWS_AS(backward(std::vector<Tensor>{y, y}, std::vector<Tensor>{values({2, 3})}), ShapeError);
  const Tensor seed = permute(values({3, 2}), {1, 0});
  y.backward(seed);
  const Doubles s = elements_of(seed);
  CHECK(elements_of(w.grad()) == times(s, 3));
  Tensor v = leaf(2);
  v.backward();
  CHECK(v.grad().item<double>() == 1);
}

TEST_CASE("nothing is recorded where no gradient is wanted", "[tape]") {
  const NothingLeft check;
  Tensor w = leaf_values({3});
  reset_tape_counters();
  const Tensor plain = exp(values({3})) * 2.0;
  {
    const NoGrad no_grad;
    CHECK_FALSE(grad_enabled());
    { const NoGrad again; }
    CHECK_FALSE(grad_enabled());
    const Tensor y = exp(w);
    CHECK_FALSE(y.requires_grad());
    CHECK(y.is_leaf());
  }
  CHECK(grad_enabled());
  CHECK(tape_counters().recorded_nodes == 0);
  CHECK((w * plain).requires_grad());
  CHECK_FALSE(equal(w, w).requires_grad());
  CHECK_FALSE(w.to(DType::int64).requires_grad());
  CHECK_THROWS_WITH((w * 2.0).set_requires_grad(false), Contains("detach()"));
  CHECK_FALSE((w * 2.0).detach().requires_grad());
}

TEST_CASE("hooks see the complete gradient once and may replace it", "[tape]") {
  const NothingLeft check;
  Tensor w = leaf_values({3});
  const Tensor y = w * 2.0;
  std::vector<Doubles> seen;
  y.on_gradient([&](const Tensor& g) { return seen.push_back(elements_of(g)), g * 10.0; });
  y.on_gradient([&](const Tensor& g) { return seen.push_back(elements_of(g)), Tensor(); });
  w.on_gradient([&](const Tensor& g) { return seen.push_back(elements_of(g)), g + 1.0; });
  sum(y + y * 4.0 + w).backward();
  CHECK(seen == std::vector<Doubles>{{5, 5, 5}, {50, 50, 50}, {101, 101, 101}});
  CHECK(elements_of(w.grad()) == Doubles(3, 102.0));

  sum(w * 1.0).backward();
  CHECK(seen.size() == 4);
  CHECK(elements_of(w.grad()) == Doubles(3, 104.0));
}

TEST_CASE("what a hook changes in place reaches no other gradient", "[tape]") {
  Tensor a = leaf_values({3});
  Tensor b = leaf_values({3});
  const Tensor left = a * 1.0;
  left.on_gradient([](const Tensor& g) { return Tensor(g).mul_(100), Tensor(); });
  a.on_gradient([](const Tensor& g) { return Tensor(g).mul_(2), Tensor(); });
  const Tensor seed = ones({3}, kDouble);
  (left + b).backward(seed);
  CHECK(elements_of(a.grad()) == Doubles(3, 200.0));
  CHECK(elements_of(b.grad()) == Doubles(3, 1.0));
  CHECK(elements_of(seed) == Doubles(3, 1.0));
}

TEST_CASE("hooks are refused where they could not work", "[tape]") {
  CHECK_THROWS_WITH(values({2}).on_gradient([](const Tensor&) { return Tensor(); }),
                    Contains("[on_gradient]"));
  Tensor w = leaf_values({2});
  const Tensor y = w * 1.0;
  y.on_gradient([](const Tensor&) { return values({3}); });
  CHECK_THROWS_WITH(sum(y).backward(), Contains("what a hook returned is float64 (3)"));
  CHECK_FALSE(w.grad().defined());
  const Tensor z = w * 1.0;
  z.on_gradient([&](const Tensor&) { return sum(w).backward(), Tensor(); });
  CHECK_THROWS_WITH(sum(z).backward(), Contains("called inside another backward, by a gradient hook"));
  sum(w).backward();
  CHECK(w.grad().defined());
}

TEST_CASE("a hook may compute, also with what wants a gradient", "[tape]") {
  const NothingLeft check;
  Tensor w = leaf_values({3});
  const Tensor y = exp(w);
  y.on_gradient([&](const Tensor& g) { return (g * w).detach(); });
  sum(y).backward();
  for (std::size_t i = 0; i < 3; ++i) {
    const double x = elements_of(w)[i];
    CHECK(elements_of(w.grad())[i] == Approx(x * std::exp(x)));
  }
}

TEST_CASE("gradients of chosen inputs change no grad()", "[tape]") {
  const NothingLeft check;
  Tensor a = leaf_values({3});
  Tensor b = leaf_values({3}, 0.7);
  Tensor unrelated = leaf_values({2});
  sum(a).backward();
  const Tensor before = a.grad();
  const Tensor middle = a * b;
  const Tensor y = sum(square(middle));
  const std::vector<Tensor> chosen{a, middle, unrelated, y, a};
  const std::vector<Tensor> got = gradients(y, chosen, {.retain_tape = true});
  REQUIRE(got.size() == 5);
  for (std::size_t i = 0; i < 3; ++i) {
    const double x = elements_of(a)[i];
    const double z = elements_of(b)[i];
    CHECK(elements_of(got[0])[i] == Approx(2 * x * z * z));
    CHECK(elements_of(got[1])[i] == Approx(2 * x * z));
  }
  CHECK_FALSE(got[2].defined());
  CHECK(got[3].item<double>() == 1);
  CHECK(bits_of(got[4]) == bits_of(got[0]));
  CHECK(a.grad().shares_storage_with(before));
  CHECK(elements_of(before) == Doubles(3, 1.0));
  CHECK_FALSE(b.grad().defined());
  CHECK_THROWS_WITH(gradients(y, std::vector<Tensor>{values({3})}),
                    Contains("[gradients] an unnamed leaf (3) wants no gradient"));
  y.backward();
  CHECK(b.grad().defined());
}

TEST_CASE("choosing what leads nowhere leaves nothing behind", "[tape]") {
  Tensor a = leaf_values({3});
  const Tensor other = a * 2.0;
  const Tensor y = sum(exp(a));
  CHECK_FALSE(gradients(y, std::vector<Tensor>{other}, {.retain_tape = true})[0].defined());
  y.backward();
  CHECK(elements_of(a.grad())[0] == Approx(std::exp(elements_of(a)[0])));
}

TEST_CASE("chosen gradients that are equal are not the same memory", "[tape]") {
  Tensor a = leaf_values({3});
  const Tensor b = a * 2.0;
  const Tensor c = a * 3.0;
  const std::vector<Tensor> got = gradients(sum(square(b + c)), std::vector<Tensor>{b, c});
  CHECK(bits_of(got[0]) == bits_of(got[1]));
  CHECK_FALSE(got[0].shares_storage_with(got[1]));
}

TEST_CASE("only nodes on the way to a chosen input are played", "[tape]") {
  Tensor a = leaf_values({3});
  Tensor b = leaf_values({3});
  const Tensor y = sum(exp(a) * exp(exp(exp(b))));
  reset_tape_counters();
  gradients(y, std::vector<Tensor>{a}, {.retain_tape = true});
  CHECK(tape_counters().backward_nodes == 3);
}

TEST_CASE("the anomaly mode names the operation that first made a NaN", "[tape]") {
  const Tensor x = tensor<double>({1, -1}, {2});
  Tensor w = leaf({1, 0}, {2});
  CHECK_FALSE(std::isfinite(elements_of(sqrt(x) * x)[1]));
  const AnomalyMode anomaly;
  CHECK_THROWS_WITH(exp(log(x) * 2.0),
                    Contains("[log] the first NaN is in output 0 of its forward; inputs (2)"));
  const Tensor y = sum(sqrt(w) * tensor<double>({1, 0}, {2}));
  CHECK_THROWS_WITH(y.backward(),
                    Contains("[sqrt] the first NaN is in the gradient of input 0 of its backward"));
  CHECK_FALSE(w.grad().defined());
  CHECK_NOTHROW(sum(sqrt(w + 1.0)).backward());
}
