// Cases of the functions of two tensors, comparisons and selection.
#include <algorithm>
#include <cmath>

#include "op_cases.h"
#include "reprise/ops/broadcast.h"

namespace reprise::op_test {
namespace {

using kernels::Binary;

struct BinaryRule {
  Tensor (*call)(Tensor, Tensor);
  double (*value)(double, double);
  double low_a = -2, high_a = 2, low_b = -2, high_b = 2;
  bool ties = false;
};

BinaryRule rule_of(Binary function) {
  switch (function) {
    case Binary::add:
      return {add, [](double a, double b) { return a + b; }};
    case Binary::sub:
      return {sub, [](double a, double b) { return a - b; }};
    case Binary::mul:
      return {mul, [](double a, double b) { return a * b; }};
    case Binary::div:
      return {div, [](double a, double b) { return a / b; }, -2, 2, 0.3, 3};
    case Binary::pow:
      return {pow, [](double a, double b) { return std::pow(a, b); }, 0.3, 3};
    case Binary::maximum:
      return {maximum, [](double a, double b) { return std::max(a, b); }, -2, 2, -2, 2, true};
    case Binary::minimum:
      return {minimum, [](double a, double b) { return std::min(a, b); }, -2, 2, -2, 2, true};
  }
  throw std::logic_error("no such function");
}

Shape broadcast_shape(const Arrays& in) {
  Shape shape = in[0].shape;
  for (const Array& array : in) shape = ops::broadcast_shapes("test", shape, array.shape);
  return shape;
}

Array zip(const Arrays& in, double (*f)(double, double)) {
  const Shape shape = broadcast_shape(in);
  return generate(
      shape, [&](const Index& i) { return f(in[0].broadcast_at(shape, i), in[1].broadcast_at(shape, i)); });
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

/// The mean squared error before its reduction.
void add_squared_errors(Cases& all) {
  all.cases.push_back({.label = "each squared error",
                       .inputs = {{.shape = {5, 7}}, {.shape = {5, 7}, .order = Order::permuted}},
                       .call = [](Tensors in) { return Tensors{mse_loss(in[0], in[1], Reduction::none)}; },
                       .formula =
                           [](const Arrays& in) {
                             return Arrays{zip(in, [](double a, double b) { return (a - b) * (a - b); })};
                           },
                       .composed = true});
  all.refusals.push_back(
      refused<ShapeError>("squared errors of other sizes", "[mse_loss] sizes differ: (2) and (2, 1)", [] {
        mse_loss(zeros({2}), zeros({2, 1}));
      }));
}

}  // namespace

Cases binary_cases(const OpTable& table, Binary function) {
  const BinaryRule rule = rule_of(function);
  Cases all{.table = &table,
            .dtypes = function == Binary::pow || function == Binary::div ? kFloats : kNumbers};
  const auto call = [rule](Tensors in) { return Tensors{rule.call(std::move(in[0]), std::move(in[1]))}; };
  for (const Pair& pair : pairs()) {
    Case c{.label = pair.label,
           .inputs = {{.shape = pair.a, .low = rule.low_a, .high = rule.high_a, .order = pair.order_a},
                      {.shape = pair.b, .low = rule.low_b, .high = rule.high_b, .order = pair.order_b}},
           .call = call,
           .formula = [rule](const Arrays& in) { return Arrays{zip(in, rule.value)}; },
           .distinct = rule.ties};
    if (rule.ties && pair.order_a == Order::expanded)
      c.inputs[0].order = Order::row_major;  // its elements would not differ
    all.cases.push_back(std::move(c));
  }
  Case twice{.label = "a tensor with itself",
             .inputs = {{.shape = {5, 7}, .low = 0.3, .high = 3}},
             .call = [rule](Tensors in) { return Tensors{rule.call(in[0], in[0])}; },
             .formula =
                 [rule](const Arrays& in) {
                   return Arrays{zip({in[0], in[0]}, rule.value)};
                 }};
  all.cases.push_back(std::move(twice));
  all.refusals = {
      refused<ShapeError>("sizes that do not broadcast", "(2, 3) with (4)",
                          [rule] {
                            rule.call(zeros({2, 3}), zeros({4}));
                          }),
      refused<TypeError>("two dtypes", "float32 (3) and float64 (3)",
                         [rule] { rule.call(zeros({3}), zeros({3}, {.dtype = DType::float64})); }),
      refused<Error>("an undefined tensor", "input 1 is an undefined tensor",
                     [rule] { rule.call(zeros({3}), Tensor()); }),
  };
  if (function == Binary::sub) add_squared_errors(all);
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
    all.cases.push_back(
        {.label = std::string(comparison.label) + ", " + label,
         .inputs = {std::move(a), std::move(b)},
         .call = [comparison](Tensors in) { return Tensors{comparison.call(in[0], in[1])}; },
         .formula = [comparison](const Arrays& in) { return Arrays{zip(in, comparison.value)}; },
         .has_derivative = false});
  };
  for (const Comparison& comparison : kComparisons) {
    add(comparison, "ties", {.shape = {6}, .values = {0, 1, 1, 0, 1, 0}},
        {.shape = {6}, .values = {1, 0, 1, 0, 0, 1}});
    add(comparison, "33", {.shape = {33}}, {.shape = {33}});
  }
  for (const Pair& pair : pairs()) {
    if (pair.label == std::string("33")) continue;
    add(kComparisons[2], pair.label, {.shape = pair.a, .order = pair.order_a},
        {.shape = pair.b, .order = pair.order_b});
  }
  all.refusals = {
      refused<ShapeError>("sizes that do not broadcast", "(2, 3) with (4)",
                          [] {
                            less(zeros({2, 3}), zeros({4}));
                          }),
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
  const auto add = [&](const char* label, const Shape& c, const Shape& a, const Shape& b,
                       Order order_c = Order::row_major, Order order_a = Order::row_major,
                       Order order_b = Order::row_major) {
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
  add("channels-last", {2, 3, 4, 5}, {2, 3, 4, 5}, {2, 3, 4, 5}, Order::row_major, Order::channels_last,
      Order::channels_last);
  add("several blocks", {253, 301}, {253, 301}, {301});
  all.refusals = {
      refused<TypeError>("a condition of numbers", "must be bool",
                         [] { where(zeros({3}), zeros({3}), zeros({3})); }),
      refused<TypeError>("two dtypes", "dtypes differ",
                         [] { where(zeros({3}, {.dtype = DType::boolean}), zeros({3}), arange(3)); }),
      refused<ShapeError>("sizes that do not broadcast", "do not broadcast",
                          [] { where(zeros({2}, {.dtype = DType::boolean}), zeros({3}), zeros({3})); }),
  };
  all.speed.push_back(
      {.label = "4M",
       .inputs = {{.shape = {4 << 20}, .kind = Kind::condition}, {.shape = {4 << 20}}, {.shape = {4 << 20}}},
       .call = call});
  return all;
}

}  // namespace reprise::op_test
