// Cases of the elementwise operations.
#include <algorithm>
#include <cmath>
#include <numbers>

#include "op_cases.h"
#include "reprise/ops/broadcast.h"

namespace reprise::op_test {
namespace {

using kernels::Binary;
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
    case Unary::neg: return {[](Tensor x) { return -std::move(x); }, [](double x) { return -x; }, -2, 2, false, true};
    case Unary::abs: return {abs, [](double x) { return std::abs(x); }, -2, 2, true, true};
    case Unary::exp: return {exp, [](double x) { return std::exp(x); }};
    case Unary::log: return {log, [](double x) { return std::log(x); }, 0.1, 4};
    case Unary::sqrt: return {sqrt, [](double x) { return std::sqrt(x); }, 0.1, 4};
    case Unary::rsqrt: return {rsqrt, [](double x) { return 1 / std::sqrt(x); }, 0.1, 4};
    case Unary::square: return {square, [](double x) { return x * x; }, -2, 2, false, true};
    case Unary::reciprocal: return {reciprocal, [](double x) { return 1 / x; }, 0.2, 4};
    case Unary::tanh: return {tanh, [](double x) { return std::tanh(x); }, -4, 4};
    case Unary::sigmoid: return {sigmoid, [](double x) { return 1 / (1 + std::exp(-x)); }, -6, 6};
    case Unary::relu: return {relu, [](double x) { return std::max(x, 0.0); }, -2, 2, true, true};
    case Unary::gelu_tanh:
      return {gelu, [](double x) {
                const double inner = std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x);
                return x / 2 * (1 + std::tanh(inner));
              }, -4, 4};
    case Unary::gelu_erf:
      return {gelu_erf, [](double x) { return x / 2 * (1 + std::erf(x / std::numbers::sqrt2)); }, -4, 4};
    case Unary::silu: return {silu, [](double x) { return x / (1 + std::exp(-x)); }, -6, 6};
    case Unary::sin: return {sin, [](double x) { return std::sin(x); }, -6, 6};
    case Unary::cos: return {cos, [](double x) { return std::cos(x); }, -6, 6};
    case Unary::add_scalar:
      return {[](Tensor x) { return std::move(x) + 3; }, [](double x) { return x + 3; }, -2, 2, false, true};
    case Unary::mul_scalar:
      return {[](Tensor x) { return std::move(x) * -3; }, [](double x) { return x * -3; }, -2, 2, false, true};
    case Unary::pow_scalar:
      return {[](Tensor x) { return pow(std::move(x), 1.5); }, [](double x) { return std::pow(x, 1.5); }, 0.2, 3};
  }
  throw std::logic_error("no such function");
}

Array map(const Array& x, const std::function<double(double)>& f) {
  Array y = x;
  for (double& value : y.values) value = f(value);
  return y;
}

Shape broadcast_shape(const Arrays& in) {
  Shape shape = in[0].shape;
  for (const Array& array : in) shape = ops::broadcast_shapes("test", shape, array.shape);
  return shape;
}

Array zip(const Arrays& in, double (*f)(double, double)) {
  const Shape shape = broadcast_shape(in);
  return generate(shape, [&](const Index& i) { return f(in[0].broadcast_at(shape, i), in[1].broadcast_at(shape, i)); });
}

Case unary_case(std::string label, Input input, std::function<Tensor(Tensor)> call, std::function<double(double)> value) {
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
    cases.push_back(unary_case("scalar on the left", x, [](Tensor t) { return 2.0 + std::move(t); }, [](double v) { return 2 + v; }));
    cases.push_back(unary_case("minus a scalar", x, [](Tensor t) { return std::move(t) - 2; }, [](double v) { return v - 2; }));
    cases.push_back(unary_case("from a scalar", x, [](Tensor t) { return 2.0 - std::move(t); }, [](double v) { return 2 - v; }));
    cases.back().composed = true;
    refusals.push_back(refused<TypeError>("a fraction added to integers", "0.5", [whole] { whole + 0.5; }));
    refusals.push_back(refused<TypeError>("a fraction taken from integers", "0.5", [whole] { whole - 0.5; }));
    refusals.push_back(refused<TypeError>("integers taken from a fraction", "0.5", [whole] { 0.5 - whole; }));
  }
  if (function == Unary::mul_scalar) {
    cases.push_back(unary_case("scalar on the left", x, [](Tensor t) { return 2.0 * std::move(t); }, [](double v) { return 2 * v; }));
    cases.push_back(unary_case("over -1", x, [](Tensor t) { return std::move(t) / -1.0; }, [](double v) { return -v; }));
    refusals.push_back(refused<TypeError>("integers times a fraction", "0.5", [whole] { whole * 0.5; }));
    refusals.push_back(refused<TypeError>("integers over a scalar", "[div]", [whole] { whole / 2.0; }));
    refusals.push_back(refused<TypeError>("integers times infinity", "inf", [whole] { whole * INFINITY; }));
    refusals.push_back(refused<TypeError>("integers times more than they hold", "int32",
                                          [whole] { whole.to(DType::int32) * 0x1p31; }));
  }
  if (function == Unary::square) {
    cases.push_back({.label = "each squared error",
                     .inputs = {{.shape = {5, 7}}, {.shape = {5, 7}, .order = Order::permuted}},
                     .call = [](Tensors in) { return Tensors{mse_loss(in[0], in[1], Reduction::none)}; },
                     .formula = [](const Arrays& in) {
                       return Arrays{zip(in, [](double a, double b) { return (a - b) * (a - b); })};
                     },
                     .composed = true});
    refusals.push_back(refused<ShapeError>("squared errors of other sizes", "[mse_loss] sizes differ: (2) and (2, 1)",
                                           [] { mse_loss(zeros({2}), zeros({2, 1})); }));
  }
  if (function == Unary::pow_scalar) {
    const Input signed_x{.shape = {31}, .low = -2, .values = {}};
    for (const double exponent : {2.0, 3.0, 1.0, 0.0}) {
      cases.push_back(unary_case("exponent " + std::to_string(exponent), signed_x,
                                 [exponent](Tensor t) { return pow(std::move(t), exponent); },
                                 [exponent](double v) { return std::pow(v, exponent); }));
    }
    for (const double exponent : {0.5, -1.0, -2.5}) {
      cases.push_back(unary_case("exponent " + std::to_string(exponent), {.shape = {31}, .low = 0.3, .high = 3},
                                 [exponent](Tensor t) { return pow(std::move(t), exponent); },
                                 [exponent](double v) { return std::pow(v, exponent); }));
    }
  }
}

struct BinaryRule {
  Tensor (*call)(Tensor, Tensor);
  double (*value)(double, double);
  double low_a = -2, high_a = 2, low_b = -2, high_b = 2;
  bool ties = false;
};

BinaryRule rule_of(Binary function) {
  switch (function) {
    case Binary::add: return {add, [](double a, double b) { return a + b; }};
    case Binary::sub: return {sub, [](double a, double b) { return a - b; }};
    case Binary::mul: return {mul, [](double a, double b) { return a * b; }};
    case Binary::div: return {div, [](double a, double b) { return a / b; }, -2, 2, 0.3, 3};
    case Binary::pow: return {pow, [](double a, double b) { return std::pow(a, b); }, 0.3, 3};
    case Binary::maximum: return {maximum, [](double a, double b) { return std::max(a, b); }, -2, 2, -2, 2, true};
    case Binary::minimum: return {minimum, [](double a, double b) { return std::min(a, b); }, -2, 2, -2, 2, true};
  }
  throw std::logic_error("no such function");
}

struct Pair {
  const char* label;
  Shape a, b;
  Order order_a = Order::row_major, order_b = Order::row_major;
};

const std::vector<Pair>& pairs() {
  static const std::vector<Pair> all{
      {"scalars", {}, {}},
      {"empty", {0, 3}, {0, 3}},
      {"empty and one row", {0, 3}, {3}},
      {"size 1", {1}, {1}},
      {"32", {32}, {32}},
      {"33", {33}, {33}},
      {"a row for each", {5, 7}, {7}},
      {"a column for each", {5, 7}, {5, 1}},
      {"both stretch", {4, 1, 3}, {5, 1}},
      {"a scalar for all", {31}, {}},
      {"all to a scalar", {1}, {3, 11}},
      {"a channel for each", {2, 3, 4, 5}, {3, 1, 1}, Order::channels_last},
      {"permuted and gaps", {6, 7}, {6, 7}, Order::permuted, Order::gaps},
      {"channels-last", {2, 3, 4, 5}, {2, 3, 4, 5}, Order::channels_last, Order::channels_last},
      {"channels-last and row-major", {2, 3, 4, 5}, {2, 3, 4, 5}, Order::channels_last},
      {"stride 0", {3, 4}, {3, 4}, Order::expanded},
      {"several blocks", {253, 301}, {253, 301}},
      {"several blocks, a row for each", {253, 301}, {301}},
  };
  return all;
}

}  // namespace

Cases unary_cases(const OpTable& table, Unary function) {
  const UnaryRule rule = rule_of(function);
  Cases all{.table = &table};
  if (rule.integers) all.dtypes = kNumbers;
  const auto add = [&](const char* label, const Shape& shape, Order order = Order::row_major) {
    Case c = unary_case(label, {.shape = shape, .low = rule.low, .high = rule.high, .order = order}, rule.call, rule.value);
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
    all.refusals.push_back(refused<TypeError>("integers", "does not take int64", [rule] { rule.call(arange(3)); }));
  }
  all.refusals.push_back(refused<TypeError>("booleans", "does not take bool", [rule] { rule.call(zeros({3}, {.dtype = DType::boolean})); }));
  all.refusals.push_back(refused<Error>("an undefined tensor", "undefined", [rule] { rule.call(Tensor()); }));
  add_other_forms(function, all.cases, all.refusals);
  Case fast{.label = "4M", .inputs = {{.shape = {4 << 20}, .low = rule.low, .high = rule.high}}};
  fast.call = [call = rule.call](Tensors in) { return Tensors{call(in[0])}; };
  all.speed.push_back(std::move(fast));
  return all;
}

Cases binary_cases(const OpTable& table, Binary function) {
  const BinaryRule rule = rule_of(function);
  Cases all{.table = &table, .dtypes = function == Binary::pow ? kFloats : kNumbers};
  const auto call = [rule](Tensors in) { return Tensors{rule.call(std::move(in[0]), std::move(in[1]))}; };
  for (const Pair& pair : pairs()) {
    Case c{.label = pair.label,
           .inputs = {{.shape = pair.a, .low = rule.low_a, .high = rule.high_a, .order = pair.order_a},
                      {.shape = pair.b, .low = rule.low_b, .high = rule.high_b, .order = pair.order_b}},
           .call = call,
           .formula = [rule](const Arrays& in) { return Arrays{zip(in, rule.value)}; },
           .distinct = rule.ties};
    if (rule.ties && pair.order_a == Order::expanded) c.inputs[0].order = Order::row_major;  // its elements would not differ
    all.cases.push_back(std::move(c));
  }
  Case twice{.label = "a tensor with itself",
             .inputs = {{.shape = {5, 7}, .low = 0.3, .high = 3}},
             .call = [rule](Tensors in) { return Tensors{rule.call(in[0], in[0])}; },
             .formula = [rule](const Arrays& in) { return Arrays{zip({in[0], in[0]}, rule.value)}; }};
  all.cases.push_back(std::move(twice));
  all.refusals = {
      refused<ShapeError>("sizes that do not broadcast", "(2, 3) with (4)", [rule] { rule.call(zeros({2, 3}), zeros({4})); }),
      refused<TypeError>("two dtypes", "float32 (3) and float64 (3)",
                         [rule] { rule.call(zeros({3}), zeros({3}, {.dtype = DType::float64})); }),
      refused<Error>("an undefined tensor", "input 1 is an undefined tensor", [rule] { rule.call(zeros({3}), Tensor()); }),
  };
  all.speed.push_back({.label = "4M",
                       .inputs = {{.shape = {4 << 20}, .low = rule.low_a, .high = rule.high_a},
                                  {.shape = {4 << 20}, .low = rule.low_b, .high = rule.high_b}},
                       .call = call});
  all.speed.push_back({.label = "4096x1024 and a row",
                       .inputs = {{.shape = {4096, 1024}, .low = rule.low_a, .high = rule.high_a},
                                  {.shape = {1024}, .low = rule.low_b, .high = rule.high_b}},
                       .call = call});
  return all;
}

Cases CasesOf<ops::Compare>::make() {
  struct Comparison {
    const char* label;
    Tensor (*call)(const Tensor&, const Tensor&);
    double (*value)(double, double);
  };
  static constexpr Comparison kComparisons[] = {
      {"equal", equal, [](double a, double b) { return a == b ? 1.0 : 0.0; }},
      {"not equal", not_equal, [](double a, double b) { return a != b ? 1.0 : 0.0; }},
      {"less", less, [](double a, double b) { return a < b ? 1.0 : 0.0; }},
      {"less or equal", less_equal, [](double a, double b) { return a <= b ? 1.0 : 0.0; }},
      {"greater", greater, [](double a, double b) { return a > b ? 1.0 : 0.0; }},
      {"greater or equal", greater_equal, [](double a, double b) { return a >= b ? 1.0 : 0.0; }},
  };
  Cases all{.table = &op_table<ops::Compare>(), .dtypes = kAllTypes};
  const auto add = [&](const Comparison& comparison, const std::string& label, Input a, Input b) {
    all.cases.push_back({.label = std::string(comparison.label) + ", " + label,
                         .inputs = {std::move(a), std::move(b)},
                         .call = [comparison](Tensors in) { return Tensors{comparison.call(in[0], in[1])}; },
                         .formula = [comparison](const Arrays& in) { return Arrays{zip(in, comparison.value)}; },
                         .step = 0});
  };
  for (const Comparison& comparison : kComparisons) {
    add(comparison, "ties", {.shape = {6}, .values = {0, 1, 1, 0, 1, 0}}, {.shape = {6}, .values = {1, 0, 1, 0, 0, 1}});
    add(comparison, "33", {.shape = {33}}, {.shape = {33}});
  }
  for (const Pair& pair : pairs()) {
    if (pair.label == std::string("33")) continue;
    add(kComparisons[2], pair.label, {.shape = pair.a, .order = pair.order_a}, {.shape = pair.b, .order = pair.order_b});
  }
  all.refusals = {
      refused<ShapeError>("sizes that do not broadcast", "(2, 3) with (4)", [] { less(zeros({2, 3}), zeros({4})); }),
      refused<TypeError>("two dtypes", "dtypes differ", [] { equal(zeros({3}), arange(3)); }),
  };
  all.speed.push_back({.label = "4M",
                       .inputs = {{.shape = {4 << 20}}, {.shape = {4 << 20}}},
                       .call = [](Tensors in) { return Tensors{less(in[0], in[1])}; }});
  return all;
}

Cases CasesOf<ops::Where>::make() {
  Cases all{.table = &op_table<ops::Where>(), .dtypes = kAllTypes};
  const auto call = [](Tensors in) { return Tensors{where(in[0], in[1], in[2])}; };
  const auto add = [&](const char* label, const Shape& c, const Shape& a, const Shape& b, Order order_c = Order::row_major,
                       Order order_a = Order::row_major, Order order_b = Order::row_major) {
    all.cases.push_back({.label = label,
                         .inputs = {{.shape = c, .order = order_c, .kind = Kind::condition},
                                    {.shape = a, .order = order_a},
                                    {.shape = b, .order = order_b}},
                         .call = call,
                         .formula = [](const Arrays& in) {
                           const Shape shape = broadcast_shape(in);
                           return Arrays{generate(shape, [&](const Index& i) {
                             return in[in[0].broadcast_at(shape, i) != 0 ? 1 : 2].broadcast_at(shape, i);
                           })};
                         }});
  };
  add("scalars", {}, {}, {});
  add("empty", {0, 3}, {0, 3}, {3});
  add("size 1", {1}, {1}, {1});
  add("33", {33}, {33}, {33});
  add("scalar condition", {}, {5, 7}, {5, 7});
  add("scalar choices", {5, 7}, {}, {});
  add("all stretch", {4, 1, 1}, {5, 1}, {3});
  add("orders", {6, 7}, {6, 7}, {6, 7}, Order::gaps, Order::permuted, Order::gaps);
  add("channels-last", {2, 3, 4, 5}, {2, 3, 4, 5}, {2, 3, 4, 5}, Order::row_major, Order::channels_last, Order::channels_last);
  add("several blocks", {253, 301}, {253, 301}, {301});
  all.refusals = {
      refused<TypeError>("a condition of numbers", "must be bool", [] { where(zeros({3}), zeros({3}), zeros({3})); }),
      refused<TypeError>("two dtypes", "dtypes differ", [] { where(zeros({3}, {.dtype = DType::boolean}), zeros({3}), arange(3)); }),
      refused<ShapeError>("sizes that do not broadcast", "do not broadcast",
                          [] { where(zeros({2}, {.dtype = DType::boolean}), zeros({3}), zeros({3})); }),
  };
  all.speed.push_back({.label = "4M",
                       .inputs = {{.shape = {4 << 20}, .kind = Kind::condition}, {.shape = {4 << 20}}, {.shape = {4 << 20}}},
                       .call = call});
  return all;
}

Cases CasesOf<ops::Cast>::make() {
  Cases all{.table = &op_table<ops::Cast>(), .dtypes = kAllTypes};
  // Straight to the operation: cast() gives back what has the type already.
  const auto add = [&](const char* label, const Shape& shape, DType to, Order order = Order::row_major) {
    all.cases.push_back({.label = label,
                         .inputs = {{.shape = shape, .low = -4, .high = 4, .order = order}},
                         .call = [to](Tensors in) { return Tensors{apply(ops::Cast{.dtype = to}, in[0])}; },
                         .formula = [](const Arrays& in) { return in; },
                         .step = is_floating(to) && size_of(to) >= 4 ? 1e-2 : 0});
  };
  add("scalar to float32", {}, DType::float32);
  add("empty to float64", {0, 2}, DType::float64);
  add("size 1 to float64", {1}, DType::float64);
  add("33 to bfloat16", {33}, DType::bfloat16);
  add("31 to float16", {31}, DType::float16);
  add("permuted to float32", {5, 7}, DType::float32, Order::permuted);
  add("gaps to float64", {5, 7}, DType::float64, Order::gaps);
  add("channels-last to float32", {2, 3, 4, 5}, DType::float32, Order::channels_last);
  add("to int32", {33}, DType::int32);
  add("to int64", {33}, DType::int64);
  add("to bool", {33}, DType::boolean);
  add("several blocks to float32", {70001}, DType::float32);
  all.refusals = {
      refused<Error>("an undefined tensor", "undefined", [] { cast(Tensor(), DType::float64); }),
      refused<Error>("an undefined tensor of the type", "undefined", [] { Tensor().to(DType::float32); }),
  };
  all.speed.push_back({.label = "4M to bfloat16",
                       .inputs = {{.shape = {4 << 20}}},
                       .call = [](Tensors in) { return Tensors{cast(in[0], DType::bfloat16)}; }});
  return all;
}

Cases CasesOf<ops::Clone>::make() {
  Cases all{.table = &op_table<ops::Clone>(), .dtypes = kAllTypes};
  const auto add = [&](const char* label, const Shape& shape, Order order, bool channels_last = false) {
    all.cases.push_back({.label = label,
                         .inputs = {{.shape = shape, .order = order}},
                         .call = [channels_last](Tensors in) {
                           return Tensors{apply(ops::Clone{.channels_last = channels_last}, in[0])};
                         },
                         .formula = [](const Arrays& in) { return in; }});
  };
  add("scalar", {}, Order::row_major);
  add("empty", {3, 0, 2}, Order::row_major);
  add("size 1", {1}, Order::row_major);
  add("33", {33}, Order::row_major);
  add("permuted", {5, 7}, Order::permuted);
  add("gaps", {5, 7}, Order::gaps);
  add("stride 0", {5, 7}, Order::expanded);
  add("from channels-last", {2, 3, 4, 5}, Order::channels_last);
  add("to channels-last", {2, 3, 4, 5}, Order::row_major, true);
  add("channels-last both", {2, 3, 4, 5}, Order::channels_last, true);
  add("permuted to channels-last", {2, 3, 4, 5}, Order::permuted, true);
  add("several blocks", {253, 301}, Order::permuted);
  all.refusals = {
      refused<ShapeError>("channels-last of 3 axes", "needs 4 axes", [] { to_channels_last(zeros({2, 3, 4})); }),
      refused<Error>("an undefined tensor", "undefined", [] { Tensor().clone(); }),
  };
  all.speed.push_back({.label = "32x64x56x56 to channels-last",
                       .inputs = {{.shape = {32, 64, 56, 56}}},
                       .call = [](Tensors in) { return Tensors{to_channels_last(in[0])}; }});
  return all;
}

}  // namespace reprise::op_test
