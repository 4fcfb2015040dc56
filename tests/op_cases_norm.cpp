// Cases of normalisation.
#include <algorithm>
#include <cmath>

#include "op_cases.h"

namespace reprise::op_test {
namespace {

std::int64_t last_size(const Array& x) { return x.shape[x.shape.rank() - 1]; }

Array layer_norm_formula(const Arrays& in, double eps) {
  const std::int64_t n = last_size(in[0]);
  Array y = in[0];
  for (std::int64_t row = 0; row < y.shape.numel(); row += n) {
    double mean = 0;
    double variance = 0;
    for (std::int64_t i = 0; i < n; ++i) mean += y[row + i] / static_cast<double>(n);
    for (std::int64_t i = 0; i < n; ++i) variance += std::pow(y[row + i] - mean, 2) / static_cast<double>(n);
    for (std::int64_t i = 0; i < n; ++i)
      y[row + i] = (y[row + i] - mean) / std::sqrt(variance + eps) * in[1][i] + in[2][i];
  }
  return y;
}

Array rms_norm_formula(const Arrays& in, double eps) {
  const std::int64_t n = last_size(in[0]);
  Array y = in[0];
  for (std::int64_t row = 0; row < y.shape.numel(); row += n) {
    double square = 0;
    for (std::int64_t i = 0; i < n; ++i) square += y[row + i] * y[row + i] / static_cast<double>(n);
    for (std::int64_t i = 0; i < n; ++i) y[row + i] = y[row + i] / std::sqrt(square + eps) * in[1][i];
  }
  return y;
}

/// Inputs x, weight, bias, mean, variance.
Array batch_norm_apply(const Arrays& in, double eps, bool relu) {
  return generate(in[0].shape, [&](const Index& index) {
    const std::int64_t c = index[1];
    const double y = (in[0].at(index) - in[3][c]) / std::sqrt(in[4][c] + eps) * in[1][c] + in[2][c];
    return relu ? std::max(y, 0.0) : y;
  });
}

/// y, mean and biased variance of inputs x, weight, bias.
Arrays batch_norm_formula(const Arrays& in, double eps, bool relu) {
  const Shape channels{in[0].shape[1]};
  const double count =
      static_cast<double>(in[0].shape.numel()) / static_cast<double>(std::max<std::int64_t>(channels[0], 1));
  Array mean(channels);
  Array variance(channels);
  for_each_index(in[0].shape, [&](const Index& i) { mean[i[1]] += in[0].at(i) / count; });
  for_each_index(in[0].shape,
                 [&](const Index& i) { variance[i[1]] += std::pow(in[0].at(i) - mean[i[1]], 2) / count; });
  return {batch_norm_apply({in[0], in[1], in[2], mean, variance}, eps, relu), mean, variance};
}

struct Form {
  const char* label;
  Shape shape;
  Order order = Order::row_major;

  /// Parameters with gaps where x has some.
  Order parameter_order() const { return order == Order::gaps ? Order::gaps : Order::row_major; }
};

const std::vector<Form>& row_forms() {
  static const std::vector<Form> all{
      {"size 1", {1}},
      {"empty", {0, 5}},
      {"empty rows", {3, 0}},
      {"one row of 31", {31}},
      {"32", {3, 32}},
      {"33", {5, 33}},
      {"three axes", {2, 3, 7}},
      {"permuted", {5, 7}, Order::permuted},
      {"gaps", {5, 7}, Order::gaps},
      {"stride 0", {5, 7}, Order::expanded},
      {"channels-last memory", {2, 3, 4, 5}, Order::channels_last},
      {"several blocks", {301, 257}},
      {"long rows", {3, 5001}},
  };
  return all;
}

const std::vector<Form>& batch_forms() {
  static const std::vector<Form> all{
      {"(N, C)", {7, 5}},
      {"(N, C), one channel", {33, 1}},
      {"(N, C), permuted", {7, 5}, Order::permuted},
      {"(N, C), gaps", {7, 5}, Order::gaps},
      {"one image", {1, 3, 2, 1}},
      {"no channels", {2, 0, 3, 4}},
      {"channels-last", {2, 3, 4, 5}, Order::channels_last},
      {"row-major", {2, 3, 4, 5}},
      {"permuted", {2, 3, 4, 5}, Order::permuted},
      {"31 channels", {2, 31, 3, 3}, Order::channels_last},
      {"33 channels", {2, 33, 3, 3}, Order::channels_last},
      {"several blocks", {4, 17, 33, 31}, Order::channels_last},
  };
  return all;
}

}  // namespace

Cases CasesOf<ops::LayerNorm>::make() {
  Cases all{.table = &op_table<ops::LayerNorm>()};
  const auto call = [](Tensors in) { return Tensors{layer_norm(in[0], in[1], in[2])}; };
  for (const Form& form : row_forms()) {
    const Shape channels{form.shape[form.shape.rank() - 1]};
    all.cases.push_back(
        {.label = form.label,
         .inputs = {{.shape = form.shape, .order = form.order},
                    {.shape = channels, .low = 0.5, .high = 1.5, .order = form.parameter_order()},
                    {.shape = channels, .order = form.parameter_order()}},
         .call = call,
         .formula = [](const Arrays& in) { return Arrays{layer_norm_formula(in, 1e-5)}; },
         .slack = 8});
  }
  all.cases.push_back({.label = "far from zero, with an eps",
                       .inputs = {{.shape = {5, 33}, .low = 7, .high = 9}, {.shape = {33}}, {.shape = {33}}},
                       .call = [](Tensors in) { return Tensors{layer_norm(in[0], in[1], in[2], 0.1)}; },
                       .formula = [](const Arrays& in) { return Arrays{layer_norm_formula(in, 0.1)}; },
                       .slack = 16});
  all.refusals = {
      refused<ShapeError>("a scalar", "no axis to normalise",
                          [] { layer_norm(scalar(1), zeros({1}), zeros({1})); }),
      refused<ShapeError>("a weight of other size", "weight (4) for x (2, 3)",
                          [] {
                            layer_norm(zeros({2, 3}), zeros({4}), zeros({3}));
                          }),
      refused<ShapeError>("a bias of other size", "bias (1, 3)",
                          [] {
                            layer_norm(zeros({2, 3}), zeros({3}), zeros({1, 3}));
                          }),
      refused<TypeError>("two dtypes", "dtypes differ",
                         [] {
                           layer_norm(zeros({2, 3}, {.dtype = DType::bfloat16}), zeros({3}), zeros({3}));
                         }),
  };
  all.speed.push_back({.label = "2048x192",
                       .inputs = {{.shape = {2048, 192}}, {.shape = {192}}, {.shape = {192}}},
                       .call = call});
  return all;
}

Cases CasesOf<ops::RmsNorm>::make() {
  Cases all{.table = &op_table<ops::RmsNorm>()};
  const auto call = [](Tensors in) { return Tensors{rms_norm(in[0], in[1])}; };
  for (const Form& form : row_forms()) {
    all.cases.push_back({.label = form.label,
                         .inputs = {{.shape = form.shape, .low = 0.2, .order = form.order},
                                    {.shape = {form.shape[form.shape.rank() - 1]},
                                     .low = 0.5,
                                     .high = 1.5,
                                     .order = form.parameter_order()}},
                         .call = call,
                         .formula = [](const Arrays& in) { return Arrays{rms_norm_formula(in, 1e-6)}; },
                         .slack = 8});
  }
  all.refusals = {
      refused<ShapeError>("a scalar", "no axis to normalise", [] { rms_norm(scalar(1), zeros({1})); }),
      refused<ShapeError>("a weight of other size", "weight (4) for x (2, 3)",
                          [] {
                            rms_norm(zeros({2, 3}), zeros({4}));
                          }),
      refused<TypeError>("two dtypes", "dtypes differ",
                         [] {
                           rms_norm(zeros({2, 3}), zeros({3}, {.dtype = DType::float64}));
                         }),
  };
  all.speed.push_back(
      {.label = "2048x192", .inputs = {{.shape = {2048, 192}}, {.shape = {192}}}, .call = call});
  return all;
}

Cases CasesOf<ops::BatchNorm>::make() {
  Cases all{.table = &op_table<ops::BatchNorm>()};
  for (const bool relu : {false, true}) {
    for (const Form& form : batch_forms()) {
      const Shape channels{form.shape[1]};
      all.cases.push_back(
          {.label = std::string(form.label) + (relu ? ", relu" : ""),
           .inputs = {{.shape = form.shape, .low = -1, .high = 2, .order = form.order},
                      {.shape = channels, .low = 0.5, .high = 1.5, .order = form.parameter_order()},
                      {.shape = channels, .order = form.parameter_order()}},
           .call =
               [relu](Tensors in) {
                 BatchNormResult result = batch_norm(std::move(in[0]), in[1], in[2], 1e-5, relu);
                 return Tensors{result.y, result.mean, result.variance};
               },
           .formula = [relu](const Arrays& in) { return batch_norm_formula(in, 1e-5, relu); },
           .slack = 8});
    }
  }
  all.refusals = {
      refused<ShapeError>("one value per channel", "fewer than two values",
                          [] {
                            batch_norm(zeros({1, 3}), zeros({3}), zeros({3}));
                          }),
      refused<ShapeError>("three axes", "must be (N, C, H, W) or (N, C)",
                          [] {
                            batch_norm(zeros({2, 3, 4}), zeros({3}), zeros({3}));
                          }),
      refused<ShapeError>("a weight of other size", "weight (4)",
                          [] {
                            batch_norm(zeros({2, 3}), zeros({4}), zeros({3}));
                          }),
      refused<TypeError>("two dtypes", "dtypes differ",
                         [] {
                           batch_norm(zeros({2, 3}), zeros({3}, {.dtype = DType::float64}), zeros({3}));
                         }),
  };
  all.speed.push_back(
      {.label = "64x16x32x32, relu",
       .inputs = {{.shape = {64, 16, 32, 32}, .order = Order::channels_last},
                  {.shape = {16}},
                  {.shape = {16}}},
       .call = [](Tensors in) { return Tensors{batch_norm(in[0], in[1], in[2], 1e-5, true).y}; }});
  return all;
}

Cases CasesOf<ops::BatchNormFixed>::make() {
  Cases all{.table = &op_table<ops::BatchNormFixed>()};
  for (const bool relu : {false, true}) {
    for (const Form& form : batch_forms()) {
      const Shape channels{form.shape[1]};
      all.cases.push_back(
          {.label = std::string(form.label) + (relu ? ", relu" : ""),
           .inputs = {{.shape = form.shape, .low = -1, .high = 2, .order = form.order},
                      {.shape = channels, .low = 0.5, .high = 1.5, .order = form.parameter_order()},
                      {.shape = channels, .order = form.parameter_order()},
                      {.shape = channels, .order = form.parameter_order(), .kind = Kind::statistic},
                      {.shape = channels,
                       .low = 0.3,
                       .high = 2,
                       .order = form.parameter_order(),
                       .kind = Kind::statistic}},
           .call =
               [relu](Tensors in) {
                 return Tensors{batch_norm_fixed(std::move(in[0]), in[1], in[2], in[3], in[4], 1e-3, relu)};
               },
           .formula = [relu](const Arrays& in) { return Arrays{batch_norm_apply(in, 1e-3, relu)}; },
           .slack = 8});
    }
  }
  all.refusals = {
      refused<ShapeError>("a mean of other size", "mean is float32 (4)",
                          [] {
                            batch_norm_fixed(zeros({2, 3}), zeros({3}), zeros({3}), zeros({4}), zeros({3}));
                          }),
      refused<ShapeError>(
          "three axes", "must be (N, C, H, W) or (N, C)",
          [] {
            batch_norm_fixed(zeros({2, 3, 4}), zeros({3}), zeros({3}), zeros({3}), zeros({3}));
          }),
      refused<TapeError>("a mean that wants a gradient", "gives no gradient for input 3",
                         [] {
                           batch_norm_fixed(zeros({2, 3}), zeros({3}), zeros({3}),
                                            zeros({3}).set_requires_grad(true), zeros({3}));
                         }),
  };
  all.speed.push_back(
      {.label = "64x16x32x32",
       .inputs = {{.shape = {64, 16, 32, 32}, .order = Order::channels_last},
                  {.shape = {16}},
                  {.shape = {16}},
                  {.shape = {16}, .kind = Kind::statistic},
                  {.shape = {16}, .low = 0.5, .kind = Kind::statistic}},
       .call = [](Tensors in) { return Tensors{batch_norm_fixed(in[0], in[1], in[2], in[3], in[4])}; }});
  return all;
}

}  // namespace reprise::op_test
