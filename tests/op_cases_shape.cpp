// Cases of views and rearrangements.
#include <algorithm>

#include "op_cases.h"

namespace reprise::op_test {
namespace {

constexpr std::size_t at(int axis) { return static_cast<std::size_t>(axis); }

using Call = std::function<Tensors(Tensors)>;
using Formula = std::function<Arrays(const Arrays&)>;

/// x[start : : step] along an axis, `length` elements.
Array part(const Array& x, int axis, std::int64_t start, std::int64_t length, std::int64_t step = 1) {
  Shape shape = x.shape;
  shape.set(axis, length);
  return generate(shape, [&](Index index) {
    index[at(axis)] = start + step * index[at(axis)];
    return x.at(index);
  });
}

Array permuted(const Array& x, const std::vector<int>& axes) {
  std::vector<std::int64_t> sizes;
  for (const int axis : axes) sizes.push_back(x.shape[axis]);
  const Shape shape{std::span<const std::int64_t>(sizes)};
  return generate(shape, [&](const Index& index) {
    Index from{};
    for (int axis = 0; axis < shape.rank(); ++axis) from[at(axes[at(axis)])] = index[at(axis)];
    return x.at(from);
  });
}

Array concatenated(const Arrays& in, int axis) {
  Shape shape = in[0].shape;
  shape.set(axis, 0);
  for (const Array& array : in) shape.set(axis, shape[axis] + array.shape[axis]);
  return generate(shape, [&](Index index) {
    std::size_t which = 0;
    while (index[at(axis)] >= in[which].shape[axis]) index[at(axis)] -= in[which++].shape[axis];
    return in[which].at(index);
  });
}

Case shape_case(const char* label, Input input, Call call, Formula formula) {
  return {
      .label = label, .inputs = {std::move(input)}, .call = std::move(call), .formula = std::move(formula)};
}

}  // namespace

Cases CasesOf<ops::Reshape>::make() {
  Cases all{.table = &op_table<ops::Reshape>(), .dtypes = kAllTypes};
  const auto add = [&](const char* label, const Shape& from, const Shape& to,
                       Order order = Order::row_major) {
    all.cases.push_back(shape_case(
        label, {.shape = from, .order = order}, [to](Tensors in) { return Tensors{reshape(in[0], to)}; },
        [to](const Arrays& in) {
          Arrays out = in;
          out[0].shape = to;
          return out;
        }));
  };
  add("scalar to a row", {}, {1, 1});
  add("size 1 to a scalar", {1}, {});
  add("empty", {0, 6}, {3, 0, 5});
  add("31", {31}, {31, 1});
  add("33", {33}, {3, 11});
  add("joined and cut", {4, 6, 5}, {8, 15});
  add("gaps, cut", {3, 12}, {3, 3, 4}, Order::gaps);
  add("gaps in rows, joined", {3, 4, 5}, {12, 5}, Order::gaps);
  add("channels-last, H and W joined", {2, 3, 4, 5}, {2, 3, 20}, Order::channels_last);
  all.cases.back().composed = true;
  add("permuted: a copy", {5, 7}, {35}, Order::permuted);
  all.cases.back().composed = true;
  add("stride 0", {4, 6}, {4, 2, 3}, Order::expanded);
  add("several blocks", {301, 256}, {256, 301});
  all.cases.push_back(shape_case(
      "an open size", {.shape = {4, 6}},
      [](Tensors in) {
        return Tensors{reshape(in[0], {3, -1, 2})};
      },
      [](const Arrays& in) {
        Arrays out = in;
        out[0].shape = {3, 4, 2};
        return out;
      }));
  all.cases.push_back(shape_case(
      "flatten", {.shape = {2, 3, 4, 5}}, [](Tensors in) { return Tensors{flatten(in[0], 1, -2)}; },
      [](const Arrays& in) {
        Arrays out = in;
        out[0].shape = {2, 12, 5};
        return out;
      }));
  all.cases.push_back(shape_case(
      "select", {.shape = {5, 7}, .order = Order::permuted},
      [](Tensors in) { return Tensors{select(in[0], 1, -3)}; },
      [](const Arrays& in) {
        Array out = part(in[0], 1, 4, 1);
        out.shape = {5};
        return Arrays{out};
      }));
  all.cases.back().composed = true;
  all.refusals = {
      refused<ShapeError>("another count", "(2, 3) has 6 elements, (4) needs 4",
                          [] {
                            reshape(zeros({2, 3}), {4});
                          }),
      refused<ShapeError>("two open sizes", "more than one -1",
                          [] {
                            reshape(zeros({2, 3}), {-1, -1});
                          }),
      refused<ShapeError>("an open size that does not come out", "no size fits the -1",
                          [] {
                            reshape(zeros({2, 3}), {4, -1});
                          }),
      refused<ShapeError>("an open size of nothing", "no size fits the -1",
                          [] {
                            reshape(zeros({0}), {0, -1});
                          }),
      refused<ShapeError>("flatten from back to front", "lies behind",
                          [] {
                            flatten(zeros({2, 3}), 1, 0);
                          }),
      refused<ValueError>("select outside", "index 3",
                          [] {
                            select(zeros({2, 3}), 1, 3);
                          }),
      refused<ShapeError>("a view where none is possible", "without a copy",
                          [] {
                            apply(ops::Reshape{.shape = {6}}, transpose(zeros({2, 3}), 0, 1));
                          }),
  };
  all.speed.push_back({.label = "view", .inputs = {{.shape = {64, 64}}}, .call = [](Tensors in) {
                         return Tensors{reshape(in[0], {4096})};
                       }});
  return all;
}

Cases CasesOf<ops::Permute>::make() {
  Cases all{.table = &op_table<ops::Permute>(), .dtypes = kAllTypes};
  const auto add = [&](const char* label, Input input, const std::vector<int>& axes) {
    ops::Permute op;
    for (std::size_t i = 0; i < axes.size(); ++i) op.axes[i] = static_cast<std::int8_t>(axes[i]);
    all.cases.push_back(shape_case(
        label, std::move(input), [op](Tensors in) { return Tensors{apply(op, in[0])}; },
        [axes](const Arrays& in) { return Arrays{permuted(in[0], axes)}; }));
  };
  add("scalar", {.shape = {}}, {});
  add("size 1", {.shape = {1}}, {0});
  add("empty", {.shape = {0, 3, 2}}, {2, 0, 1});
  add("as it is", {.shape = {31, 2}}, {0, 1});
  add("odd", {.shape = {3, 5, 7}}, {2, 0, 1});
  add("gaps", {.shape = {3, 11}, .order = Order::gaps}, {1, 0});
  add("channels last to row-major", {.shape = {2, 3, 4, 5}, .order = Order::channels_last}, {0, 2, 3, 1});
  add("stride 0", {.shape = {4, 5}, .order = Order::expanded}, {1, 0});
  add("several blocks", {.shape = {253, 301}}, {1, 0});
  all.cases.push_back(shape_case(
      "from the back", {.shape = {3, 5, 7}},
      [](Tensors in) {
        return Tensors{permute(in[0], {-1, 1, -3})};
      },
      [](const Arrays& in) {
        return Arrays{permuted(in[0], {2, 1, 0})};
      }));
  all.cases.push_back(shape_case(
      "transpose", {.shape = {3, 5, 7}}, [](Tensors in) { return Tensors{transpose(in[0], -1, 0)}; },
      [](const Arrays& in) {
        return Arrays{permuted(in[0], {2, 1, 0})};
      }));
  all.refusals = {
      refused<ShapeError>("an axis twice", "(0, 0) does not name each axis of (2, 3) once",
                          [] {
                            permute(zeros({2, 3}), {0, 0});
                          }),
      refused<ShapeError>("too few axes", "does not name each axis",
                          [] {
                            permute(zeros({2, 3}), {0});
                          }),
      refused<ShapeError>("an axis too far", "axis 2",
                          [] {
                            permute(zeros({2, 3}), {0, 2});
                          }),
      refused<ShapeError>("transpose too far", "axis 2",
                          [] {
                            transpose(zeros({2, 3}), 0, 2);
                          }),
  };
  all.speed.push_back({.label = "view", .inputs = {{.shape = {64, 64}}}, .call = [](Tensors in) {
                         return Tensors{transpose(in[0], 0, 1)};
                       }});
  return all;
}

Cases CasesOf<ops::Slice>::make() {
  Cases all{.table = &op_table<ops::Slice>(), .dtypes = kAllTypes};
  const auto add = [&](const char* label, Input input, int axis, std::int64_t start, std::int64_t stop,
                       std::int64_t step, std::int64_t first, std::int64_t length) {
    all.cases.push_back(shape_case(
        label, std::move(input), [=](Tensors in) { return Tensors{slice(in[0], axis, start, stop, step)}; },
        [=](const Arrays& in) {
          return Arrays{part(in[0], axis < 0 ? axis + in[0].shape.rank() : axis, first, length, step)};
        }));
  };
  add("size 1", {.shape = {1}}, 0, 0, 1, 1, 0, 1);
  add("of nothing", {.shape = {0, 3}}, 0, 0, 1, 1, 0, 0);
  add("to nothing", {.shape = {5}}, 0, 3, 3, 1, 3, 0);
  add("front", {.shape = {33}}, 0, 0, 31, 1, 0, 31);
  add("back, from the back", {.shape = {33}}, -1, -2, 40, 1, 31, 2);
  add("every third", {.shape = {5, 11}}, 1, 1, 11, 3, 1, 4);
  add("middle axis", {.shape = {3, 7, 5}}, 1, 2, 5, 1, 2, 3);
  add("permuted", {.shape = {5, 7}, .order = Order::permuted}, 0, 1, 4, 2, 1, 2);
  add("gaps", {.shape = {5, 7}, .order = Order::gaps}, 1, 1, 6, 2, 1, 3);
  add("channels of channels-last", {.shape = {2, 6, 4, 5}, .order = Order::channels_last}, 1, 2, 5, 1, 2, 3);
  add("several blocks", {.shape = {301, 253}}, 1, 3, 250, 1, 3, 247);
  all.refusals = {
      refused<ValueError>("step 0", "step 0", [] { slice(zeros({3}), 0, 0, 3, 0); }),
      refused<ValueError>("a negative step", "step -1", [] { slice(zeros({3}), 0, 0, 3, -1); }),
      refused<ShapeError>("an axis too far", "axis 1", [] { slice(zeros({3}), 1, 0, 3); }),
      refused<ShapeError>("a scalar", "axis 0", [] { slice(scalar(1), 0, 0, 1); }),
  };
  all.speed.push_back({.label = "view", .inputs = {{.shape = {64, 64}}}, .call = [](Tensors in) {
                         return Tensors{slice(in[0], 0, 1, 9)};
                       }});
  return all;
}

Cases CasesOf<ops::Expand>::make() {
  Cases all{.table = &op_table<ops::Expand>(), .dtypes = kAllTypes};
  const auto add = [&](const char* label, Input input, const Shape& to) {
    all.cases.push_back(shape_case(
        label, std::move(input), [to](Tensors in) { return Tensors{expand(in[0], to)}; },
        [to](const Arrays& in) {
          return Arrays{generate(to, [&](const Index& i) { return in[0].broadcast_at(to, i); })};
        }));
  };
  add("scalar", {.shape = {}}, {});
  add("scalar to a matrix", {.shape = {}}, {3, 5});
  add("size 1 to nothing", {.shape = {1}}, {0});
  add("empty", {.shape = {1, 0}}, {4, 0});
  add("size 1", {.shape = {1}}, {31});
  add("rows", {.shape = {33}}, {3, 33});
  add("columns, permuted", {.shape = {5, 1}, .order = Order::permuted}, {5, 7});
  add("gaps", {.shape = {3, 1, 2}, .order = Order::gaps}, {2, 3, 4, 2});
  add("as it is", {.shape = {5, 7}}, {5, 7});
  add("several blocks", {.shape = {301}}, {253, 301});
  all.refusals = {
      refused<ShapeError>("sizes that do not stretch", "(3)", [] { expand(zeros({3}), {4}); }),
      refused<ShapeError>("shrinking", "does not stretch to (1)", [] { expand(zeros({3}), {1}); }),
      refused<ShapeError>("fewer axes", "does not stretch to (3)",
                          [] {
                            expand(zeros({2, 3}), {3});
                          }),
  };
  all.speed.push_back({.label = "view", .inputs = {{.shape = {64}}}, .call = [](Tensors in) {
                         return Tensors{expand(in[0], {64, 64})};
                       }});
  return all;
}

Cases CasesOf<ops::Split>::make() {
  Cases all{.table = &op_table<ops::Split>(), .dtypes = kAllTypes};
  const auto add = [&](const char* label, Input input, std::int64_t size, int axis) {
    all.cases.push_back(shape_case(
        label, std::move(input), [=](Tensors in) { return split(in[0], size, axis); },
        [=](const Arrays& in) {
          const int own = axis < 0 ? axis + in[0].shape.rank() : axis;
          const std::int64_t n = in[0].shape[own];
          Arrays parts;
          for (std::int64_t start = 0; start < n; start += size) {
            parts.push_back(part(in[0], own, start, std::min(size, n - start)));
          }
          return parts;
        }));
  };
  add("size 1", {.shape = {1}}, 1, 0);
  add("empty parts", {.shape = {0, 6}}, 2, 1);
  add("one part", {.shape = {31}}, 40, 0);
  add("even", {.shape = {32}}, 16, 0);
  add("the last is smaller", {.shape = {33}}, 8, -1);
  add("middle axis", {.shape = {3, 7, 5}}, 3, 1);
  add("permuted", {.shape = {5, 7}, .order = Order::permuted}, 2, 0);
  add("gaps", {.shape = {5, 7}, .order = Order::gaps}, 3, 1);
  add("several blocks", {.shape = {301, 253}}, 100, 1);
  all.cases.push_back(shape_case(
      "one of the parts", {.shape = {5, 7}}, [](Tensors in) { return Tensors{split(in[0], 2, 1)[1]}; },
      [](const Arrays& in) { return Arrays{part(in[0], 1, 2, 2)}; }));
  all.refusals = {
      refused<ValueError>("parts of nothing", "parts of 0", [] { split(zeros({3}), 0, 0); }),
      refused<ShapeError>("an axis too far", "axis 1", [] { split(zeros({3}), 1, 1); }),
  };
  all.speed.push_back({.label = "view", .inputs = {{.shape = {64, 96}}}, .call = [](Tensors in) {
                         return split(in[0], 32, 1);
                       }});
  return all;
}

Cases CasesOf<ops::Concatenate>::make() {
  Cases all{.table = &op_table<ops::Concatenate>(), .dtypes = kAllTypes};
  const auto add = [&](const char* label, std::vector<Input> inputs, int axis) {
    all.cases.push_back({.label = label,
                         .inputs = std::move(inputs),
                         .call = [axis](Tensors in) { return Tensors{concatenate(in, axis)}; },
                         .formula =
                             [axis](const Arrays& in) {
                               return Arrays{concatenated(in, axis < 0 ? axis + in[0].shape.rank() : axis)};
                             }});
  };
  add("size 1", {{.shape = {1}}, {.shape = {1}}}, 0);
  add("one", {{.shape = {31}}}, 0);
  add("empty", {{.shape = {0, 3}}, {.shape = {0, 3}}}, 0);
  add("some empty", {{.shape = {0, 3}}, {.shape = {2, 3}}, {.shape = {0, 3}}}, 0);
  add("32 and 33", {{.shape = {32}}, {.shape = {33}}}, -1);
  add("columns", {{.shape = {5, 3}}, {.shape = {5, 1}}, {.shape = {5, 7}}}, 1);
  add("orders",
      {{.shape = {5, 3}, .order = Order::permuted},
       {.shape = {5, 4}, .order = Order::gaps},
       {.shape = {5, 2}}},
      1);
  add("channels-last",
      {{.shape = {2, 3, 4, 5}, .order = Order::channels_last},
       {.shape = {2, 1, 4, 5}, .order = Order::channels_last}},
      1);
  add("several blocks", {{.shape = {253, 100}}, {.shape = {253, 201}}}, 1);
  all.cases.push_back({.label = "more than a node takes",
                       .inputs = std::vector<Input>(70, Input{.shape = {2, 3}}),
                       .call = [](Tensors in) { return Tensors{concatenate(in, 1)}; },
                       .formula = [](const Arrays& in) { return Arrays{concatenated(in, 1)}; },
                       .composed = true});
  all.refusals = {
      refused<ShapeError>("nothing", "no tensors", [] { concatenate({}, 0); }),
      refused<ShapeError>("other sizes", "(3, 3) does not fit to (2, 2) along axis 0",
                          [] {
                            concatenate({zeros({2, 2}), zeros({3, 3})}, 0);
                          }),
      refused<ShapeError>("other ranks", "does not fit",
                          [] {
                            concatenate({zeros({2, 2}), zeros({2})}, 0);
                          }),
      refused<TypeError>("two dtypes", "dtypes differ",
                         [] {
                           concatenate({zeros({2}), arange(2)}, 0);
                         }),
      refused<ShapeError>("an axis too far", "axis 1", [] { concatenate({zeros({2})}, 1); }),
  };
  all.speed.push_back({.label = "3 of 2048x1024 in a row",
                       .inputs = std::vector<Input>(3, Input{.shape = {2048, 1024}}),
                       .call = [](Tensors in) { return Tensors{concatenate(in, 1)}; }});
  return all;
}

Cases CasesOf<ops::Pad>::make() {
  Cases all{.table = &op_table<ops::Pad>(), .dtypes = kAllTypes};
  const auto add = [&](const char* label, Input input, int axis, std::int64_t before, std::int64_t after) {
    all.cases.push_back(shape_case(
        label, std::move(input), [=](Tensors in) { return Tensors{pad(in[0], axis, before, after)}; },
        [=](const Arrays& in) {
          const Array& x = in[0];
          const int own = axis < 0 ? axis + x.shape.rank() : axis;
          Shape shape = x.shape;
          shape.set(own, shape[own] + before + after);
          return Arrays{generate(shape, [&](Index index) {
            index[at(own)] -= before;
            const bool inside = index[at(own)] >= 0 && index[at(own)] < x.shape[own];
            return inside ? x.at(index) : 0.0;
          })};
        }));
  };
  add("size 1", {.shape = {1}}, 0, 1, 1);
  add("empty", {.shape = {0, 3}}, 0, 2, 1);
  add("an empty axis stays", {.shape = {0, 3}}, 1, 2, 1);
  add("31 to 33", {.shape = {31}}, 0, 1, 1);
  add("nothing", {.shape = {32}}, 0, 0, 0);
  add("before, rows", {.shape = {5, 7}}, 0, 3, 0);
  add("after, columns", {.shape = {5, 7}}, -1, 0, 2);
  add("permuted", {.shape = {5, 7}, .order = Order::permuted}, 1, 2, 3);
  add("gaps", {.shape = {5, 7}, .order = Order::gaps}, 0, 2, 3);
  add("channels-last", {.shape = {2, 3, 4, 5}, .order = Order::channels_last}, 1, 1, 2);
  add("several blocks", {.shape = {253, 301}}, 1, 1, 1);
  all.refusals = {
      refused<ValueError>("negative padding", "negative padding -1", [] { pad(zeros({3}), 0, -1, 0); }),
      refused<ShapeError>("an axis too far", "axis 1", [] { pad(zeros({3}), 1, 1, 1); }),
      refused<ShapeError>("a scalar", "axis 0", [] { pad(scalar(1), 0, 1, 1); }),
  };
  all.speed.push_back({.label = "columns of 4096x1024",
                       .inputs = {{.shape = {4096, 1024}}},
                       .call = [](Tensors in) { return Tensors{pad(in[0], 1, 4, 4)}; }});
  return all;
}

}  // namespace reprise::op_test
