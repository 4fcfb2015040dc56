// Cases of the reductions.
#include <algorithm>
#include <cmath>
#include <limits>

#include "op_cases.h"

namespace reprise::op_test {
namespace {

using kernels::Reduce;

/// Axes in a form that can be kept: Axes is an initializer list.
struct Form {
  const char* label;
  Shape shape;
  ops::AxisMask axes;
  bool keep = false;
  Order order = Order::row_major;
  double slack = 1;  // sums of many elements of both signs
};

Array reduce(Reduce function, const Array& x, ops::AxisMask axes, bool keep) {
  Shape kept;
  Shape result;
  double count = 1;
  for (int axis = 0; axis < x.shape.rank(); ++axis) {
    const bool reduced = (axes >> axis & 1u) != 0;
    kept.push_back(reduced ? 1 : x.shape[axis]);
    if (!reduced || keep) result.push_back(kept[axis]);
    if (reduced) count *= static_cast<double>(x.shape[axis]);
  }
  Array y(kept, function == Reduce::max ? -std::numeric_limits<double>::infinity() : 0);
  for_each_index(x.shape, [&](const Index& index) {
    Index to = index;
    for (int axis = 0; axis < kept.rank(); ++axis) {
      if ((axes >> axis & 1u) != 0) to[static_cast<std::size_t>(axis)] = 0;
    }
    double& at = y.at(to);
    at = function == Reduce::max ? std::max(at, x.at(index)) : at + x.at(index);
  });
  y.shape = result;
  if (function == Reduce::mean) {
    for (double& value : y.values) value /= count;
  }
  return y;
}

const std::vector<Form>& forms() {
  static const std::vector<Form> all{
      {"scalar", {}, 0},
      {"scalar, kept", {}, 0, true},
      {"size 1", {1}, 1},
      {"no axes named", {3, 5}, 0},
      {"empty, an axis that is not", {0, 3}, 2},
      {"empty axis", {0, 3}, 1},
      {"all of 31", {31}, 1},
      {"all of 32", {32}, 1},
      {"all of 33", {33}, 1},
      {"rows", {5, 33}, 2},
      {"columns", {33, 5}, 1},
      {"columns, kept", {33, 5}, 1, true},
      {"middle", {3, 7, 5}, 2},
      {"outer two", {3, 7, 5}, 3},
      {"first and last, kept", {3, 7, 5}, 5, true},
      {"all, kept", {3, 7}, 3, true},
      {"permuted", {5, 7}, 2, false, Order::permuted},
      {"gaps", {5, 7}, 1, false, Order::gaps},
      {"channels-last", {2, 3, 4, 5}, 12, false, Order::channels_last},
      {"channels-last, channels", {2, 3, 4, 5}, 2, false, Order::channels_last},
      {"several blocks of rows", {211, 1001}, 2, false, Order::row_major, 8},
      {"several blocks of columns", {1001, 211}, 1, false, Order::row_major, 8},
      {"several blocks in all", {70001}, 1, false, Order::row_major, 8},
  };
  return all;
}

template <Reduce F>
Tensor call_reduce(const Tensor& x, ops::AxisMask axes, bool keep) {
  return apply(ops::ReduceOver<F>{.axes = axes, .keep = keep}, x);
}

Tensor call_reduce(Reduce function, const Tensor& x, ops::AxisMask axes, bool keep) {
  switch (function) {
    case Reduce::sum:
      return call_reduce<Reduce::sum>(x, axes, keep);
    case Reduce::mean:
      return call_reduce<Reduce::mean>(x, axes, keep);
    case Reduce::max:
      break;
  }
  return call_reduce<Reduce::max>(x, axes, keep);
}

/// The free functions, which translate axes, and what is made of them.
void add_compositions(Reduce function, std::vector<Case>& cases) {
  using Call = Tensor (*)(const Tensor&, Axes, bool);
  const Call call = function == Reduce::sum ? Call{sum} : function == Reduce::mean ? Call{mean} : Call{max};
  const auto add = [&](const char* label, auto axes_call, ops::AxisMask axes, bool keep) {
    cases.push_back({.label = label,
                     .inputs = {{.shape = {2, 3, 4, 5}}},
                     .call = axes_call,
                     .formula = [=](const Arrays& in) { return Arrays{reduce(function, in[0], axes, keep)}; },
                     .distinct = true,
                     .slack = 4});  // 120 elements whose sum is 0: each partial sum rounds
  };
  add(
      "axes from the back",
      [call](Tensors in) {
        return Tensors{call(in[0], {-1, 0}, false)};
      },
      9, false);
  add(
      "all axes by default", [call](Tensors in) { return Tensors{call(in[0], {}, true)}; }, 15, true);
  for (const int axis : {0, -1}) {
    cases.push_back({.label = axis == 0 ? "a scalar along axis 0" : "a scalar along its last axis",
                     .inputs = {{.shape = {}}},
                     .call = [call, axis](Tensors in) { return Tensors{call(in[0], {axis}, axis == 0)}; },
                     .formula = [](const Arrays& in) { return Arrays{in[0]}; }});
  }
  if (function == Reduce::max) return;
  if (function == Reduce::mean)
    add(
        "global average pooling", [](Tensors in) { return Tensors{global_avg_pool2d(in[0])}; }, 12, false);
  const Reduction reduction = function == Reduce::sum ? Reduction::sum : Reduction::mean;
  cases.push_back({.label = "squared errors",
                   .inputs = {{.shape = {5, 7}}, {.shape = {5, 7}, .order = Order::permuted}},
                   .call = [reduction](Tensors in) { return Tensors{mse_loss(in[0], in[1], reduction)}; },
                   .formula =
                       [function](const Arrays& in) {
                         Array each = in[0];
                         for (std::size_t i = 0; i < each.values.size(); ++i)
                           each.values[i] = std::pow(each.values[i] - in[1].values[i], 2);
                         return Arrays{reduce(function, each, 3, false)};
                       },
                   .slack = 2,
                   .composed = true});
}

}  // namespace

Cases reduce_cases(const OpTable& table, Reduce function) {
  Cases all{.table = &table, .dtypes = function == Reduce::sum ? kAllTypes : kFloats};
  const auto has_nothing = [](const Form& form) {
    for (int axis = 0; axis < form.shape.rank(); ++axis) {
      if ((form.axes >> axis & 1u) != 0 && form.shape[axis] == 0) return true;
    }
    return false;
  };
  for (const Form& form : forms()) {
    if (function == Reduce::max && has_nothing(form)) {
      all.refusals.push_back(refused<ShapeError>(
          form.label, "is empty", [=] { call_reduce(function, zeros(form.shape), form.axes, form.keep); }));
      continue;
    }
    all.cases.push_back(
        {.label = form.label,
         .inputs = {{.shape = form.shape, .order = form.order}},
         .call = [=](Tensors in) { return Tensors{call_reduce(function, in[0], form.axes, form.keep)}; },
         .formula = [=](const Arrays& in) { return Arrays{reduce(function, in[0], form.axes, form.keep)}; },
         .distinct = function == Reduce::max,
         .slack = form.slack});
  }
  add_compositions(function, all.cases);
  using Call = Tensor (*)(const Tensor&, Axes, bool);
  const Call call = function == Reduce::sum ? Call{sum} : function == Reduce::mean ? Call{mean} : Call{max};
  all.refusals.push_back(refused<ShapeError>("an axis too far", "axis 2", [call] {
    call(zeros({3, 4}), {2}, false);
  }));
  all.refusals.push_back(refused<ShapeError>("an axis too far from the back", "axis -3", [call] {
    call(zeros({3, 4}), {-3}, false);
  }));
  all.refusals.push_back(refused<ShapeError>("an axis twice", "axis 0 of (2, 3) is named twice", [call] {
    call(zeros({2, 3}), {0, 0}, false);
  }));
  all.refusals.push_back(
      refused<ShapeError>("an axis twice, once from the back", "axis -2 of (2, 3) is named twice", [call] {
        call(zeros({2, 3}), {0, -2}, false);
      }));
  all.refusals.push_back(refused<ShapeError>("an axis too far of a scalar",
                                             "axis 1 of a tensor without axes; give 0 or -1",
                                             [call] { call(scalar(2), {1}, false); }));
  all.refusals.push_back(
      refused<ShapeError>("the axis of a scalar twice", "axis -1 of () is named twice", [call] {
        call(scalar(2), {0, -1}, false);
      }));
  if (function != Reduce::sum) {
    all.refusals.push_back(
        refused<TypeError>("integers", "int64 (3)", [call] { call(arange(3), {}, false); }));
  }
  for (const ops::AxisMask axes : {1u, 2u, 3u}) {
    all.speed.push_back(
        {.label = axes == 1   ? "columns of 4096x1024"
                  : axes == 2 ? "rows of 4096x1024"
                              : "all of 4096x1024",
         .inputs = {{.shape = {4096, 1024}}},
         .call = [=](Tensors in) { return Tensors{call_reduce(function, in[0], axes, false)}; }});
  }
  return all;
}

Cases CasesOf<ops::Argmax>::make() {
  Cases all{.table = &op_table<ops::Argmax>()};
  const auto add = [&](const char* label, Input input, int axis) {
    all.cases.push_back({.label = label,
                         .inputs = {std::move(input)},
                         .call = [axis](Tensors in) { return Tensors{argmax(in[0], axis)}; },
                         .formula =
                             [axis](const Arrays& in) {
                               const Array& x = in[0];
                               const auto at =
                                   static_cast<std::size_t>(axis < 0 ? axis + x.shape.rank() : axis);
                               Shape rest;
                               for (int a = 0; a < x.shape.rank(); ++a) {
                                 if (static_cast<std::size_t>(a) != at) rest.push_back(x.shape[a]);
                               }
                               return Arrays{generate(rest, [&](const Index& index) {
                                 Index from{};
                                 for (std::size_t a = 0, r = 0; a < kMaxRank; ++a) {
                                   if (a != at && r < kMaxRank) from[a] = index[r++];
                                 }
                                 Index best = from;
                                 for (; from[at] < x.shape[static_cast<int>(at)]; ++from[at]) {
                                   if (x.at(from) > x.at(best)) best = from;
                                 }
                                 return static_cast<double>(best[at]);
                               })};
                             },
                         .has_derivative = false});
  };
  add("size 1", {.shape = {1}}, 0);
  add("empty", {.shape = {0, 3}}, 1);
  add("31", {.shape = {31}}, -1);
  add("33", {.shape = {33}}, -1);
  add("rows", {.shape = {5, 33}}, 1);
  add("columns", {.shape = {33, 5}}, 0);
  add("ties", {.shape = {2, 4}, .values = {1, 3, 3, 2, 5, 5, 1, 5}}, 1);
  add("middle, permuted", {.shape = {3, 7, 5}, .order = Order::permuted}, 1);
  add("gaps", {.shape = {5, 7}, .order = Order::gaps}, -1);
  add("several blocks", {.shape = {211, 401}}, 1);
  all.refusals = {
      refused<TypeError>("integers", "int64 (3)", [] { argmax(arange(3)); }),
      refused<ShapeError>("an empty axis", "is empty",
                          [] {
                            argmax(zeros({3, 0}));
                          }),
      refused<ShapeError>("an axis too far", "axis 1", [] { argmax(zeros({3}), 1); }),
      refused<ShapeError>("an axis too far of a scalar", "axis 1 of a tensor without axes",
                          [] { argmax(scalar(1), 1); }),
  };
  all.speed.push_back({.label = "rows of 4096x1024",
                       .inputs = {{.shape = {4096, 1024}}},
                       .call = [](Tensors in) { return Tensors{argmax(in[0])}; }});
  return all;
}

}  // namespace reprise::op_test
