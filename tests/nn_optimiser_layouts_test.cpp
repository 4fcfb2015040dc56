// Optimisers with parameters, gradients and scales as programs have them: in any memory order, shared, wrong.
#include <cmath>
#include <limits>

#include "reprise/reprise.h"
#include "tape_support.h"

using namespace tape_test;

namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// A leaf of sizes (2, 3, 4, 5) that lies in memory as `layout` says, of which `whole` is all the memory.
struct Laid {
  Tensor leaf, whole;
};

Laid laid_out(const std::string& layout, DType dtype) {
  const Tensor source = values({2, 3, 4, 5}).to(dtype);
  const auto filled = [&](const Tensor& whole, const Tensor& view) {
    Tensor leaf = view.detach();
    leaf.copy_(source);
    return Laid{leaf.set_requires_grad(true), whole};
  };
  const TensorOptions options{.dtype = dtype};
  if (layout == "transposed") {
    const Tensor whole = zeros({5, 3, 4, 2}, options);
    return filled(whole, transpose(whole, 0, 3));
  }
  if (layout == "a slice with gaps") {
    const Tensor whole = zeros({2, 7, 4, 10}, options);
    return filled(whole, slice(slice(whole, 1, 2, 5), 3, 1, 10, 2));
  }
  if (layout == "channels-last") {
    const Tensor whole = empty({2, 3, 4, 5}, {.dtype = dtype, .channels_last = true});
    return filled(whole, whole);
  }
  if (layout == "a column") {
    const Tensor whole = zeros({2, 3, 4, 5, 6}, options);
    return filled(whole, select(whole, 4, 2));
  }
  const Tensor whole = zeros({2, 3, 4, 5}, options);
  return filled(whole, whole);
}

const std::vector<std::string> kLayouts{"row-major", "transposed", "a slice with gaps", "channels-last",
                                        "a column"};

/// Sum of |elements| of the memory around a leaf.
double outside(const Laid& laid) {
  const NoGrad no_grad;
  Tensor leaf = laid.leaf;
  const Tensor kept = leaf.detach().clone();
  leaf.fill_(0);
  const double rest = sum(abs(laid.whole.to(DType::float64))).item<double>();
  leaf.copy_(kept);
  return rest;
}

struct Kind {
  const char* name;
  std::function<void(const Tensor& parameter, const std::function<void(int)>& set_gradient, int steps)> train;
};

template <class Optimiser>
void train(Optimiser optimiser, const std::function<void(int)>& set_gradient, int steps) {
  for (int s = 0; s < steps; ++s) {
    set_gradient(s);
    optimiser.step(0.05 / (s + 1), s % 2 == 0 ? 0.5 : 1.0);
  }
}

const std::vector<Kind> kKinds{
    {"AdamW",
     [](const Tensor& p, const auto& set, int n) {
       train(nn::AdamW({{{p}, 0.1}}, {.beta2 = 0.9}), set, n);
     }},
    {"Sgd",
     [](const Tensor& p, const auto& set, int n) {
       train(nn::Sgd({{{p}, 0.01}}), set, n);
     }},
    {"momentum",
     [](const Tensor& p, const auto& set, int n) {
       train(nn::Sgd({{{p}, 0.01}}, {.momentum = 0.9, .nesterov = true}), set, n);
     }},
};

}  // namespace

TEST_CASE("a parameter in any memory order is updated as a dense one, and nothing around it",
          "[nn][layouts]") {
  const DType dtype = GENERATE(DType::float32, DType::float64, DType::bfloat16, DType::float16);
  for (const Kind& kind : kKinds) {
    for (const std::string& parameter_layout : kLayouts) {
      for (const std::string& gradient_layout : kLayouts) {
        CAPTURE(name_of(dtype), kind.name, parameter_layout, gradient_layout);
        const auto run = [&](const std::string& of_parameter, const std::string& of_gradient) {
          const Laid laid = laid_out(of_parameter, dtype);
          const auto set_gradient = [&](int s) {
            Tensor gradient = laid_out(of_gradient, dtype).leaf.detach();
            gradient.copy_(values({2, 3, 4, 5}, 0.7 + s).to(dtype));
            Tensor(laid.leaf).set_grad(gradient);
            CHECK(laid.leaf.grad().value() == gradient.value());
          };
          kind.train(laid.leaf, set_gradient, 3);
          CHECK(outside(laid) == 0);
          return bits_of(laid.leaf.detach().to(DType::float64));
        };
        CHECK(run(parameter_layout, gradient_layout) == run("row-major", "row-major"));
      }
    }
  }
}

TEST_CASE("a transposed leaf learns from backward what a dense one does", "[nn][layouts]") {
  Tensor w = transpose(tensor<double>({1, 2, 3, 4, 5, 6}, {2, 3}), 0, 1).detach().set_requires_grad(true);
  sum(w * tensor<double>({10, 20, 30, 40, 50, 60}, {3, 2})).backward();
  CHECK(elements_of(w.grad()) == Doubles{10, 20, 30, 40, 50, 60});
  nn::Sgd sgd({{{w}, 0.0}});
  sgd.step(0.1);
  const Doubles expected{0, 2, -1, 1, -2, 0};
  for (std::size_t i = 0; i < 6; ++i) CHECK(elements_of(w)[i] == Approx(expected[i]).margin(1e-14));
  CHECK(w.version() == 1);
}

TEST_CASE("gradients accumulate into one of any layout that was set", "[nn][layouts]") {
  for (const std::string& layout : kLayouts) {
    CAPTURE(layout);
    Laid leaf = laid_out("row-major", DType::float64);
    const Laid gradient = laid_out(layout, DType::float64);
    leaf.leaf.set_grad(gradient.leaf.detach());
    sum(leaf.leaf * 2.0).backward();
    const Doubles start = elements_of(values({2, 3, 4, 5})), now = elements_of(leaf.leaf.grad());
    for (std::size_t i = 0; i < now.size(); ++i) CHECK(now[i] == Approx(start[i] + 2));
    CHECK(outside(gradient) == 0);
  }
}

TEST_CASE("set_grad keeps apart what adding to a gradient would change by accident", "[nn][layouts]") {
  Tensor w = leaf_values({2, 3});
  const Tensor row = values({1, 3});
  w.set_grad(expand(row, {2, 3}));  // adding in place would add to a row twice
  sum(w).backward();
  for (std::size_t i = 0; i < 6; ++i) CHECK(elements_of(w.grad())[i] == Approx(elements_of(row)[i % 3] + 1));
  CHECK(bits_of(row) == bits_of(values({1, 3})));

  w.set_grad(w.detach());  // would change the parameter
  sum(w).backward();
  CHECK(bits_of(w) == bits_of(values({2, 3})));
  for (std::size_t i = 0; i < 6; ++i) CHECK(elements_of(w.grad())[i] == Approx(elements_of(w)[i] + 1));
  w.set_grad(w);
  CHECK_FALSE(w.grad().shares_storage_with(w));

  const Tensor recorded = exp(w);  // would change what backward saved
  w.set_grad(recorded);
  sum(w).backward();
  CHECK(bits_of(recorded) == bits_of(exp(values({2, 3}))));
  w.clear_grad();
  sum(recorded).backward();
  CHECK(bits_of(w.grad()) == bits_of(recorded));

  Tensor other = leaf_values({2, 3}, 0.5);
  w.set_grad(other);
  sum(w).backward();
  CHECK(bits_of(other) == bits_of(values({2, 3}, 0.5)));
}

TEST_CASE("a gradient that does not fit is refused, and the old one stays", "[nn][layouts]") {
  Tensor w = leaf_values({2, 3});
  w.set_grad(ones({2, 3}, kDouble));
  CHECK_THROWS_AS(w.set_grad(ones({3, 2}, kDouble)), ShapeError);
  CHECK_THROWS_AS(w.set_grad(ones({2, 3})), ShapeError);
  CHECK_THROWS_AS((w * 2.0).set_grad(ones({2, 3}, kDouble)), TapeError);
  CHECK(elements_of(w.grad()) == Doubles(6, 1.0));
  Tensor ids = arange(3);
  CHECK_THROWS_WITH(ids.set_grad(arange(3)), Contains("[set_grad] a int64 tensor has no gradient"));
  CHECK_FALSE(ids.grad().defined());
}

TEST_CASE("a gradient in a parameter's memory is read as it was before the step", "[nn][layouts]") {
  Tensor flat = values({12});
  Tensor w = slice(flat, 0, 0, 8).detach().set_requires_grad(true);
  Tensor v = slice(flat, 0, 8, 12).detach().set_requires_grad(true);
  const Doubles before = elements_of(flat);
  w.set_grad(slice(flat, 0, 4, 12).detach().clone());
  v.set_grad(slice(flat, 0, 0, 4).detach().clone());
  nn::Sgd sgd({{{w, v}, 0.0}});
  sgd.step(0.25);
  const Doubles after = elements_of(flat);
  for (std::size_t i = 0; i < 12; ++i) CHECK(after[i] == before[i] - 0.25 * before[i < 8 ? i + 4 : i - 8]);
  // The same with gradients that are the parameters' memory itself.
  Tensor a = leaf_values({4}), b = leaf_values({4}, 0.6);
  const Doubles a0 = elements_of(a), b0 = elements_of(b);
  a.set_grad(b.detach());
  b.set_grad(a.detach());
  nn::Sgd both({{{a, b}, 0.0}});
  both.step(0.25);
  for (std::size_t i = 0; i < 4; ++i) {
    CHECK(elements_of(a)[i] == a0[i] - 0.25 * b0[i]);
    CHECK(elements_of(b)[i] == b0[i] - 0.25 * a0[i]);
  }
}

TEMPLATE_TEST_CASE("optimisers refuse what they cannot update, before anything is changed", "[nn][layouts]",
                   nn::AdamW, nn::Sgd) {
  using nn::ParameterGroup;
  const auto made = [](std::vector<ParameterGroup> groups) { return TestType(groups); };
  const Tensor w = leaf_values({3}).set_name("w");
  CHECK_THROWS_WITH(made({{{w, Tensor()}, 0.0}}), Contains("parameter 1 of group 0 is an undefined tensor"));
  CHECK_THROWS_AS(made({{{w * 2.0}, 0.0}}), TapeError);
  for (const DType dtype : {DType::int32, DType::int64, DType::boolean})
    CHECK_THROWS_AS(made({{{zeros({2}, {.dtype = dtype})}, 0.0}}), TypeError);
  CHECK_THROWS_WITH(made({{{expand(ones({1}), {4}).detach()}, 0.0}}),
                    Contains("expanded") && Contains("(4)"));
  CHECK_NOTHROW(made({{{expand(ones({4}), {1, 4}).detach()}, 0.0}}));
  CHECK_THROWS_WITH(made({{{w}, 0.1}, {{w}, 0.0}}), Contains("'w' (3) is in group 0 and in group 1"));
  for (const double decay : {-0.1, kNan, kInfinity}) CHECK_THROWS_AS(made({{{w}, decay}}), ValueError);
  CHECK_THROWS_WITH(made({{{w, w.detach()}, 0.0}}), Contains("share memory"));
  const Tensor matrix = zeros({4, 6}, kDouble);
  const auto column = [&](std::int64_t i) { return select(matrix, 1, i).detach(); };
  const Tensor row = select(matrix, 0, 1).detach();
  CHECK_THROWS_WITH(made({{{column(0), column(1), row}, 0.0}}), Contains("share memory"));
  CHECK_THROWS_WITH(made({{{row, column(2)}, 0.0}}), Contains("share memory"));
  CHECK_NOTHROW(made({{{column(0), column(1), column(5), zeros({0})}, 0.0}}));
  CHECK_NOTHROW(made({{{slice(matrix, 0, 0, 2).detach(), slice(matrix, 0, 2, 4).detach()}, 0.0}}));
  TestType none(std::vector<ParameterGroup>{});
  none.step(0.1);
  none.zero_grad();

  Tensor p = leaf_values({3}), q = leaf_values({2});
  TestType optimiser({{{p, q}, 0.0}});
  p.set_grad(ones({3}, kDouble));
  q.set_grad(ones({2}, kDouble));
  const auto before = bits_of(p);
  for (const double rate : {kNan, kInfinity, -1.0, -kInfinity}) {
    CHECK_THROWS_WITH(optimiser.step(rate), Contains("the learning rate is"));
    CHECK_THROWS_AS(optimiser.set_rates(rate), ValueError);
  }
  for (const double scale : {kNan, kInfinity}) CHECK_THROWS_AS(optimiser.step(0.1, scale), ValueError);
  CHECK_THROWS_WITH(optimiser.step(0.1, ones({2}, kDouble)), Contains("the gradient scale is (2)"));
  CHECK_THROWS_AS(optimiser.step(0.1, ones({0}, kDouble)), ShapeError);
  CHECK_THROWS_AS(optimiser.step(0.1, scalar(1, {.dtype = DType::int64})), TypeError);
  CHECK(bits_of(p) == before);
  CHECK(p.version() == 0);
  CHECK(q.version() == 0);
  optimiser.step(0.0);
  CHECK(bits_of(p) == before);
}

TEST_CASE("options outside their range are refused", "[nn][layouts]") {
  const std::vector<nn::ParameterGroup> groups{{{leaf_values({3})}, 0.0}};
  for (const double beta : {-0.1, 1.0, kNan}) {
    CHECK_THROWS_AS(nn::AdamW(groups, {.beta1 = beta}), ValueError);
    CHECK_THROWS_WITH(nn::AdamW(groups, {.beta2 = beta}), Contains("[AdamW] beta2 is") && Contains("[0, 1)"));
  }
  CHECK_THROWS_AS(nn::AdamW(groups, {.eps = -1e-8}), ValueError);
  CHECK_THROWS_AS(nn::Sgd(groups, {.momentum = -0.9}), ValueError);
  CHECK_THROWS_WITH(nn::Sgd(groups, {.nesterov = true}), Contains("[Sgd] nesterov needs a momentum"));
}

TEMPLATE_TEST_CASE("a scale of any floating type scales the gradients", "[nn][layouts]", nn::AdamW, nn::Sgd) {
  const auto stepped = [](const std::function<void(TestType&)>& step) {
    Tensor w = leaf_values({5});
    w.set_grad(values({5}, 0.8));
    TestType optimiser({{{w}, 0.0}});
    step(optimiser);
    return bits_of(w);
  };
  const auto expected = stepped([](TestType& o) { o.step(0.1, 0.5); });
  for (const DType dtype : {DType::float16, DType::bfloat16, DType::float32, DType::float64}) {
    for (const Shape& shape : {Shape{}, Shape{1}, Shape{1, 1}}) {
      CAPTURE(name_of(dtype), to_string(shape));
      CHECK(stepped([&](TestType& o) { o.step(0.1, full(shape, 0.5, {.dtype = dtype})); }) == expected);
      CHECK(stepped([&](TestType& o) {
              o.set_rates(0.1);
              o.step_with_rates(full(shape, 0.5, {.dtype = dtype}));
            }) == expected);
    }
  }
  // A scale in the memory of a parameter is read as it was.
  Tensor w = scalar(0.5, kDouble).set_requires_grad(true), v = leaf_values({5});
  w.set_grad(scalar(2, kDouble));
  v.set_grad(values({5}, 0.8));
  TestType optimiser({{{w, v}, 0.0}});
  optimiser.step(0.1, w.detach());
  CHECK(bits_of(v) == expected);
}

TEMPLATE_TEST_CASE("a step for which memory runs out changes nothing", "[nn][layouts]", nn::AdamW, nn::Sgd) {
  Tensor dense = leaf_values({3, 2});
  Tensor w = transpose(values({2, 3}), 0, 1).detach().set_requires_grad(true);
  TestType optimiser({{{dense, w}, 0.1}});
  for (Tensor* p : {&dense, &w}) p->set_grad(transpose(values({2, 3}), 0, 1));
  const auto before = std::pair(bits_of(dense), bits_of(w));
  const std::string state = nn::digest(optimiser.state());
  int failures = 0;
  for (int n = 1;; ++n) {
    current_pool().fail_after(n);
    try {
      optimiser.step(0.1, scalar(0.5));
      break;
    } catch (const OutOfMemory&) {
      ++failures;
      CHECK(std::pair(bits_of(dense), bits_of(w)) == before);
      CHECK(nn::digest(optimiser.state()) == state);
      CHECK(dense.version() == 0);
      CHECK(w.version() == 0);
    }
  }
  current_pool().fail_after(-1);
  CHECK(failures >= 4);  // the scale and its copy, the parameter's copy, a gradient's
  CHECK(bits_of(dense) != before.first);
}

namespace {

struct TiedModel {
  nn::Embedding wte{10, 4};
  nn::Linear head{4, 10, false};
  TiedModel() { head.weight = wte.weight; }
  Tensor loss() {
    const Tensor ids = tensor<std::int64_t>({1, 2, 3}, {3}), targets = tensor<std::int64_t>({2, 3, 4}, {3});
    return cross_entropy(head(wte(ids)), targets);
  }
  void visit(nn::Visitor& v) {
    v.child("wte", wte);
    v.child("head", head);
  }
};

}  // namespace

TEST_CASE("a tied weight is one parameter", "[nn][tied]") {
  manual_seed(1);
  TiedModel model;
  const std::vector<Tensor> parameters = nn::parameters(model);
  REQUIRE(parameters.size() == 1);
  CHECK(nn::named_parameters(model)[0].name == "wte.weight");
  const std::vector<nn::NamedTensor> every = nn::named_parameters(model, nn::Names::every);
  REQUIRE(every.size() == 2);
  CHECK(every[1].name == "head.weight");
  nn::name_tensors(model);
  CHECK(model.head.weight.name() == "wte.weight");

  const Tensor w = model.wte.weight;
  const std::vector<Tensor> twice{w, w};
  CHECK(nn::count_elements(twice) == 40);
  model.loss().backward();
  CHECK(nn::gradient_norm(twice) == nn::gradient_norm(parameters));
  CHECK(nn::global_norm(twice, 0.1).scale.item<double>() ==
        nn::global_norm(parameters, 0.1).scale.item<double>());

  const auto moved = [&](auto optimiser) {
    Tensor weight = w.detach().clone().set_requires_grad(true);
    weight.set_grad(w.grad().clone());
    auto made = optimiser(weight);
    made.step(0.1);
    return bits_of(weight.detach().to(DType::float64));
  };
  CHECK(moved([](const Tensor& t) {
          return nn::Sgd({{{t, t}, 0.1}});
        }) == moved([](const Tensor& t) {
          return nn::Sgd({{{t}, 0.1}});
        }));
  CHECK(moved([](const Tensor& t) {
          return nn::AdamW(nn::decay_matrices({t, t}, 0.1));
        }) == moved([](const Tensor& t) { return nn::AdamW(nn::decay_matrices({t}, 0.1)); }));
}

TEST_CASE("a tied weight is loaded under any of its names", "[nn][tied]") {
  manual_seed(1);
  TiedModel from, to;
  const Tensor other = randn({10, 4});
  const auto load = [&](std::vector<nn::NamedTensor> state) {
    const NoGrad no_grad;
    to.wte.weight.fill_(0);
    nn::load_state(to, state);
    return bits_of(to.head.weight.detach().to(DType::float64));
  };
  const auto expected = bits_of(from.wte.weight.detach().to(DType::float64));
  const Tensor w = from.wte.weight;
  CHECK(load(nn::named_parameters(from)) == expected);
  CHECK(load(nn::named_parameters(from, nn::Names::every)) == expected);
  CHECK(load({{"head.weight", w}}) == expected);
  CHECK(load({{"head.weight", w}, {"wte.weight", w.detach().clone()}}) == expected);
  CHECK_THROWS_WITH(load({{"head.weight", other}, {"wte.weight", w}}),
                    Contains("'wte.weight' and 'head.weight' are one tensor"));
  CHECK_THROWS_WITH(load({}), Contains("'wte.weight' is missing"));
  CHECK_THROWS_WITH(load({{"wte.weight", Tensor()}}), Contains("undefined"));
  CHECK_THROWS_AS(load({{"wte.weight", w}, {"head.weight", zeros({4, 10})}}), ShapeError);
  CHECK(sum(abs(to.wte.weight.detach())).item<float>() == 0);
}

TEST_CASE("a norm that is no number never leads to an unclipped step", "[nn][clip]") {
  const auto run = [](double in_gradient, double max_norm, auto make) {
    Tensor a = leaf_values({3}), b = leaf_values({2});
    a.set_grad(full({3}, 100.0, kDouble));
    b.set_grad(tensor<double>({1, in_gradient}, {2}));
    auto optimiser = make(std::vector<Tensor>{a, b});
    optimiser.step(0.1, nn::global_norm(std::vector<Tensor>{a, b}, max_norm).scale);
    Doubles all = elements_of(a);
    for (const double value : elements_of(b)) all.push_back(value);
    return all;
  };
  const auto sgd = [](const std::vector<Tensor>& p) { return nn::Sgd({{p, 0.0}}); };
  const auto adamw = [](const std::vector<Tensor>& p) { return nn::AdamW({{p, 0.0}}); };
  for (const double value : run(kNan, 1.0, sgd)) CHECK(std::isnan(value));
  for (const double value : run(kNan, 1.0, adamw)) CHECK(std::isnan(value));
  const Doubles a = elements_of(values({3})), b = elements_of(values({2}));
  const Doubles infinite = run(kInfinity, 1.0, sgd);
  for (std::size_t i = 0; i < 3; ++i) CHECK(infinite[i] == a[i]);
  CHECK(infinite[3] == b[0]);
  CHECK(std::isnan(infinite[4]));
  const Doubles unclipped = run(kNan, 0.0, sgd);  // no clipping asked for
  for (std::size_t i = 0; i < 3; ++i) CHECK(unclipped[i] == Approx(a[i] - 10));
  CHECK(std::isnan(unclipped[4]));

  Tensor w = leaf_values({2});
  for (const double bad : {kNan, kInfinity}) {
    w.set_grad(tensor<double>({1, bad}, {2}));
    CHECK_THROWS_WITH(nn::global_norm({&w, 1}, 1.0, true),
                      Contains("[global_norm] the norm of the gradients is"));
    CHECK_THROWS_AS(nn::global_norm({&w, 1}, 0.0, true), ValueError);
  }
  w.set_grad(tensor<double>({3, 4}, {2}));
  CHECK(nn::global_norm({&w, 1}, 1.0, true).scale.item<double>() == 0.2);
  CHECK_THROWS_AS(nn::global_norm({&w, 1}, -1.0), ValueError);
  CHECK_THROWS_AS(nn::global_norm({&w, 1}, kNan), ValueError);
  CHECK(nn::global_norm({&w, 1}, kInfinity).scale.item<double>() == 1);
}
