// Optimisers against their formulas in double, clipping, and schedules.
#include <cmath>
#include <limits>
#include <numbers>

#include "reprise/reprise.h"
#include "tape_support.h"

using namespace tape_test;

namespace {

constexpr int kSteps = 6;

/// Gradient of element i in step s: different everywhere, some zero.
double gradient_at(int s, std::size_t i) {
  return std::sin(1.0 + 0.7 * s + 1.3 * static_cast<double>(i)) * (i % 5 == 4 ? 0 : 1);
}

Tensor gradient_of(int s, const Tensor& parameter) {
  Doubles elements(static_cast<std::size_t>(parameter.numel()));
  for (std::size_t i = 0; i < elements.size(); ++i) elements[i] = gradient_at(s, i);
  return from_host<double>(elements, parameter.shape(), kDouble).to(parameter.dtype());
}

void check_close(const Tensor& tensor, const Doubles& expected) {
  const double tolerance = tensor.dtype() == DType::float64 ? 1e-13 : 2e-6;
  const Doubles elements = elements_of(tensor);
  REQUIRE(elements.size() == expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i)
    CHECK(std::abs(elements[i] - expected[i]) <= tolerance * std::max(1.0, std::abs(expected[i])));
}

Tensor parameter(const Shape& shape, DType dtype) {
  return values(shape, 0.3).to(dtype).set_requires_grad(true);
}

}  // namespace

TEST_CASE("nn::AdamW follows its formula over several steps", "[nn]") {
  const DType dtype = GENERATE(DType::float32, DType::float64);
  const double decay = GENERATE(0.0, 0.1);
  const double scale = GENERATE(1.0, 0.25);
  CAPTURE(dtype, decay, scale);
  const double beta1 = 0.8, beta2 = 0.95, eps = 1e-6;
  const Tensor weight = parameter({3, 11}, dtype);
  const Tensor bias = parameter({7}, dtype);
  nn::AdamW optimiser(nn::decay_matrices({weight, bias}, decay),
                      {.beta1 = beta1, .beta2 = beta2, .eps = eps});

  struct Reference {
    Tensor tensor;
    double decay;
    Doubles p = elements_of(tensor), m = Doubles(p.size()), v = Doubles(p.size());
  };
  std::vector<Reference> references{{weight, decay}, {bias, 0.0}};
  for (int s = 1; s <= kSteps; ++s) {
    const double lr = 0.05 / s;
    for (Reference& r : references) {
      r.tensor.set_grad(gradient_of(s, r.tensor));
      for (std::size_t i = 0; i < r.p.size(); ++i) {
        const double g = scale * gradient_at(s, i);
        r.m[i] = beta1 * r.m[i] + (1 - beta1) * g;
        r.v[i] = beta2 * r.v[i] + (1 - beta2) * g * g;
        const double mean = r.m[i] / (1 - std::pow(beta1, s));
        const double variance = r.v[i] / (1 - std::pow(beta2, s));
        r.p[i] -= lr * r.decay * r.p[i];
        r.p[i] -= lr * mean / (std::sqrt(variance) + eps);
      }
    }
    optimiser.step(lr, scale);
    for (const Reference& r : references) check_close(r.tensor, r.p);
  }
  CHECK(optimiser.state().size() == 4);
}

TEST_CASE("gradient descent follows its formula", "[nn]") {
  const DType dtype = GENERATE(DType::float32, DType::float64);
  const auto [momentum, nesterov] =
      GENERATE(std::pair{0.0, false}, std::pair{0.9, false}, std::pair{0.9, true});
  const double decay = GENERATE(0.0, 0.02);
  CAPTURE(dtype, momentum, nesterov, decay);
  Tensor weight = parameter({5, 7}, dtype);
  nn::Sgd optimiser({{.parameters = {weight}, .weight_decay = decay}},
                    {.momentum = momentum, .nesterov = nesterov});
  Doubles p = elements_of(weight);
  Doubles buffer(p.size());
  for (int s = 1; s <= kSteps; ++s) {
    const double lr = 0.1 / s;
    const double scale = s % 2 == 0 ? 0.5 : 1.0;
    weight.set_grad(gradient_of(s, weight));
    for (std::size_t i = 0; i < p.size(); ++i) {
      const double g = scale * gradient_at(s, i) + decay * p[i];
      buffer[i] = s == 1 ? g : momentum * buffer[i] + g;
      p[i] -= lr * (momentum == 0 ? g : nesterov ? g + momentum * buffer[i] : buffer[i]);
    }
    optimiser.step(lr, scale);
    check_close(weight, p);
  }
  CHECK(optimiser.state().size() == (momentum == 0 ? 0 : 1));
}

TEMPLATE_TEST_CASE("parameters without a gradient are left alone", "[nn]", nn::AdamW, nn::Sgd) {
  Tensor used = parameter({4}, DType::float64);
  Tensor idle = parameter({4}, DType::float64);
  TestType optimiser({{.parameters = {used, idle}, .weight_decay = 0.1}});
  const auto before = bits_of(idle);
  const std::uint32_t version = idle.version();
  for (int s = 0; s < 3; ++s) {
    used.set_grad(gradient_of(1, used));
    optimiser.step(0.1);
  }
  CHECK(bits_of(idle) == before);
  CHECK(idle.version() == version);
  optimiser.zero_grad();
  CHECK_FALSE(used.grad().defined());

  // One that joins late starts as if it were new.
  Tensor fresh = parameter({4}, DType::float64);
  TestType other({{.parameters = {fresh}, .weight_decay = 0.1}});
  for (Tensor* tensor : {&idle, &fresh}) tensor->set_grad(gradient_of(2, *tensor));
  optimiser.step(0.1);
  other.step(0.1);
  CHECK(bits_of(idle) == bits_of(fresh));
}

TEST_CASE("optimisers take leaves only and book their state", "[nn]") {
  const Tensor x = leaf_values({3, 3});
  CHECK_THROWS_AS(nn::AdamW({{.parameters = {x * 2.0}}}), TapeError);
  CHECK_THROWS_AS(nn::Sgd({{.parameters = {x * 2.0}}}), TapeError);
  const auto booked = [] { return current_pool().statistics().of(Category::optimiser).requested.current; };
  const std::int64_t before = booked();
  const nn::AdamW adamw({{.parameters = {x}}});
  CHECK(booked() - before == 2 * 9 * 8);
}

TEST_CASE("decay_matrices spares biases and norms", "[nn]") {
  const std::vector<nn::ParameterGroup> groups =
      nn::decay_matrices({leaf_values({2, 3}), leaf_values({3}), leaf_values({2, 1, 3, 3}), leaf(1.0)}, 0.1);
  REQUIRE(groups.size() == 2);
  CHECK(groups[0].weight_decay == 0.1);
  CHECK(groups[1].weight_decay == 0.0);
  CHECK(groups[0].parameters.size() == 2);
  CHECK(groups[1].parameters.size() == 2);
}

TEST_CASE("the norm of all gradients is clipped", "[nn]") {
  std::vector<Tensor> parameters{parameter({33}, DType::float32), parameter({2, 5}, DType::float64),
                                 parameter({3}, DType::float32)};
  CHECK(nn::gradient_norm(parameters) == 0);
  double squares = 0;
  for (std::size_t p = 0; p < 2; ++p) {  // the last has none
    parameters[p].set_grad(gradient_of(3, parameters[p]));
    for (std::size_t i = 0; i < static_cast<std::size_t>(parameters[p].numel()); ++i)
      squares += std::pow(gradient_at(3, i), 2);
  }
  CHECK(nn::gradient_norm(parameters) == Approx(std::sqrt(squares)).epsilon(1e-6));
  const nn::GlobalNorm clipped = nn::global_norm(parameters, 0.5 * std::sqrt(squares));
  CHECK(clipped.norm.item<double>() == Approx(std::sqrt(squares)).epsilon(1e-6));
  CHECK(clipped.scale.item<double>() == Approx(0.5).epsilon(1e-6));
}

TEST_CASE("schedules", "[nn]") {
  using Kind = nn::Schedule::Kind;
  const nn::Schedule constant{.kind = Kind::constant, .lr = 0.5, .warmup = 4};
  for (const auto& [step, lr] : {std::pair{0, 0.125}, {1, 0.25}, {3, 0.5}, {4, 0.5}, {1000, 0.5}})
    CHECK(constant.at(step) == Approx(lr));

  const nn::Schedule falling{.kind = Kind::step, .lr = 1.0, .step_every = 10, .step_factor = 0.1};
  for (const auto& [step, lr] : {std::pair{0, 1.0}, {9, 1.0}, {10, 0.1}, {19, 0.1}, {25, 0.01}})
    CHECK(falling.at(step) == Approx(lr));

  const nn::Schedule cosine{.kind = Kind::cosine, .lr = 1.0, .min_lr = 0.2, .warmup = 10, .total = 110};
  for (const auto& [step, lr] : {std::pair{0, 0.1}, {9, 1.0}, {10, 1.0}, {60, 0.6}, {110, 0.2}, {1000, 0.2}})
    CHECK(cosine.at(step) == Approx(lr));
  CHECK(cosine.at(35) == Approx(0.2 + 0.4 * (1 + std::cos(std::numbers::pi / 4))));
  const nn::Schedule plain;
  CHECK(plain.at(0) == plain.lr);

  const double inf = std::numeric_limits<double>::infinity();
  const std::pair<nn::Schedule, const char*> wrong[] = {
      {{.warmup = -1}, "warmup -1"},
      {{.kind = Kind::cosine, .total = -1}, "total -1"},
      {{.kind = Kind::step, .step_every = 0}, "step_every 0"},
      {{.lr = inf}, "lr inf"},
      {{.min_lr = std::nan("")}, "min_lr nan"},
      {{.step_factor = -inf}, "step_factor -inf"}};
  for (const auto& [schedule, what] : wrong)
    CHECK_THROWS_WITH(schedule.at(0), Contains("[schedule] ") && Contains(what));
  CHECK_THROWS_WITH(plain.at(-1), Contains("[schedule] step -1"));
}

TEST_CASE("16-bit parameters are rounded from a float32 copy that steps too small for them add up in",
          "[nn]") {
  Tensor parameter = ones({8}, {.dtype = DType::bfloat16}).set_requires_grad(true);
  nn::Sgd sgd({{{parameter}, 0.0}});
  for (int i = 0; i < 64; ++i) {
    parameter.set_grad(ones({8}, {.dtype = DType::bfloat16}));
    sgd.step(1e-3);  // a bfloat16 near 1 cannot hold 1 - 1e-3
  }
  for (const float value : parameter.to_vector<float>()) CHECK(value == Approx(1 - 0.064).epsilon(4e-3));
  CHECK(sgd.state().size() == 1);
  Tensor other = ones({8}, {.dtype = DType::float16}).set_requires_grad(true);
  nn::AdamW adamw({{{other}, 0.0}});
  for (int i = 0; i < 64; ++i) {
    other.set_grad(ones({8}, {.dtype = DType::float16}));
    adamw.step(1e-4);
  }
  for (const float value : other.to_vector<float>()) CHECK(value == Approx(1 - 0.0064).epsilon(1e-3));
  CHECK(adamw.state().size() == 3);
}

TEST_CASE("rates that are set ahead give the bits of a plain step", "[nn]") {
  const auto train = [](bool ahead) {
    manual_seed(4);
    Tensor first = randn({5}).set_requires_grad(true), second = randn({7}).set_requires_grad(true);
    nn::AdamW optimiser({{{first, second}, 0.1}});
    for (int i = 0; i < 4; ++i) {
      first.set_grad(full({5}, 0.5 + i));
      if (i > 0) second.set_grad(full({7}, 0.25 * i));  // joins late
      const nn::GlobalNorm norm = nn::global_norm(std::vector<Tensor>{first, second}, 1.0);
      if (ahead) {
        optimiser.set_rates(0.01 / (i + 1));
        optimiser.step_with_rates(norm.scale);
      } else {
        optimiser.step(0.01 / (i + 1), norm.scale);
      }
    }
    return nn::digest(std::vector<Tensor>{first, second});
  };
  CHECK(train(true) == train(false));
  Tensor parameter = ones({2}).set_requires_grad(true);
  nn::AdamW optimiser({{{parameter}, 0.0}});
  parameter.set_grad(ones({2}));
  CHECK_THROWS_AS(optimiser.step_with_rates({}), TapeError);
}

TEST_CASE("rates that were set ahead are for the parameters that had a gradient then", "[nn][optim]") {
  Tensor a = ones({1}).set_requires_grad(true), b = ones({1}).set_requires_grad(true);
  nn::AdamW optimiser({{{a, b}, 0.0}});
  const auto only = [&](bool of_a, bool of_b) {
    a.set_grad(of_a ? ones({1}) : Tensor());
    b.set_grad(of_b ? ones({1}) : Tensor());
  };
  only(true, false);
  for (int i = 0; i < 50; ++i) optimiser.step(0.0);
  std::vector<Tensor> all = optimiser.state();
  all.insert(all.end(), {a, b});
  const auto refused = [&](const char* what) {
    const std::string before = nn::digest(all);
    CHECK_THROWS_WITH(optimiser.step_with_rates({}), Contains("[AdamW] step_with_rates: ") && Contains(what));
    CHECK(nn::digest(all) == before);
  };
  a.set_name("a");
  b.set_name("b");
  optimiser.set_rates(0.1);
  only(false, true);  // as many as before
  refused("'a' (1) has no gradient, but had one");
  only(true, true);
  refused("'b' (1) has a gradient, but had none");
  only(false, false);
  refused("'a' (1) has no gradient");
  only(true, false);
  optimiser.step_with_rates({});
  optimiser.step_with_rates({});  // again, as a captured graph is warmed up
  optimiser.step(0.1);
  refused("has taken another step");
  only(false, true);
  optimiser.set_rates(0.1);
  optimiser.step_with_rates({});
  CHECK(b.item<float>() == Approx(0.9));  // the first step of AdamW is the learning rate
}

TEMPLATE_TEST_CASE("an optimiser moves, and is never copied", "[nn][optim]", nn::AdamW, nn::Sgd) {
  STATIC_REQUIRE_FALSE(std::is_copy_constructible_v<TestType>);
  STATIC_REQUIRE_FALSE(std::is_copy_assignable_v<TestType>);
  const auto train = [](bool move) {
    Tensor weight = parameter({5}, DType::bfloat16);
    TestType optimiser({{{weight}, 0.1}});
    for (int s = 1; s <= kSteps; ++s) {
      weight.set_grad(gradient_of(s, weight));
      if (move) {
        optimiser.set_rates(0.1);
        TestType moved = std::move(optimiser);
        moved.step_with_rates({});
        optimiser = std::move(moved);
      } else {
        optimiser.step(0.1);
      }
    }
    std::vector<Tensor> all = optimiser.state();
    all.push_back(weight);
    return nn::digest(all);
  };
  CHECK(train(true) == train(false));
}

TEST_CASE("an optimiser follows 16-bit parameters that are changed between its steps", "[nn][optim]") {
  Tensor p = tensor<float>({1, 1, 1}, {3}).to(DType::bfloat16).set_requires_grad(true);
  nn::Sgd sgd({{{p}, 0.0}});
  const auto step = [&] {
    p.set_grad(full({3}, 0.001, {.dtype = DType::bfloat16}));
    sgd.step(1.0);
    return p.detach().to(DType::float32).to_vector<float>();
  };
  step();
  {
    const NoGrad no_grad;
    slice(p, 0, 1, 2).fill_(3);  // the others keep the digits that bfloat16 has no room for
  }
  for (int i = 0; i < 8; ++i) step();
  const auto elements = step();
  CHECK(elements[0] == Approx(0.9900).margin(0.002));
  CHECK(elements[1] == Approx(2.9910).margin(0.009));
  CHECK(elements[2] == elements[0]);
}
