// NaN and infinities, and what else sits at the edge: values and gradients as PyTorch has them.
#include "tape_support.h"

#include <limits>

#include "reprise/kernels/dtype.h"

using namespace tape_test;

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr DType kFloatTypes[] = {DType::float32, DType::float64, DType::bfloat16, DType::float16};

/// Equal, NaN being equal to itself; elements as doubles.
bool same(const Tensor& found, const Doubles& expected) {
  const Doubles elements = found.to(DType::float64).to_vector<double>();
  bool equal = elements.size() == expected.size();
  for (std::size_t i = 0; equal && i < expected.size(); ++i)
    equal = std::isnan(expected[i]) ? std::isnan(elements[i]) : elements[i] == expected[i];
  if (!equal) UNSCOPED_INFO("found " << to_string(found));
  return equal;
}

Tensor leaf_of(const Doubles& elements, const Shape& shape, DType dtype) {
  return tensor<double>(elements, shape).to(dtype).detach().set_requires_grad(true);
}

struct UnaryCase {
  const char* name;
  Tensor (*function)(Tensor);
  Doubles value, derivative;  // at NaN, inf, -inf, largest, lowest
};

}  // namespace

TEST_CASE("elementwise functions of NaN, infinities and the largest numbers", "[non-finite]") {
  const NothingLeft check;
  const UnaryCase cases[] = {
      {"neg", neg, {kNaN, -kInfinity, kInfinity}, {-1, -1, -1}},
      {"abs", abs, {kNaN, kInfinity, kInfinity}, {0, 1, -1}},
      {"exp", exp, {kNaN, kInfinity, 0, kInfinity, 0}, {kNaN, kInfinity, 0, kInfinity, 0}},
      {"log", log, {kNaN, kInfinity, kNaN}, {kNaN, 0, 0}},
      {"sqrt", sqrt, {kNaN, kInfinity, kNaN}, {kNaN, 0, kNaN}},
      {"rsqrt", rsqrt, {kNaN, 0, kNaN}, {kNaN, 0, kNaN}},
      {"square", square, {kNaN, kInfinity, kInfinity}, {kNaN, kInfinity, -kInfinity}},
      {"reciprocal", reciprocal, {kNaN, 0, 0}, {kNaN, 0, 0}},
      {"tanh", tanh, {kNaN, 1, -1, 1, -1}, {kNaN, 0, 0, 0, 0}},
      {"sigmoid", sigmoid, {kNaN, 1, 0, 1, 0}, {kNaN, 0, 0, 0, 0}},
      {"sin", sin, {kNaN, kNaN, kNaN}, {kNaN, kNaN, kNaN}},
      {"cos", cos, {kNaN, kNaN, kNaN}, {kNaN, kNaN, kNaN}},
      {"relu", relu, {kNaN, kInfinity, 0}, {1, 1, 0, 1, 0}},
      {"gelu", gelu, {kNaN, kInfinity, kNaN}, {kNaN, kNaN, kNaN, 1, 0}},
      {"gelu_erf", gelu_erf, {kNaN, kInfinity, kNaN}, {kNaN, kNaN, kNaN, 1, 0}},
      {"silu", silu, {kNaN, kInfinity, kNaN}, {kNaN, kNaN, kNaN, 1, 0}},
  };
  for (const DType dtype : kFloatTypes) {
    const double largest = dtype == DType::float16 ? 65504 : 1e38;
    for (const UnaryCase& c : cases) {
      CAPTURE(c.name, name_of(dtype));
      const Doubles inputs = {kNaN, kInfinity, -kInfinity, largest, -largest};
      const auto first = [&](std::size_t n) {
        return Doubles(inputs.begin(), inputs.begin() + static_cast<std::ptrdiff_t>(n));
      };
      const auto run = [&](std::size_t n) {
        const Tensor x = leaf_of(first(n), {static_cast<std::int64_t>(n)}, dtype);
        const Tensor y = c.function(x);
        y.backward(ones(x.shape(), {.dtype = dtype}));
        return std::pair(y.detach(), x.grad());
      };
      CHECK(same(run(c.value.size()).first, c.value));
      CHECK(same(run(c.derivative.size()).second, c.derivative));
      // In a long tensor too, where elements are taken many at a time.
      Doubles many;
      for (int i = 0; i < 67; ++i) many.insert(many.end(), inputs.begin(), inputs.begin() + 3);
      const Tensor x = leaf_of(many, {static_cast<std::int64_t>(many.size())}, dtype);
      const Tensor y = c.function(x);
      y.backward(ones(x.shape(), {.dtype = dtype}));
      Doubles value, derivative;
      for (std::size_t i = 0; i < many.size(); ++i) {
        value.push_back(c.value[i % 3]);
        derivative.push_back(c.derivative[i % 3]);
      }
      CHECK(same(y, value));
      CHECK(same(x.grad(), derivative));
    }
  }
}

TEST_CASE("maximum and minimum pass NaN on, forward and backward", "[non-finite]") {
  const NothingLeft check;
  struct Case {
    double a, b, largest, to_a, to_b;
  };
  const Case cases[] = {{kNaN, 1, kNaN, 1, 1},
                        {1, kNaN, kNaN, 1, 1},
                        {kNaN, kNaN, kNaN, 1, 1},
                        {kInfinity, kInfinity, kInfinity, 0.5, 0.5},
                        {-kInfinity, kInfinity, kInfinity, 0, 1},
                        {kInfinity, kNaN, kNaN, 1, 1},
                        {2, 2, 2, 0.5, 0.5},
                        {3, 2, 3, 1, 0},
                        {1, 2, 2, 0, 1}};
  for (const DType dtype : kFloatTypes) {
    for (const Case& c : cases) {
      CAPTURE(name_of(dtype), c.a, c.b);
      for (const double sign : {1.0, -1.0}) {  // min(-a, -b) is -max(a, b)
        const Tensor a = leaf_of(Doubles(35, sign * c.a), {35}, dtype);
        const Tensor b = leaf_of(Doubles(35, sign * c.b), {35}, dtype);
        const Tensor y = sign > 0 ? maximum(a, b) : minimum(a, b);
        y.backward(ones({35}, {.dtype = dtype}));
        CHECK(same(y, Doubles(35, sign * c.largest)));
        CHECK(same(a.grad(), Doubles(35, c.to_a)));
        CHECK(same(b.grad(), Doubles(35, c.to_b)));
      }
    }
  }
}

TEST_CASE("the largest of NaNs is NaN, and they share its gradient", "[non-finite]") {
  const NothingLeft check;
  struct Case {
    Doubles x;
    double largest;
    Doubles gradient;
  };
  const Case cases[] = {{{1, kNaN, 3, kNaN}, kNaN, {0, 0.5, 0, 0.5}},
                        {{kNaN, kInfinity, 1, 2}, kNaN, {1, 0, 0, 0}},
                        {{kInfinity, 1, kInfinity, 0}, kInfinity, {0.5, 0, 0.5, 0}},
                        {Doubles(4, -kInfinity), -kInfinity, Doubles(4, 0.25)}};
  for (const DType dtype : kFloatTypes) {
    for (const Case& c : cases) {
      CAPTURE(name_of(dtype), c.x);
      for (const int axis : {0, 1}) {
        const Tensor x = leaf_of(c.x, axis == 0 ? Shape{4, 1} : Shape{1, 4}, dtype);
        const Tensor y = max(x, {axis});
        y.backward(ones({1}, {.dtype = dtype}));
        CHECK(same(y, {c.largest}));
        CHECK(same(x.grad(), c.gradient));
      }
    }
  }
}

TEST_CASE("relu inside batch norm passes NaN's gradient on", "[non-finite]") {
  const NothingLeft check;
  const Tensor weight = leaf({1}, {1}), bias = leaf({0}, {1});
  const Tensor x = leaf({kNaN, 1, -1, kInfinity, -kInfinity}, {5, 1});
  const Tensor y = batch_norm_fixed(x, weight, bias, zeros({1}, kDouble), ones({1}, kDouble), 0, true);
  y.backward(ones({5, 1}, kDouble));
  CHECK(same(y, {kNaN, 1, 0, kInfinity, 0}));
  CHECK(same(x.grad(), {1, 1, 0, 1, 0}));
  CHECK(same(bias.grad(), {3}));
}

TEST_CASE("softmax and cross entropy of NaN and infinities", "[non-finite]") {
  const NothingLeft check;
  const Doubles rows = {kNaN, 0,          1,          kInfinity, 0,          1,          -kInfinity, 0,
                        0,    -kInfinity, -kInfinity, 2,         -kInfinity, -kInfinity, -kInfinity};
  const Doubles p = {kNaN, kNaN, kNaN, kNaN, kNaN, kNaN, 0, 0.5, 0.5, 0, 0, 1, kNaN, kNaN, kNaN};
  for (const DType dtype : kFloatTypes) {
    CAPTURE(name_of(dtype));
    const Tensor x = leaf_of(rows, {5, 3}, dtype);
    CHECK(same(softmax(x), p));
    const Doubles logarithms = log_softmax(x).to(DType::float64).to_vector<double>();
    for (std::size_t i = 0; i < p.size(); ++i) {
      CAPTURE(i);
      if (std::isnan(p[i]))
        CHECK(std::isnan(logarithms[i]));
      else
        CHECK(logarithms[i] == Approx(std::log(p[i])).epsilon(0.01));
    }
    const Tensor targets = tensor<std::int64_t>({1, 1, 1, 2, 1}, {5});
    const Tensor loss = cross_entropy(x, targets, Reduction::none);
    loss.backward(ones({5}, {.dtype = loss.dtype()}));
    const Doubles losses = loss.to(DType::float64).to_vector<double>();
    CHECK((std::isnan(losses[0]) && std::isnan(losses[1]) && std::isnan(losses[4])));
    CHECK(losses[2] == Approx(std::log(2.0)).epsilon(0.01));
    CHECK(losses[3] == 0);
    Doubles gradient = p;
    gradient[7] = -0.5;
    gradient[11] = 0;
    CHECK(same(x.grad(), gradient));
  }
}

TEST_CASE("dropout may drop everything", "[non-finite]") {
  const NothingLeft check;
  for (const DType dtype : kFloatTypes) {
    const Tensor x = leaf_of({kNaN, kInfinity, 1, -2}, {4}, dtype);
    const Tensor y = dropout(x, 1.0);
    y.backward(ones({4}, {.dtype = dtype}));
    CHECK(same(y, Doubles(4, 0)));
    CHECK(same(x.grad(), Doubles(4, 0)));
  }
  const Tensor q = leaf_values({1, 2, 5, 3}), k = leaf_values({1, 2, 5, 3}, 0.2),
               v = leaf_values({1, 2, 5, 3}, 0.3);
  for (const auto& attend : {attention, composed_attention}) {
    const Tensor out = attend(q, k, v, {.dropout = 1});
    sum(out).backward();
    CHECK(same(out, Doubles(30, 0)));
    for (const Tensor& x : {q, k, v}) CHECK(same(x.grad(), Doubles(30, 0)));
  }
  CHECK(same(dropout(leaf_values({4}), 1.0, false), elements_of(values({4}))));
  for (const double p : {-0.1, 1.0000001, kNaN}) {
    CHECK_THROWS_WITH(dropout(zeros({2}), p), Contains("[dropout] probability"));
    CHECK_THROWS_WITH(attention(q, k, v, {.dropout = p}), Contains("[attention] dropout"));
  }
}

TEST_CASE("reductions over nothing", "[non-finite]") {
  const NothingLeft check;
  for (const DType dtype : kFloatTypes) {
    CAPTURE(name_of(dtype));
    for (const Shape& shape : {Shape{0, 3}, Shape{3, 0}}) {
      const int empty = shape[0] == 0 ? 0 : 1;
      const Tensor x = zeros(shape, {.dtype = dtype}).set_requires_grad(true);
      CHECK(same(sum(x, {empty}), Doubles(3, 0)));
      CHECK(same(sum(x), {0}));
      CHECK(same(mean(x, {empty}), Doubles(3, kNaN)));
      CHECK(same(mean(x), {kNaN}));
      CHECK_THROWS_WITH(max(x, {empty}), Contains("[max] axis " + std::to_string(empty) + " of " +
                                                  to_string(shape) + " is empty"));
      CHECK_THROWS_AS(max(x), ShapeError);
      CHECK_THROWS_AS(max(x, {0, 1}, true), ShapeError);
      CHECK_THROWS_WITH(argmax(x, empty), Contains("[argmax] axis " + std::to_string(empty)));
      CHECK(max(x, {1 - empty}).shape() == Shape{0});
      CHECK(argmax(x, 1 - empty).shape() == Shape{0});
      mean(x).backward();
      CHECK(x.grad().shape() == shape);
    }
  }
}

TEST_CASE("cross entropy without classes", "[non-finite]") {
  const NothingLeft check;
  const Tensor x = zeros({3, 0}, kDouble).set_requires_grad(true);
  const Tensor ignored = full({3}, -100, {.dtype = DType::int64});
  const Tensor losses = cross_entropy(x, ignored, Reduction::none);
  CHECK(same(losses, Doubles(3, 0)));
  sum(losses).backward();
  CHECK(x.grad().shape() == x.shape());
  CHECK(same(cross_entropy(x, ignored), {kNaN}));
  CHECK_THROWS_WITH(cross_entropy(x, arange(3)), Contains("target 0 is outside [0, 0)"));
}

TEST_CASE("the transpose of a scalar is the scalar", "[non-finite]") {
  const NothingLeft check;
  const Tensor x = leaf(2.5);
  for (const int a : {0, -1}) {
    for (const int b : {0, -1}) CHECK(transpose(x, a, b).item<double>() == 2.5);
  }
  transpose(x, 0, -1).backward();
  CHECK(x.grad().item<double>() == 1);
  CHECK_THROWS_WITH(transpose(x, 0, 1),
                    Contains("[transpose] axis 1 of a tensor without axes; give 0 or -1"));
  CHECK_THROWS_AS(transpose(x, -2, 0), ShapeError);
}

TEST_CASE("an empty list (0) goes with tensors of any rank", "[non-finite]") {
  const NothingLeft check;
  for (const std::size_t place : {0u, 1u, 2u}) {
    for (const int axis : {0, 1, -1}) {
      CAPTURE(place, axis);
      const Tensor a = leaf_values({2, 3}), b = leaf_values({2, 3}, 0.4), nothing = leaf_values({0});
      std::vector<Tensor> parts = {a, b};
      parts.insert(parts.begin() + static_cast<std::ptrdiff_t>(place), nothing);
      const Tensor joined = concatenate(parts, axis);
      CHECK(bits_of(joined) == bits_of(concatenate({a, b}, axis)));
      sum(joined * joined).backward();
      CHECK(bits_of(a.grad()) == bits_of(a.detach() * 2));
      CHECK(bits_of(b.grad()) == bits_of(b.detach() * 2));
      CHECK(nothing.grad().shape() == Shape{0});
    }
  }
  CHECK(concatenate({zeros({0}), zeros({0})}, 0).shape() == Shape{0});
  CHECK(concatenate({zeros({0}), ones({2})}, -1).shape() == Shape{2});
  std::vector<Tensor> many(40, zeros({0}));
  many.push_back(ones({2, 3}));
  CHECK(concatenate(many, 1).shape() == Shape{2, 3});
  CHECK_THROWS_AS(concatenate({zeros({0}), zeros({0})}, 1), ShapeError);
  CHECK_THROWS_AS(concatenate({zeros({0}), ones({2, 3})}, 2), ShapeError);
  CHECK_THROWS_WITH(concatenate({zeros({0}, kDouble), ones({2, 3})}, 0), Contains("dtypes differ"));
  CHECK_THROWS_WITH(concatenate({zeros({0, 3}), ones({2, 4})}, 0), Contains("does not fit"));
}
