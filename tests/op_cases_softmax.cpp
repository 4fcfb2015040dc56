// Cases of softmax and cross entropy.
#include <algorithm>
#include <cmath>
#include <limits>

#include "op_cases.h"

namespace reprise::op_test {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

Array softmax_formula(const Array& x, int axis, bool log) {
  if (x.shape.rank() == 0) return Array(x.shape, log ? 0 : 1);
  const auto at = static_cast<std::size_t>(axis < 0 ? axis + x.shape.rank() : axis);
  const std::int64_t n = x.shape[static_cast<int>(at)];
  Shape rows = x.shape;
  rows.set(static_cast<int>(at), std::min<std::int64_t>(n, 1));
  Array y(x.shape);
  for_each_index(rows, [&](Index index) {
    const auto each = [&](auto&& f) {
      for (index[at] = 0; index[at] < n; ++index[at]) f();
    };
    double largest = -kInfinity;
    each([&] { largest = std::max(largest, x.at(index)); });
    double sum = 0;
    each([&] { sum += std::exp(x.at(index) - largest); });
    each([&] {
      const double result = x.at(index) - largest - std::log(sum);
      y.at(index) = log ? result : std::exp(result);
    });
  });
  return y;
}

Array cross_entropy_formula(const Arrays& in, Reduction reduction, std::int64_t ignore_index) {
  const std::int64_t classes = in[0].shape[in[0].shape.rank() - 1];
  const Array logs = softmax_formula(in[0], -1, true);
  Array each(in[1].shape);
  double count = 0;
  double sum = 0;
  for (std::int64_t row = 0; row < each.shape.numel(); ++row) {
    const auto target = static_cast<std::int64_t>(in[1][row]);
    if (target == ignore_index) continue;
    each[row] = -logs[row * classes + target];
    sum += each[row];
    ++count;
  }
  if (reduction == Reduction::none) return each;
  return Array(Shape{}, reduction == Reduction::sum ? sum : sum / count);
}

}  // namespace

Cases softmax_cases(const OpTable& table, bool log) {
  Cases all{.table = &table};
  const auto call = [log](const Tensor& x, int axis) {
    return log ? log_softmax(x, axis) : softmax(x, axis);
  };
  const auto add = [&](const char* label, Input input, int axis = -1) {
    all.cases.push_back(
        {.label = label,
         .inputs = {std::move(input)},
         .call = [=](Tensors in) { return Tensors{call(in[0], axis)}; },
         .formula = [=](const Arrays& in) { return Arrays{softmax_formula(in[0], axis, log)}; },
         .slack = 2});
  };
  add("scalar", {.shape = {}});
  add("size 1", {.shape = {1}});
  add("empty", {.shape = {0, 3}});
  add("empty rows", {.shape = {3, 0}});
  add("31", {.shape = {31}, .low = -4, .high = 4});
  add("32", {.shape = {32}, .low = -4, .high = 4});
  add("33", {.shape = {5, 33}, .low = -4, .high = 4});
  add("first axis", {.shape = {7, 5}, .low = -4, .high = 4}, 0);
  add("middle axis", {.shape = {3, 7, 5}}, 1);
  add("permuted", {.shape = {5, 7}, .order = Order::permuted});
  add("gaps", {.shape = {5, 7}, .order = Order::gaps});
  add("channels of channels-last", {.shape = {2, 3, 4, 5}, .order = Order::channels_last}, 1);
  add("large", {.shape = {2, 3}, .values = {1000, 1001, 999, -1000, -1001, -1002}});
  add("several blocks", {.shape = {301, 257}, .low = -4, .high = 4});
  add("long rows", {.shape = {2, 40001}});
  if (!log) {
    all.cases.push_back(
        {.label = "some of a row masked",
         .inputs = {{.shape = {2, 3}, .values = {1, -kInfinity, 2, -kInfinity, -kInfinity, 5}}},
         .call = [=](Tensors in) { return Tensors{call(in[0], -1)}; },
         .formula = [=](const Arrays& in) { return Arrays{softmax_formula(in[0], -1, log)}; },
         .has_derivative = false});
    for (const bool causal : {true, false}) {
      all.cases.push_back(
          {.label = causal ? "composed causal attention" : "composed attention",
           .inputs = {{.shape = {2, 3, 5, 4}}, {.shape = {2, 3, 5, 4}}, {.shape = {2, 3, 5, 4}}},
           .call =
               [causal](Tensors in) {
                 return Tensors{composed_attention(in[0], in[1], in[2], {.causal = causal})};
               },
           .formula = [causal](const Arrays& in) { return Arrays{attention_formula(in, 0.5, causal, 0)}; },
           .slack = 4,
           .composed = true});
    }
  }
  all.refusals = {
      refused<ShapeError>("an axis too far", "axis 2",
                          [call] {
                            call(zeros({2, 3}), 2);
                          }),
      refused<TypeError>("integers", "takes floating tensors, not int64 (3)", [call] { call(arange(3), 0); }),
      refused<Error>("an undefined tensor", "undefined", [call] { call(Tensor(), -1); }),
  };
  all.speed.push_back({.label = "rows of 12288x256",
                       .inputs = {{.shape = {12288, 256}}},
                       .call = [=](Tensors in) { return Tensors{call(in[0], -1)}; }});
  return all;
}

Cases CasesOf<ops::CrossEntropy>::make() {
  Cases all{.table = &op_table<ops::CrossEntropy>()};
  const auto add = [&](const std::string& label, Input logits, Input targets,
                       Reduction reduction = Reduction::mean, std::int64_t ignore_index = -100) {
    all.cases.push_back(
        {.label = label,
         .inputs = {std::move(logits), std::move(targets)},
         .call = [=](Tensors in) { return Tensors{cross_entropy(in[0], in[1], reduction, ignore_index)}; },
         .formula =
             [=](const Arrays& in) { return Arrays{cross_entropy_formula(in, reduction, ignore_index)}; },
         .slack = 4});
  };
  const auto classes = [](const Shape& shape, double n, Kind kind = Kind::ids) {
    return Input{.shape = shape, .low = 0, .high = n, .kind = kind};
  };
  add("one row", {.shape = {5}}, classes({}, 5));
  add("size 1", {.shape = {1, 1}}, classes({1}, 1));
  add("no rows", {.shape = {0, 3}}, classes({0}, 3), Reduction::sum);
  add("no rows, each", {.shape = {0, 3}}, classes({0}, 3), Reduction::none);
  add("31 classes", {.shape = {5, 31}, .low = -4, .high = 4}, classes({5}, 31));
  add("33 classes, int32", {.shape = {5, 33}, .low = -4, .high = 4}, classes({5}, 33, Kind::ids32));
  add("each", {.shape = {5, 7}}, classes({5}, 7), Reduction::none);
  add("sum", {.shape = {5, 7}}, classes({5}, 7), Reduction::sum);
  add("three axes", {.shape = {2, 3, 7}}, classes({2, 3}, 7));
  add("three axes, each", {.shape = {2, 3, 7}}, classes({2, 3}, 7), Reduction::none);
  add("permuted", {.shape = {5, 7}, .order = Order::permuted}, classes({5}, 7));
  add("channels-last", {.shape = {2, 3, 4, 5}, .order = Order::channels_last}, classes({2, 3, 4}, 5));
  add("gaps", {.shape = {5, 7}, .order = Order::gaps},
      {.shape = {5}, .low = 0, .high = 7, .order = Order::gaps, .kind = Kind::ids});
  for (const Reduction reduction : {Reduction::mean, Reduction::sum, Reduction::none}) {
    add("ignored " + std::to_string(static_cast<int>(reduction)), {.shape = {4, 3}},
        {.shape = {4}, .kind = Kind::ids, .values = {2, -100, 0, -100}}, reduction);
  }
  add("ignored class 1", {.shape = {4, 3}}, {.shape = {4}, .kind = Kind::ids, .values = {2, 1, 0, 1}},
      Reduction::mean, 1);
  add("all ignored", {.shape = {2, 3}}, {.shape = {2}, .kind = Kind::ids, .values = {-100, -100}});
  all.cases.back().has_derivative = false;  // the mean of nothing is NaN
  add("several blocks", {.shape = {301, 257}}, classes({301}, 257));
  add("many classes", {.shape = {3, 20001}}, classes({3}, 20001));
  all.refusals = {
      refused<ShapeError>("targets of other sizes", "logits (2, 3) need targets",
                          [] {
                            cross_entropy(zeros({2, 3}), arange(3));
                          }),
      refused<ShapeError>("a scalar", "logits ()", [] { cross_entropy(scalar(1), arange(1)); }),
      refused<TypeError>("targets of fractions", "targets are float32",
                         [] {
                           cross_entropy(zeros({2, 3}), zeros({2}));
                         }),
      refused<ValueError>("a class too far", "target 3 is outside [0, 3)",
                          [] {
                            cross_entropy(zeros({4, 3}), arange(4));
                          }),
      refused<ValueError>("a negative class", "target -1",
                          [] {
                            cross_entropy(zeros({1, 3}), arange(1) - 1);
                          }),
  };
  all.speed.push_back({.label = "2048x8192",
                       .inputs = {{.shape = {2048, 8192}}, classes({2048}, 8192)},
                       .call = [](Tensors in) { return Tensors{cross_entropy(in[0], in[1])}; }});
  return all;
}

Cases CasesOf<ops::LinearCrossEntropy>::make() {
  Cases all{.table = &op_table<ops::LinearCrossEntropy>(), .by_a_library = true};
  const auto add = [&](const std::string& label, Input x, std::int64_t classes, Input targets,
                       std::int64_t chunk, Reduction reduction = Reduction::mean,
                       std::int64_t ignore_index = -100) {
    const std::int64_t channels = x.shape[x.shape.rank() - 1];
    targets.high = static_cast<double>(classes);
    all.cases.push_back(
        {.label = label,
         .inputs = {std::move(x), {.shape = {classes, channels}}, std::move(targets)},
         .call =
             [=](Tensors in) {
               return Tensors{linear_cross_entropy(in[0], in[1], in[2], chunk, reduction, ignore_index)};
             },
         .formula =
             [=](const Arrays& in) {
               Shape shape = in[0].shape;
               shape.set(shape.rank() - 1, classes);
               const Array logits =
                   generate(shape, [&, row = std::int64_t{0}, c = std::int64_t{0}](const Index&) mutable {
                     double sum = 0;
                     for (std::int64_t k = 0; k < channels; ++k)
                       sum += in[0][row * channels + k] * in[1][c * channels + k];
                     if (++c == classes) c = 0, ++row;
                     return sum;
                   });
               return Arrays{cross_entropy_formula({logits, in[2]}, reduction, ignore_index)};
             },
         .slack = 8});
  };
  const auto ids = [](const Shape& shape, Kind kind = Kind::ids) {
    return Input{.shape = shape, .low = 0, .kind = kind};
  };
  add("one row", {.shape = {5}}, 3, ids({}), 4);
  add("size 1", {.shape = {1, 1}}, 1, ids({1}), 1);
  add("no rows", {.shape = {0, 3}}, 4, ids({0}), 2, Reduction::sum);
  add("one chunk", {.shape = {5, 7}}, 31, ids({5}), 5);
  add("many classes, no whole tile of them", {.shape = {5, 7}}, 1030, ids({5}), 2);
  add("chunks of one", {.shape = {5, 7}}, 33, ids({5}, Kind::ids32), 1);
  add("a rest", {.shape = {7, 8}}, 9, ids({7}), 3);
  add("each", {.shape = {7, 8}}, 9, ids({7}), 3, Reduction::none);
  add("sum", {.shape = {7, 8}}, 9, ids({7}), 2, Reduction::sum);
  add("three axes", {.shape = {2, 3, 8}}, 9, ids({2, 3}), 4);
  add("three axes, each", {.shape = {2, 3, 8}}, 9, ids({2, 3}), 4, Reduction::none);
  add("permuted", {.shape = {5, 7}, .order = Order::permuted}, 6, ids({5}), 2);
  add("ignored", {.shape = {4, 3}}, 5, {.shape = {4}, .kind = Kind::ids, .values = {2, -100, 0, -100}}, 3);
  add("a chunk of ignored", {.shape = {4, 3}}, 5,
      {.shape = {4}, .kind = Kind::ids, .values = {2, 1, -100, -100}}, 2);
  add("several blocks", {.shape = {97, 64}}, 257, ids({97}), 32);
  all.refusals = {
      refused<ShapeError>("other channels", "x (2, 3) and weight (5, 4)",
                          [] {
                            linear_cross_entropy(zeros({2, 3}), zeros({5, 4}), arange(2));
                          }),
      refused<ShapeError>("targets of other sizes", "need targets",
                          [] {
                            linear_cross_entropy(zeros({2, 3}), zeros({5, 3}), arange(3));
                          }),
      refused<TypeError>("targets of fractions", "targets are float32",
                         [] {
                           linear_cross_entropy(zeros({2, 3}), zeros({5, 3}), zeros({2}));
                         }),
      refused<ValueError>("a class too far", "target 5 is outside [0, 5)",
                          [] {
                            linear_cross_entropy(zeros({6, 3}), zeros({5, 3}), arange(6));
                          }),
      refused<ValueError>("no chunk", "chunk is 0",
                          [] {
                            linear_cross_entropy(zeros({2, 3}), zeros({5, 3}), arange(2), 0);
                          }),
  };
  all.speed.push_back({.label = "2048x256 to 8192",
                       .inputs = {{.shape = {2048, 256}},
                                  {.shape = {8192, 256}},
                                  {.shape = {2048}, .low = 0, .high = 8192, .kind = Kind::ids}},
                       .call = [](Tensors in) { return Tensors{linear_cross_entropy(in[0], in[1], in[2])}; },
                       .flops = 2.0 * 2048 * 256 * 8192});
  return all;
}

}  // namespace reprise::op_test
