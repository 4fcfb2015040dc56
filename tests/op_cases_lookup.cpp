// Cases of embedding and dropout.
#include <cmath>

#include "op_cases.h"
#include "reprise/kernels/philox.h"

namespace reprise::op_test {

Cases CasesOf<ops::Embedding>::make() {
  Cases all{.table = &op_table<ops::Embedding>()};
  const auto call = [](Tensors in) { return Tensors{embedding(in[0], in[1])}; };
  const auto add = [&](const char* label, Input weight, Input ids) {
    if (ids.kind == Kind::real) ids.kind = Kind::ids;
    ids.low = 0;
    ids.high = static_cast<double>(weight.shape[0]);
    all.cases.push_back({.label = label,
                         .inputs = {std::move(weight), std::move(ids)},
                         .call = call,
                         .formula = [](const Arrays& in) {
                           Shape shape = in[1].shape;
                           const std::int64_t width = in[0].shape[1];
                           shape.push_back(width);
                           Array y(shape);
                           for (std::int64_t i = 0; i < shape.numel(); ++i) {
                             y[i] = in[0].at({static_cast<std::int64_t>(in[1][i / width]), i % width});
                           }
                           return Arrays{y};
                         }});
  };
  add("one id", {.shape = {5, 3}}, {.shape = {}});
  add("size 1", {.shape = {1, 1}}, {.shape = {1}});
  add("no ids", {.shape = {5, 3}}, {.shape = {0}});
  add("no columns", {.shape = {5, 0}}, {.shape = {3}});
  add("31 columns", {.shape = {7, 31}}, {.shape = {33}});
  add("33 columns, int32", {.shape = {7, 33}}, {.shape = {2, 5}, .kind = Kind::ids32});
  add("one id many times", {.shape = {5, 3}}, {.shape = {6}, .values = {2, 2, 2, 0, 2, 4}});
  add("permuted", {.shape = {5, 7}, .order = Order::permuted}, {.shape = {3, 4}, .order = Order::permuted});
  add("gaps", {.shape = {5, 7}, .order = Order::gaps}, {.shape = {9}, .order = Order::gaps});
  add("several blocks", {.shape = {101, 257}}, {.shape = {303}});
  all.refusals = {
      refused<ValueError>("an id too far", "id 3 is outside [0, 3)",
                          [] {
                            embedding(zeros({3, 2}), arange(4));
                          }),
      refused<ValueError>("a negative id", "id -1",
                          [] {
                            embedding(zeros({3, 2}), arange(2) - 1);
                          }),
      refused<ValueError>("an id of an empty table", "id 0 is outside [0, 0)",
                          [] {
                            embedding(zeros({0, 2}), arange(1));
                          }),
      refused<TypeError>("ids of fractions", "ids are float32",
                         [] {
                           embedding(zeros({3, 2}), zeros({4}));
                         }),
      refused<ShapeError>("a table of one axis", "weight must be (V, C), not (3)",
                          [] { embedding(zeros({3}), arange(2)); }),
  };
  all.speed.push_back(
      {.label = "2048 ids of 8192x192",
       .inputs = {{.shape = {8192, 192}}, {.shape = {2048}, .low = 0, .high = 8192, .kind = Kind::ids}},
       .call = call});
  return all;
}

Cases CasesOf<ops::Dropout>::make() {
  Cases all{.table = &op_table<ops::Dropout>()};
  const auto add = [&](const char* label, const Shape& shape, double p, Order order = Order::row_major) {
    all.cases.push_back(
        {.label = label,
         .inputs = {{.shape = shape, .order = order}},
         .call = [p](Tensors in) { return Tensors{dropout(std::move(in[0]), p)}; },
         .formula =
             [p, order](const Arrays& in) {
               const kernels::philox::DropRule rule = kernels::philox::drop_rule(p);
               const Shape& sizes = in[0].shape;
               return Arrays{generate(sizes, [&](const Index& i) {
                 std::int64_t element = 0;
                 const bool channels_last = order == Order::channels_last;
                 for (int k = 0; k < sizes.rank(); ++k) {
                   const int axis = channels_last ? std::array{0, 2, 3, 1}[static_cast<std::size_t>(k)] : k;
                   element = element * sizes[axis] + i[static_cast<std::size_t>(axis)];
                 }
                 const bool drops =
                     rule.drops(kernels::philox::word_of(kSeed, 0, static_cast<std::uint64_t>(element)));
                 return drops ? 0 : in[0].at(i) / (1 - p);
               })};
             }});
  };
  add("scalar", {}, 0.5);
  add("size 1", {1}, 0.5);
  add("empty", {0, 3}, 0.5);
  add("31", {31}, 0.1);
  add("32", {32}, 0.5);
  add("33", {33}, 0.9);
  add("odd", {3, 5, 7}, 0.3);
  add("permuted", {5, 7}, 0.3, Order::permuted);
  add("gaps", {5, 7}, 0.3, Order::gaps);
  add("channels-last", {2, 3, 4, 5}, 0.3, Order::channels_last);
  add("several blocks", {70001}, 0.1);
  add("everything", {5, 7}, 1);
  all.refusals = {
      refused<ValueError>("more than everything", "probability 1.5", [] { dropout(zeros({3}), 1.5); }),
      refused<ValueError>("a negative probability", "probability -0.5", [] { dropout(zeros({3}), -0.5); }),
      refused<ValueError>("no number", "probability nan", [] { dropout(zeros({3}), NAN); }),
      refused<TypeError>("integers", "takes floating tensors", [] { dropout(arange(3), 0.5); }),
  };
  all.speed.push_back({.label = "4M", .inputs = {{.shape = {4 << 20}}}, .call = [](Tensors in) {
                         return Tensors{dropout(in[0], 0.1)};
                       }});
  return all;
}

}  // namespace reprise::op_test
