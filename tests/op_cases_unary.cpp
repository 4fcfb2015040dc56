// Cases of the functions of one tensor.
#include <algorithm>
#include <cmath>
#include <numbers>

#include "op_cases.h"

namespace reprise::op_test {
namespace {

using kernels::Unary;

/// What distinguishes one function of one tensor from the others.
struct UnaryRule {
  Tensor (*call)(Tensor);
  double (*value)(double);
  double low = -2, high = 2;
  bool kink_at_zero = false;
  bool integers = false;
};

// No default: a function that is missing here does not compile.
UnaryRule rule_of(Unary function) {
  switch (function) {
    case Unary::neg:
      return {[](Tensor x) { return -std::move(x); }, [](double x) { return -x; }, -2, 2, false, true};
    case Unary::abs:
      return {abs, [](double x) { return std::abs(x); }, -2, 2, true, true};
    case Unary::exp:
      return {exp, [](double x) { return std::exp(x); }};
    case Unary::log:
      return {log, [](double x) { return std::log(x); }, 0.1, 4};
    case Unary::sqrt:
      return {sqrt, [](double x) { return std::sqrt(x); }, 0.1, 4};
    case Unary::rsqrt:
      return {rsqrt, [](double x) { return 1 / std::sqrt(x); }, 0.1, 4};
    case Unary::square:
      return {square, [](double x) { return x * x; }, -2, 2, false, true};
    case Unary::reciprocal:
      return {reciprocal, [](double x) { return 1 / x; }, 0.2, 4};
    case Unary::tanh:
      return {tanh, [](double x) { return std::tanh(x); }, -4, 4};
    case Unary::sigmoid:
      return {sigmoid, [](double x) { return 1 / (1 + std::exp(-x)); }, -6, 6};
    case Unary::relu:
      return {relu, [](double x) { return std::max(x, 0.0); }, -2, 2, true, true};
    case Unary::gelu_tanh:
      return {gelu,
              [](double x) {
                const double inner = std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x);
                return x / 2 * (1 + std::tanh(inner));
              },
              -4, 4};
    case Unary::gelu_erf:
      return {gelu_erf, [](double x) { return x / 2 * (1 + std::erf(x / std::numbers::sqrt2)); }, -4, 4};
    case Unary::silu:
      return {silu, [](double x) { return x / (1 + std::exp(-x)); }, -6, 6};
    case Unary::sin:
      return {sin, [](double x) { return std::sin(x); }, -6, 6};
    case Unary::cos:
      return {cos, [](double x) { return std::cos(x); }, -6, 6};
    case Unary::add_scalar:
      return {[](Tensor x) { return std::move(x) + 3; }, [](double x) { return x + 3; }, -2, 2, false, true};
    case Unary::mul_scalar:
      return {
          [](Tensor x) { return std::move(x) * -3; }, [](double x) { return x * -3; }, -2, 2, false, true};
    case Unary::pow_scalar:
      return {[](Tensor x) { return pow(std::move(x), 1.5); }, [](double x) { return std::pow(x, 1.5); }, 0.2,
              3};
  }
  throw std::logic_error("no such function");
}

Array map(const Array& x, const std::function<double(double)>& f) {
  Array y = x;
  for (double& value : y.values) value = f(value);
  return y;
}

Case unary_case(std::string label, Input input, std::function<Tensor(Tensor)> call,
                std::function<double(double)> value) {
  return {.label = std::move(label),
          .inputs = {std::move(input)},
          .call = [call = std::move(call)](Tensors in) { return Tensors{call(std::move(in[0]))}; },
          .formula = [value = std::move(value)](const Arrays& in) { return Arrays{map(in[0], value)}; }};
}

/// Forms beside those of the rule, most of them of scalars.
void add_other_forms(Unary function, std::vector<Case>& cases, std::vector<Refusal>& refusals) {
  const Input x{.shape = {33}, .low = -2};
  const Tensor whole = arange(3);
  if (function == Unary::add_scalar) {
    cases.push_back(unary_case(
        "scalar on the left", x, [](Tensor t) { return 2.0 + std::move(t); },
        [](double v) { return 2 + v; }));
    cases.push_back(unary_case(
        "minus a scalar", x, [](Tensor t) { return std::move(t) - 2; }, [](double v) { return v - 2; }));
    cases.push_back(unary_case(
        "from a scalar", x, [](Tensor t) { return 2.0 - std::move(t); }, [](double v) { return 2 - v; }));
    cases.back().composed = true;
    refusals.push_back(refused<TypeError>("a fraction added to integers", "0.5", [whole] { whole + 0.5; }));
    refusals.push_back(refused<TypeError>("a fraction taken from integers", "0.5", [whole] { whole - 0.5; }));
    refusals.push_back(refused<TypeError>("integers taken from a fraction", "0.5", [whole] { 0.5 - whole; }));
  }
  if (function == Unary::mul_scalar) {
    cases.push_back(unary_case(
        "scalar on the left", x, [](Tensor t) { return 2.0 * std::move(t); },
        [](double v) { return 2 * v; }));
    cases.push_back(unary_case(
        "over -1", x, [](Tensor t) { return std::move(t) / -1.0; }, [](double v) { return -v; }));
    refusals.push_back(refused<TypeError>("integers times a fraction", "0.5", [whole] { whole * 0.5; }));
    refusals.push_back(refused<TypeError>("integers over a scalar", "[div]", [whole] { whole / 2.0; }));
    refusals.push_back(refused<TypeError>("integers times infinity", "inf", [whole] { whole* INFINITY; }));
    refusals.push_back(refused<TypeError>("integers times more than they hold", "int32",
                                          [whole] { whole.to(DType::int32) * 0x1p31; }));
  }
  if (function == Unary::pow_scalar) {
    const Input signed_x{.shape = {31}, .low = -2, .values = {}};
    for (const double exponent : {2.0, 3.0, 1.0, 0.0}) {
      cases.push_back(unary_case(
          "exponent " + std::to_string(exponent), signed_x,
          [exponent](Tensor t) { return pow(std::move(t), exponent); },
          [exponent](double v) { return std::pow(v, exponent); }));
    }
    for (const double exponent : {0.5, -1.0, -2.5}) {
      cases.push_back(unary_case(
          "exponent " + std::to_string(exponent), {.shape = {31}, .low = 0.3, .high = 3},
          [exponent](Tensor t) { return pow(std::move(t), exponent); },
          [exponent](double v) { return std::pow(v, exponent); }));
    }
  }
}

}  // namespace

Cases unary_cases(const OpTable& table, Unary function) {
  const UnaryRule rule = rule_of(function);
  Cases all{.table = &table};
  if (rule.integers) all.dtypes = kNumbers;
  const auto add = [&](const char* label, const Shape& shape, Order order = Order::row_major) {
    Case c = unary_case(label, {.shape = shape, .low = rule.low, .high = rule.high, .order = order},
                        rule.call, rule.value);
    if (rule.kink_at_zero) c.kinks = {0};
    all.cases.push_back(std::move(c));
  };
  add("scalar", {});
  add("empty", {3, 0});
  add("size 1", {1});
  add("31", {31});
  add("32", {32});
  add("33", {33});
  add("odd", {3, 5, 7});
  add("permuted", {5, 7}, Order::permuted);
  add("gaps", {3, 11}, Order::gaps);
  add("channels-last", {2, 3, 4, 5}, Order::channels_last);
  add("stride 0", {4, 5}, Order::expanded);
  add("several blocks", {70001});
  if (!rule.integers) {
    all.refusals.push_back(
        refused<TypeError>("integers", "does not take int64", [rule] { rule.call(arange(3)); }));
  }
  all.refusals.push_back(refused<TypeError>("booleans", "does not take bool",
                                            [rule] { rule.call(zeros({3}, {.dtype = DType::boolean})); }));
  all.refusals.push_back(refused<Error>("an undefined tensor", "undefined", [rule] { rule.call(Tensor()); }));
  add_other_forms(function, all.cases, all.refusals);
  Case fast{.label = "4M", .inputs = {{.shape = {4 << 20}, .low = rule.low, .high = rule.high}}};
  fast.call = [call = rule.call](Tensors in) { return Tensors{call(in[0])}; };
  all.speed.push_back(std::move(fast));
  return all;
}

}  // namespace reprise::op_test
