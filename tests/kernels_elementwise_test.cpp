// The elementwise kernels against formulas in double, and derivatives against central differences.
#include <catch2/catch.hpp>
#include <cmath>
#include <functional>
#include <limits>
#include <string>

#include "kernel_array.h"
#include "reprise/error.h"
#include "reprise/kernels/elementwise.h"
#include "reprise/kernels/threads.h"

using namespace reprise;
using namespace reprise::kernels;

namespace {

using Sizes = KernelArray::Sizes;

const std::vector<Sizes> kSizes = {
    {}, {0}, {1}, {31}, {32}, {33}, {3, 0}, {17, 19}, {2, 3, 5, 7}, {4, 1, 6, 1}, {1, 2, 1, 1300}, {2100, 3}};

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

double gelu_tanh(double x) {
  return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}

struct UnaryCase {
  const char* name;
  Unary function;
  double alpha;
  std::function<double(double)> value;
  double low, high;
  bool integers = false;
  bool kink_at_zero = false;
};

const std::vector<UnaryCase>& unary_cases() {
  static const std::vector<UnaryCase> cases = {
      {"neg", Unary::neg, 0, [](double x) { return -x; }, -9, 9, true},
      {"abs", Unary::abs, 0, [](double x) { return std::fabs(x); }, -9, 9, true, true},
      {"exp", Unary::exp, 0, [](double x) { return std::exp(x); }, -5, 5},
      {"log", Unary::log, 0, [](double x) { return std::log(x); }, 0.3, 9},
      {"sqrt", Unary::sqrt, 0, [](double x) { return std::sqrt(x); }, 0.3, 9},
      {"rsqrt", Unary::rsqrt, 0, [](double x) { return 1 / std::sqrt(x); }, 0.3, 9},
      {"square", Unary::square, 0, [](double x) { return x * x; }, -9, 9, true},
      {"reciprocal", Unary::reciprocal, 0, [](double x) { return 1 / x; }, 0.3, 9},
      {"tanh", Unary::tanh, 0, [](double x) { return std::tanh(x); }, -3, 3},
      {"sigmoid", Unary::sigmoid, 0, [](double x) { return 1 / (1 + std::exp(-x)); }, -6, 6},
      {"relu", Unary::relu, 0, [](double x) { return x > 0 ? x : 0; }, -9, 9, true, true},
      {"gelu_tanh", Unary::gelu_tanh, 0, gelu_tanh, -6, 6},
      {"gelu_erf", Unary::gelu_erf, 0, [](double x) { return 0.5 * x * (1 + std::erf(x / M_SQRT2)); }, -6, 6},
      {"silu", Unary::silu, 0, [](double x) { return x / (1 + std::exp(-x)); }, -6, 6},
      {"sin", Unary::sin, 0, [](double x) { return std::sin(x); }, -6, 6},
      {"cos", Unary::cos, 0, [](double x) { return std::cos(x); }, -6, 6},
      {"add_scalar", Unary::add_scalar, 3, [](double x) { return x + 3; }, -9, 9, true},
      {"mul_scalar", Unary::mul_scalar, -2, [](double x) { return x * -2; }, -9, 9, true},
      {"pow 2", Unary::pow_scalar, 2, [](double x) { return x * x; }, -3, 3},
      {"pow 3", Unary::pow_scalar, 3, [](double x) { return x * x * x; }, -3, 3},
      {"pow 1", Unary::pow_scalar, 1, [](double x) { return x; }, 0.3, 3},
      {"pow 0", Unary::pow_scalar, 0, [](double) { return 1.0; }, 0.3, 3},
      {"pow -1.7", Unary::pow_scalar, -1.7, [](double x) { return std::pow(x, -1.7); }, 0.3, 3},
  };
  return cases;
}

struct BinaryCase {
  const char* name;
  Binary function;
  std::function<double(double, double)> value;
  bool integers = true;
};

const std::vector<BinaryCase>& binary_cases() {
  static const std::vector<BinaryCase> cases = {
      {"add", Binary::add, [](double a, double b) { return a + b; }},
      {"sub", Binary::sub, [](double a, double b) { return a - b; }},
      {"mul", Binary::mul, [](double a, double b) { return a * b; }},
      {"div", Binary::div, [](double a, double b) { return a / b; }},
      {"pow", Binary::pow, [](double a, double b) { return std::pow(a, b); }, false},
      {"maximum", Binary::maximum, [](double a, double b) { return std::max(a, b); }},
      {"minimum", Binary::minimum, [](double a, double b) { return std::min(a, b); }},
  };
  return cases;
}

/// The largest |got - expected| / (1 + |expected|); NaN agrees with NaN, infinities must be equal.
double distance(double got, double expected) {
  if (std::isnan(got) || std::isnan(expected)) return std::isnan(got) == std::isnan(expected) ? 0 : kInfinity;
  if (std::isinf(got) || std::isinf(expected)) return got == expected ? 0 : kInfinity;
  return std::fabs(got - expected) / (1 + std::fabs(expected));
}

template <class F>
double largest_distance(const KernelArray& got, F&& expected) {
  double worst = 0;
  for (std::int64_t i = 0; i < got.numel(); ++i) worst = std::max(worst, distance(got[i], expected(i)));
  return worst;
}

double tolerance(DType dtype) { return 8 * epsilon_of(dtype); }

/// Integers that are never 0, for operands of a division.
double nonzero_integer(std::int64_t i) { return static_cast<double>(i % 7 + 1) * (i % 2 == 0 ? 1 : -1); }

const Queue kQueue;

}  // namespace

TEST_CASE("unary functions equal their formulas for every dtype, size and placement") {
  for (const UnaryCase& test : unary_cases()) {
    for (const DType dtype : kAllTypes) {
      if (dtype == DType::boolean || (!is_floating(dtype) && !test.integers)) continue;
      for (const Sizes& sizes : kSizes) {
        for (const Placement from : kPlacements) {
          for (const Placement to : kPlacements) {
            KernelArray x(dtype, sizes, from), y(dtype, sizes, to);
            x.fill_uniform(test.low, test.high, 1);
            unary_forward(kQueue, test.function, test.alpha, x.view(), y.view());
            CAPTURE(test.name, name_of(dtype), sizes, static_cast<int>(from), static_cast<int>(to));
            CHECK(largest_distance(y, [&](std::int64_t i) { return test.value(x[i]); }) <= tolerance(dtype));
            CHECK(y.guards_intact());
          }
        }
      }
    }
  }
}

TEST_CASE("unary derivatives equal central differences, written and added") {
  for (const UnaryCase& test : unary_cases()) {
    for (const DType dtype : kFloatingTypes) {
      for (const Sizes& sizes : kSizes) {
        for (const Placement placement : kPlacements) {
          KernelArray x(dtype, sizes, placement), y(dtype, sizes), dy(dtype, sizes, placement);
          KernelArray dx(dtype, sizes, placement), sum(dtype, sizes);
          x.fill_uniform(test.low, test.high, 2);
          if (test.kink_at_zero) x.fill([&](std::int64_t i) { return std::fabs(x[i]) < 0.1 ? 0.5 : x[i]; });
          dy.fill_uniform(-2, 2, 3);
          sum.fill_uniform(-2, 2, 4);
          const std::vector<double> before = sum.values();
          unary_forward(kQueue, test.function, test.alpha, x.view(), y.view());

          const Reads reads = derivative_reads(test.function);
          const ConstView read_x = reads == Reads::input ? x.view() : View{};
          const ConstView read_y = reads == Reads::output ? y.view() : View{};
          unary_backward(kQueue, test.function, test.alpha, read_x, read_y, dy.view(), {dx.view()});
          unary_backward(kQueue, test.function, test.alpha, read_x, read_y, dy.view(),
                         {sum.view(), Write::accumulate});

          const auto expected = [&](std::int64_t i) {
            const double h = 1e-5;
            return dy[i] * (test.value(x[i] + h) - test.value(x[i] - h)) / (2 * h);
          };
          // A derivative that reads the output sees that rounded.
          const double bound = 8 * tolerance(dtype) + 1e-8;
          CAPTURE(test.name, name_of(dtype), sizes, static_cast<int>(placement));
          CHECK(largest_distance(dx, expected) <= bound);
          CHECK(largest_distance(sum, [&](std::int64_t i) {
                  return before[static_cast<std::size_t>(i)] + expected(i);
                }) <= bound);
          CHECK(dx.guards_intact());
          CHECK(sum.guards_intact());
        }
      }
    }
  }
}

TEST_CASE("a tensor is scaled by a number of the device, written and added") {
  for (const DType dtype : kFloatingTypes) {
    for (const Sizes& sizes : kSizes) {
      for (const Placement placement : kPlacements) {
        KernelArray x(dtype, sizes, placement), y(dtype, sizes, placement), sum(dtype, sizes);
        KernelArray factor(dtype == DType::float64 ? DType::float64 : DType::float32, {});
        x.fill_uniform(-2, 2, 2);
        sum.fill_uniform(-2, 2, 3);
        factor.fill([](std::int64_t) { return -0.375; });
        const std::vector<double> before = sum.values();
        scale(kQueue, x.view(), factor.view(), {y.view()});
        scale(kQueue, x.view(), factor.view(), {sum.view(), Write::accumulate});
        CAPTURE(name_of(dtype), sizes, static_cast<int>(placement));
        CHECK(largest_distance(y, [&](std::int64_t i) { return -0.375 * x[i]; }) <= tolerance(dtype));
        CHECK(largest_distance(sum, [&](std::int64_t i) {
                return before[static_cast<std::size_t>(i)] - 0.375 * x[i];
              }) <= 2 * tolerance(dtype));
        CHECK(y.guards_intact());
        CHECK(sum.guards_intact());
      }
    }
  }
}

TEST_CASE("binary functions equal their formulas, with broadcast operands") {
  const Sizes full = {5, 1, 33, 12};
  const std::vector<Sizes> operands = {full,         {5, 1, 33, 1},  {1, 1, 1, 12},
                                       {1, 1, 1, 1}, {1, 1, 33, 12}, {5, 1, 1, 1}};
  for (const BinaryCase& test : binary_cases()) {
    for (const DType dtype : kAllTypes) {
      if (dtype == DType::boolean || (!is_floating(dtype) && !test.integers)) continue;
      for (const Sizes& small : operands) {
        for (const Placement placement : kPlacements) {
          KernelArray a(dtype, full, placement), b(dtype, small, placement), y(dtype, full, placement);
          a.fill_uniform(0.5, 4, 5);
          b.fill_uniform(0.5, 4, 6);
          if (!is_floating(dtype)) {
            a.fill(nonzero_integer);
            b.fill(nonzero_integer);
          }
          const ConstView wide = b.broadcast(full);
          const auto value = [&](double p, double q) {
            const double result = test.value(p, q);
            return is_floating(dtype) ? result : std::trunc(result);
          };
          CAPTURE(test.name, name_of(dtype), small, static_cast<int>(placement));
          binary_forward(kQueue, test.function, a.view(), wide, y.view());
          CHECK(largest_distance(y, [&](std::int64_t i) { return value(a[i], KernelArray::get(wide, i)); }) <=
                tolerance(dtype));
          binary_forward(kQueue, test.function, wide, a.view(), y.view());
          CHECK(largest_distance(y, [&](std::int64_t i) { return value(KernelArray::get(wide, i), a[i]); }) <=
                tolerance(dtype));
          CHECK(y.guards_intact());
        }
      }
    }
  }
}

TEST_CASE("binary derivatives equal central differences, each alone and both, written and added") {
  for (const BinaryCase& test : binary_cases()) {
    for (const DType dtype : kFloatingTypes) {
      for (const Sizes& sizes : kSizes) {
        for (const Placement placement : kPlacements) {
          KernelArray a(dtype, sizes, placement), b(dtype, sizes), dy(dtype, sizes, placement);
          KernelArray da(dtype, sizes), db(dtype, sizes, placement), sum(dtype, sizes);
          a.fill_uniform(0.5, 3, 7);
          b.fill_uniform(0.5, 3, 8);
          b.fill([&](std::int64_t i) { return std::fabs(a[i] - b[i]) < 0.05 ? a[i] + 0.25 : b[i]; });
          dy.fill_uniform(-2, 2, 9);
          sum.fill_uniform(-2, 2, 10);
          const std::vector<double> before = sum.values();
          const double h = 1e-5;
          const auto by_a = [&](std::int64_t i) {
            return dy[i] * (test.value(a[i] + h, b[i]) - test.value(a[i] - h, b[i])) / (2 * h);
          };
          const auto by_b = [&](std::int64_t i) {
            return dy[i] * (test.value(a[i], b[i] + h) - test.value(a[i], b[i] - h)) / (2 * h);
          };
          const double bound = 2 * tolerance(dtype) + 1e-8;
          CAPTURE(test.name, name_of(dtype), sizes, static_cast<int>(placement));
          binary_backward(kQueue, test.function, a.view(), b.view(), dy.view(), {da.view()}, {db.view()});
          CHECK(largest_distance(da, by_a) <= bound);
          CHECK(largest_distance(db, by_b) <= bound);
          binary_backward(kQueue, test.function, a.view(), b.view(), dy.view(), {},
                          {sum.view(), Write::accumulate});
          CHECK(largest_distance(sum, [&](std::int64_t i) {
                  return before[static_cast<std::size_t>(i)] + by_b(i);
                }) <= bound);
          CHECK(db.guards_intact());
        }
      }
    }
  }
}

TEST_CASE("the gradients of add and sub need no operands") {
  KernelArray dy(DType::bfloat16, {37}), da(DType::bfloat16, {37}), db(DType::bfloat16, {37});
  dy.fill_uniform(-2, 2, 1);
  binary_backward(kQueue, Binary::sub, {}, {}, dy.view(), {da.view()}, {db.view()});
  CHECK(da.values() == dy.values());
  CHECK(largest_distance(db, [&](std::int64_t i) { return -dy[i]; }) == 0);
}

TEST_CASE("ties of maximum and minimum share the gradient") {
  KernelArray x(DType::float32, {5}), dy(DType::float32, {5}), da(DType::float32, {5}),
      db(DType::float32, {5});
  x.fill([](std::int64_t i) { return static_cast<double>(i); });
  dy.fill([](std::int64_t) { return 3.0; });
  for (const Binary function : {Binary::maximum, Binary::minimum}) {
    binary_backward(kQueue, function, x.view(), x.view(), dy.view(), {da.view()}, {db.view()});
    CHECK(da.values() == std::vector<double>(5, 1.5));
    CHECK(db.values() == std::vector<double>(5, 1.5));
  }
}

TEST_CASE("NaN and infinities go through as in IEEE arithmetic") {
  for (const DType dtype : kFloatingTypes) {
    const std::vector<double> inputs = {kNaN, kInfinity, -kInfinity, 0.0, -0.0};
    KernelArray x(dtype, {5}), one(dtype, {5}), y(dtype, {5});
    x.fill([&](std::int64_t i) { return inputs[static_cast<std::size_t>(i)]; });
    one.fill([](std::int64_t) { return 1.0; });
    const std::vector<std::pair<Unary, std::vector<double>>> unary = {
        {Unary::relu, {kNaN, kInfinity, 0, 0, 0}},
        {Unary::exp, {kNaN, kInfinity, 0, 1, 1}},
        {Unary::log, {kNaN, kInfinity, kNaN, -kInfinity, -kInfinity}},
        {Unary::tanh, {kNaN, 1, -1, 0, 0}},
        {Unary::sigmoid, {kNaN, 1, 0, 0.5, 0.5}},
        {Unary::gelu_tanh, {kNaN, kInfinity, kNaN, 0, 0}},
        {Unary::abs, {kNaN, kInfinity, kInfinity, 0, 0}},
    };
    for (const auto& [function, expected] : unary) {
      unary_forward(kQueue, function, 0, x.view(), y.view());
      CAPTURE(name_of(dtype), static_cast<int>(function));
      CHECK(largest_distance(y, [&, &wanted = expected](std::int64_t i) {
              return wanted[static_cast<std::size_t>(i)];
            }) <= epsilon_of(dtype));
    }
    for (const Binary function : {Binary::maximum, Binary::minimum, Binary::add}) {
      binary_forward(kQueue, function, x.view(), one.view(), y.view());
      CHECK(std::isnan(y[0]));
      binary_forward(kQueue, function, one.view(), x.view(), y.view());
      CHECK(std::isnan(y[0]));
    }
  }
}

TEST_CASE("far from zero the derivatives of the gates are 0 or 1") {
  for (const Unary function : {Unary::gelu_tanh, Unary::gelu_erf, Unary::silu}) {
    KernelArray x(DType::float32, {4}), dy(DType::float32, {4}), dx(DType::float32, {4});
    const std::vector<double> inputs = {150, -150, 1e20, -1e20};
    x.fill([&](std::int64_t i) { return inputs[static_cast<std::size_t>(i)]; });
    dy.fill([](std::int64_t) { return 1.0; });
    unary_backward(kQueue, function, 0, x.view(), {}, dy.view(), {dx.view()});
    CHECK(largest_distance(
              dx, [&](std::int64_t i) { return inputs[static_cast<std::size_t>(i)] > 0 ? 1 : 0; }) < 1e-30);
  }
}

TEST_CASE("integer division by zero is 0, and overflow wraps") {
  KernelArray a(DType::int32, {2}), b(DType::int32, {2}), y(DType::int32, {2});
  const double least = std::numeric_limits<std::int32_t>::min();
  a.set(0, 7);
  b.set(0, 0);
  a.set(1, least);
  b.set(1, -1);
  binary_forward(kQueue, Binary::div, a.view(), b.view(), y.view());
  CHECK(y.values() == std::vector<double>{0, least});
  binary_forward(kQueue, Binary::add, a.view(), b.view(), y.view());
  CHECK(y.values() == std::vector<double>{7, -1 - least});
}

TEST_CASE("functions refuse dtypes that they are not defined for") {
  KernelArray integers(DType::int32, {3}), truths(DType::boolean, {3});
  CHECK_THROWS_AS(unary_forward(kQueue, Unary::exp, 0, integers.view(), integers.view()), TypeError);
  CHECK_THROWS_AS(binary_forward(kQueue, Binary::pow, integers.view(), integers.view(), integers.view()),
                  TypeError);
  CHECK_THROWS_AS(binary_forward(kQueue, Binary::add, truths.view(), truths.view(), truths.view()),
                  TypeError);
}

TEST_CASE("comparisons give booleans for every dtype, and NaN differs from all") {
  const std::vector<std::pair<Compare, std::function<bool(double, double)>>> cases = {
      {Compare::equal, [](double a, double b) { return a == b; }},
      {Compare::not_equal, [](double a, double b) { return a != b; }},
      {Compare::less, [](double a, double b) { return a < b; }},
      {Compare::less_equal, [](double a, double b) { return a <= b; }},
      {Compare::greater, [](double a, double b) { return a > b; }},
      {Compare::greater_equal, [](double a, double b) { return a >= b; }},
  };
  const Sizes sizes = {3, 1, 41, 5};
  for (const auto& [function, expected] : cases) {
    for (const DType dtype : kAllTypes) {
      for (const Placement placement : kPlacements) {
        KernelArray a(dtype, sizes, placement), b(dtype, {1, 1, 41, 1}), y(DType::boolean, sizes, placement);
        a.fill([](std::int64_t i) { return static_cast<double>(i % 3); });
        b.fill([](std::int64_t i) { return static_cast<double>(i % 2); });
        if (is_floating(dtype)) a.set(0, kNaN);
        const ConstView wide = b.broadcast(sizes);
        compare(kQueue, function, a.view(), wide, y.view());
        std::int64_t wrong = 0;
        for (std::int64_t i = 0; i < y.numel(); ++i) {
          wrong += (y[i] != 0) != expected(a[i], KernelArray::get(wide, i)) ? 1 : 0;
        }
        CAPTURE(static_cast<int>(function), name_of(dtype), static_cast<int>(placement));
        CHECK(wrong == 0);
        CHECK(y.guards_intact());
      }
    }
  }
}

TEST_CASE("where selects, absent operands are zeros") {
  for (const DType dtype : kAllTypes) {
    for (const Sizes& sizes : kSizes) {
      for (const Placement placement : kPlacements) {
        KernelArray condition(DType::boolean, sizes), a(dtype, sizes, placement), b(dtype, sizes);
        condition.fill([](std::int64_t i) { return i % 3 == 0 ? 1.0 : 0.0; });
        a.fill([](std::int64_t i) { return static_cast<double>(i % 5); });
        b.fill([](std::int64_t i) { return static_cast<double>(-(i % 4)); });
        for (const bool with_a : {true, false}) {
          for (const bool with_b : {true, false}) {
            KernelArray y(dtype, sizes, placement);
            const ConstView first = with_a ? a.view() : View{}, second = with_b ? b.view() : View{};
            const auto expected = [&](std::int64_t i) {
              return condition[i] != 0 ? (with_a ? a[i] : 0.0) : (with_b ? b[i] : 0.0);
            };
            CAPTURE(name_of(dtype), sizes, static_cast<int>(placement), with_a, with_b);
            where(kQueue, condition.view(), first, second, {y.view()});
            CHECK(largest_distance(y, expected) == 0);
            if (dtype == DType::boolean) continue;
            where(kQueue, condition.view(), first, second, {y.view(), Write::accumulate});
            CHECK(largest_distance(y, [&](std::int64_t i) { return 2 * expected(i); }) == 0);
            CHECK(y.guards_intact());
          }
        }
      }
    }
  }
}

TEST_CASE("copies convert between all dtypes and layouts, written and added") {
  for (const DType from : kAllTypes) {
    for (const DType to : kAllTypes) {
      for (const Sizes& sizes : kSizes) {
        for (const Placement source : kPlacements) {
          for (const Placement target : kPlacements) {
            KernelArray x(from, sizes, source), y(to, sizes, target);
            x.fill([](std::int64_t i) { return static_cast<double>(i % 23) - 7.5; });
            const auto expected = [&](std::int64_t i) {
              if (to == DType::boolean) return x[i] != 0 ? 1.0 : 0.0;
              return is_floating(to) ? x[i] : std::trunc(x[i]);
            };
            CAPTURE(name_of(from), name_of(to), sizes, static_cast<int>(source), static_cast<int>(target));
            copy(kQueue, x.view(), {y.view()});
            CHECK(largest_distance(y, expected) == 0);
            copy(kQueue, x.view(), {y.view(), Write::accumulate});
            CHECK(largest_distance(y, [&](std::int64_t i) {
                    return to == DType::boolean ? expected(i) : 2 * expected(i);
                  }) == 0);
            CHECK(y.guards_intact());
          }
        }
      }
    }
  }
}

TEST_CASE("copies of large transposed and broadcast tensors are complete") {
  for (const DType dtype : {DType::bfloat16, DType::float32, DType::float64, DType::boolean}) {
    const Sizes sizes = {3, 70, 131, 33};
    KernelArray x(dtype, sizes, Placement::permuted), y(dtype, sizes);
    x.fill([](std::int64_t i) { return static_cast<double>(i % 113); });
    copy(kQueue, x.view(), {y.view()});
    CHECK(largest_distance(y, [&](std::int64_t i) { return x[i]; }) == 0);
    KernelArray row(dtype, {1, 70, 1, 1});
    row.fill([](std::int64_t i) { return static_cast<double>(i % 113); });
    const ConstView wide = row.broadcast(sizes);
    copy(kQueue, wide, {y.view()});
    CHECK(largest_distance(y, [&](std::int64_t i) { return KernelArray::get(wide, i); }) == 0);
  }
}

TEST_CASE("fill sets every element and nothing else") {
  for (const DType dtype : kAllTypes) {
    for (const Sizes& sizes : kSizes) {
      for (const Placement placement : kPlacements) {
        for (const double value : {0.0, 1.0}) {
          KernelArray y(dtype, sizes, placement);
          fill(kQueue, value, y.view());
          CAPTURE(name_of(dtype), sizes, static_cast<int>(placement), value);
          CHECK(largest_distance(y, [&](std::int64_t) { return value; }) == 0);
          CHECK(y.guards_intact());
        }
      }
    }
  }
}

TEST_CASE("a result may be written over an operand") {
  KernelArray x(DType::bfloat16, {2, 3000}), y(DType::bfloat16, {2, 3000});
  x.fill_uniform(-3, 3, 11);
  binary_forward(kQueue, Binary::mul, x.view(), x.view(), y.view());
  binary_forward(kQueue, Binary::mul, x.view(), x.view(), x.view());
  CHECK(x.bytes() == y.bytes());
}

TEST_CASE("elementwise results do not depend on the number of threads or on the position") {
  const int threads = num_threads();
  for (const DType dtype : kFloatingTypes) {
    for (const Unary function :
         {Unary::exp, Unary::log, Unary::tanh, Unary::gelu_tanh, Unary::gelu_erf, Unary::silu}) {
      KernelArray x(dtype, {100003}), dy(dtype, {100003}), one(dtype, {100003}), many(dtype, {100003});
      x.fill_uniform(0.01, 5, 12);
      dy.fill_uniform(-1, 1, 13);
      set_num_threads(1);
      unary_forward(kQueue, function, 0, x.view(), one.view());
      set_num_threads(7);
      unary_forward(kQueue, function, 0, x.view(), many.view());
      CHECK(one.bytes() == many.bytes());
      set_num_threads(1);
      unary_backward(kQueue, function, 0, x.view(), x.view(), dy.view(), {one.view()});
      set_num_threads(3);
      unary_backward(kQueue, function, 0, x.view(), x.view(), dy.view(), {many.view()});
      CHECK(one.bytes() == many.bytes());
    }
  }
  set_num_threads(threads);
}
