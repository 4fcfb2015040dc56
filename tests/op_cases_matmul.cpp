// Cases of matrix products and linear layers.
#include <cmath>
#include <numbers>

#include "op_cases.h"
#include "reprise/ops/broadcast.h"

namespace reprise::op_test {
namespace {

/// c = a b over the last two axes, the leading ones broadcast.
Array product(const Array& a, const Array& b) {
  const int rank_a = a.shape.rank();
  const int rank_b = b.shape.rank();
  const Shape batch_a(a.shape.span().first(static_cast<std::size_t>(rank_a - 2)));
  const Shape batch_b(b.shape.span().first(static_cast<std::size_t>(rank_b - 2)));
  const Shape batch = ops::broadcast_shapes("test", batch_a, batch_b);
  const std::int64_t rows = a.shape[rank_a - 2];
  const std::int64_t inner = a.shape[rank_a - 1];
  const std::int64_t columns = b.shape[rank_b - 1];
  Shape shape = batch;
  shape.push_back(rows);
  shape.push_back(columns);
  // Positions of whole matrices, as elements of arrays that are broadcast.
  const auto matrices = [](const Shape& of, std::int64_t elements) {
    Array first(of);
    for (std::int64_t i = 0; i < of.numel(); ++i) first[i] = static_cast<double>(i * elements);
    return first;
  };
  const Array first_a = matrices(batch_a, rows * inner);
  const Array first_b = matrices(batch_b, inner * columns);
  Array c(shape);
  std::int64_t out = 0;
  for_each_index(batch, [&](const Index& index) {
    const auto in_a = static_cast<std::int64_t>(first_a.broadcast_at(batch, index));
    const auto in_b = static_cast<std::int64_t>(first_b.broadcast_at(batch, index));
    for (std::int64_t i = 0; i < rows; ++i) {
      for (std::int64_t j = 0; j < columns; ++j, ++out) {
        for (std::int64_t k = 0; k < inner; ++k)
          c[out] += a[in_a + i * inner + k] * b[in_b + k * columns + j];
      }
    }
  });
  return c;
}

Array reshaped(Array x, const Shape& shape) {
  x.shape = shape;
  return x;
}

double apply_activation(Activation activation, double x) {
  switch (activation) {
    case Activation::none:
      return x;
    case Activation::relu:
      return x > 0 ? x : 0;
    case Activation::gelu_tanh:
      return x / 2 * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
    case Activation::gelu_erf:
      return x / 2 * (1 + std::erf(x / std::numbers::sqrt2));
    case Activation::silu:
      return x / (1 + std::exp(-x));
  }
  return x;
}

Array linear_formula(const Arrays& in, WeightLayout layout, bool has_bias, Activation activation) {
  const Array& x = in[0];
  const Array& w = in[1];
  const bool out_in = layout == WeightLayout::out_in;
  Shape shape = x.shape;
  const int last = shape.rank() - 1;
  shape.set(last, out_in ? w.shape[0] : w.shape[1]);
  return generate(shape, [&](const Index& index) {
    const std::int64_t o = index[static_cast<std::size_t>(last)];
    Index from = index;
    double sum = has_bias ? in[2][o] : 0;
    for (std::int64_t k = 0; k < x.shape[last]; ++k) {
      from[static_cast<std::size_t>(last)] = k;
      sum += x.at(from) * (out_in ? w.at({o, k}) : w.at({k, o}));
    }
    return apply_activation(activation, sum);
  });
}

}  // namespace

Cases CasesOf<ops::Matmul>::make() {
  Cases all{.table = &op_table<ops::Matmul>(), .by_a_library = true};
  const auto call = [](Tensors in) { return Tensors{matmul(in[0], in[1])}; };
  const auto add = [&](const char* label, Input a, Input b) {
    all.cases.push_back({.label = label,
                         .inputs = {std::move(a), std::move(b)},
                         .call = call,
                         .formula = [](const Arrays& in) { return Arrays{product(in[0], in[1])}; },
                         .slack = 4});
  };
  add("size 1", {.shape = {1, 1}}, {.shape = {1, 1}});
  add("no rows", {.shape = {0, 4}}, {.shape = {4, 5}});
  add("no columns", {.shape = {3, 4}}, {.shape = {4, 0}});
  add("nothing inside", {.shape = {3, 0}}, {.shape = {0, 5}});
  add("empty batch", {.shape = {0, 3, 4}}, {.shape = {0, 4, 5}});
  add("small", {.shape = {3, 4}}, {.shape = {4, 5}});
  add("31, 32, 33", {.shape = {31, 32}}, {.shape = {32, 33}});
  add("33, 31, 1", {.shape = {33, 31}}, {.shape = {31, 1}});
  add("1, 33, 31", {.shape = {1, 33}}, {.shape = {33, 31}});
  add("permuted", {.shape = {5, 7}, .order = Order::permuted}, {.shape = {7, 6}, .order = Order::permuted});
  add("gaps", {.shape = {5, 7}, .order = Order::gaps}, {.shape = {7, 6}, .order = Order::gaps});
  add("stride 0", {.shape = {5, 7}, .order = Order::expanded}, {.shape = {7, 6}});
  add("batch", {.shape = {3, 5, 7}}, {.shape = {3, 7, 4}});
  add("batch of two axes, permuted", {.shape = {2, 3, 5, 7}, .order = Order::permuted},
      {.shape = {2, 3, 7, 4}, .order = Order::gaps});
  add("batch and one matrix", {.shape = {2, 3, 5, 7}}, {.shape = {7, 4}});
  add("one matrix and a batch", {.shape = {5, 7}}, {.shape = {3, 7, 4}});
  add("channels-last", {.shape = {2, 3, 4, 5}, .order = Order::channels_last},
      {.shape = {2, 3, 5, 4}, .order = Order::channels_last});
  add("channels-last and one matrix", {.shape = {2, 3, 4, 5}, .order = Order::channels_last},
      {.shape = {5, 4}});
  add("batches that stretch", {.shape = {3, 1, 5, 7}}, {.shape = {2, 7, 4}});
  add("several blocks", {.shape = {130, 67}}, {.shape = {67, 141}});
  const auto add_vector = [&](const char* label, const Shape& a, const Shape& b, const Shape& a_full,
                              const Shape& b_full, const Shape& result) {
    all.cases.push_back(
        {.label = label,
         .inputs = {{.shape = a}, {.shape = b}},
         .call = call,
         .formula =
             [=](const Arrays& in) {
               return Arrays{reshaped(product(reshaped(in[0], a_full), reshaped(in[1], b_full)), result)};
             },
         .slack = 4,
         .composed = true});
  };
  add_vector("two vectors", {33}, {33}, {1, 33}, {33, 1}, {});
  add_vector("a row", {7}, {2, 7, 4}, {1, 7}, {2, 7, 4}, {2, 4});
  add_vector("a column", {2, 5, 7}, {7}, {2, 5, 7}, {7, 1}, {2, 5});
  all.refusals = {
      refused<ShapeError>("inner sizes", "inner sizes differ: (2, 3) x (4, 5)",
                          [] {
                            matmul(zeros({2, 3}), zeros({4, 5}));
                          }),
      refused<ShapeError>("batches", "do not broadcast",
                          [] {
                            matmul(zeros({2, 3, 4}), zeros({3, 4, 5}));
                          }),
      refused<ShapeError>("a scalar", "a scalar has no inner size",
                          [] {
                            matmul(scalar(1), zeros({4, 5}));
                          }),
      refused<TypeError>("two dtypes", "dtypes differ",
                         [] {
                           matmul(zeros({2, 3}), zeros({3, 2}, {.dtype = DType::float64}));
                         }),
      refused<TypeError>("integers", "int64",
                         [] {
                           matmul(reshape(arange(4), {2, 2}), reshape(arange(4), {2, 2}));
                         }),
  };
  const auto add_speed = [&](const char* label, const Shape& a, const Shape& b, double flops) {
    all.speed.push_back(
        {.label = label, .inputs = {{.shape = a}, {.shape = b}}, .call = call, .flops = flops});
  };
  add_speed("1024x1024x1024", {1024, 1024}, {1024, 1024}, 2e0 * 1024 * 1024 * 1024);
  add_speed("48 of 256x32x256", {48, 256, 32}, {48, 32, 256}, 2e0 * 48 * 256 * 32 * 256);
  return all;
}

Cases CasesOf<ops::Linear>::make() {
  Cases all{.table = &op_table<ops::Linear>(), .by_a_library = true};
  struct Form {
    WeightLayout layout = WeightLayout::out_in;
    Activation activation = Activation::none;
  };
  const auto add = [&](const std::string& label, std::vector<Input> inputs, Form form = {}) {
    const bool has_bias = inputs.size() == 3;
    all.cases.push_back({.label = label,
                         .inputs = std::move(inputs),
                         .call =
                             [=](Tensors in) {
                               return Tensors{linear(std::move(in[0]), in[1], has_bias ? in[2] : Tensor(),
                                                     form.activation, form.layout)};
                             },
                         .formula =
                             [=](const Arrays& in) {
                               return Arrays{linear_formula(in, form.layout, has_bias, form.activation)};
                             },
                         .slack = 4,
                         .composed = form.activation != Activation::none});
  };
  add("size 1", {{.shape = {1}}, {.shape = {1, 1}}, {.shape = {1}}});
  add("no rows", {{.shape = {0, 4}}, {.shape = {5, 4}}, {.shape = {5}}});
  add("nothing inside", {{.shape = {3, 0}}, {.shape = {5, 0}}, {.shape = {5}}});
  add("no outputs", {{.shape = {3, 4}}, {.shape = {0, 4}}, {.shape = {0}}});
  add("a vector", {{.shape = {31}}, {.shape = {33, 31}}, {.shape = {33}}});
  add("no bias", {{.shape = {5, 7}}, {.shape = {6, 7}}});
  add("(in, out)", {{.shape = {5, 7}}, {.shape = {7, 6}}, {.shape = {6}}}, {.layout = WeightLayout::in_out});
  add("(in, out), no bias", {{.shape = {5, 7}}, {.shape = {7, 6}}}, {.layout = WeightLayout::in_out});
  add("three axes", {{.shape = {2, 3, 7}}, {.shape = {6, 7}}, {.shape = {6}}});
  add("permuted", {{.shape = {2, 3, 7}, .order = Order::permuted},
                   {.shape = {6, 7}, .order = Order::permuted},
                   {.shape = {6}}});
  add("gaps", {{.shape = {5, 7}, .order = Order::gaps},
               {.shape = {6, 7}, .order = Order::gaps},
               {.shape = {6}, .order = Order::gaps}});
  add("channels-last",
      {{.shape = {2, 3, 4, 5}, .order = Order::channels_last}, {.shape = {6, 5}}, {.shape = {6}}});
  add("(in, out), permuted", {{.shape = {5, 7}}, {.shape = {7, 6}, .order = Order::permuted}, {.shape = {6}}},
      {.layout = WeightLayout::in_out});
  for (const Activation activation :
       {Activation::relu, Activation::gelu_tanh, Activation::gelu_erf, Activation::silu}) {
    add("activation " + std::to_string(static_cast<int>(activation)),
        {{.shape = {5, 7}}, {.shape = {33, 7}}, {.shape = {33}}}, {.activation = activation});
  }
  add("several blocks", {{.shape = {130, 67}}, {.shape = {141, 67}}, {.shape = {141}}});
  all.refusals = {
      refused<ShapeError>("inner sizes", "x (2, 3) with weight (5, 4)",
                          [] {
                            linear(zeros({2, 3}), zeros({5, 4}));
                          }),
      refused<ShapeError>("a weight of another layout", "(in, out)",
                          [] {
                            linear(zeros({2, 3}), zeros({5, 3}), {}, Activation::none, WeightLayout::in_out);
                          }),
      refused<ShapeError>("a bias of other size", "bias (4) for 5 outputs",
                          [] {
                            linear(zeros({2, 3}), zeros({5, 3}), zeros({4}));
                          }),
      refused<ShapeError>("a scalar", "inner sizes differ",
                          [] {
                            linear(scalar(1), zeros({5, 1}));
                          }),
      refused<TypeError>("two dtypes", "dtypes differ",
                         [] {
                           linear(zeros({2, 3}), zeros({5, 3}, {.dtype = DType::bfloat16}));
                         }),
  };
  all.speed.push_back({.label = "2048x192x768",
                       .inputs = {{.shape = {2048, 192}}, {.shape = {768, 192}}, {.shape = {768}}},
                       .call = [](Tensors in) { return Tensors{linear(in[0], in[1], in[2])}; },
                       .flops = 2e0 * 2048 * 192 * 768});
  return all;
}

}  // namespace reprise::op_test
