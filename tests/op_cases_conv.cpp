// Cases of convolution and pooling.
#include <algorithm>
#include <limits>

#include "op_cases.h"

namespace reprise::op_test {
namespace {

std::int64_t positions(std::int64_t size, std::int64_t span, std::int64_t stride, std::int64_t padding) {
  return (size + 2 * padding - span) / stride + 1;
}

/// x (N, I, H, W), weight (O, I / groups, KH, KW), bias (O) if there is one.
Array conv_formula(const Arrays& in, const Conv2dParams& p) {
  const Array& x = in[0];
  const Array& w = in[1];
  Shape shape{x.shape[0], w.shape[0], 0, 0};
  for (std::size_t k = 0; k < 2; ++k) {
    const int axis = 2 + static_cast<int>(k);
    shape.set(axis,
              positions(x.shape[axis], p.dilation[k] * (w.shape[axis] - 1) + 1, p.stride[k], p.padding[k]));
  }
  const std::int64_t outputs_per_group = std::max<std::int64_t>(w.shape[0] / p.groups, 1);
  return generate(shape, [&](const Index& i) {
    double sum = in.size() == 3 ? in[2][i[1]] : 0;
    const std::int64_t first = i[1] / outputs_per_group * w.shape[1];
    for_each_index({w.shape[1], w.shape[2], w.shape[3]}, [&](const Index& k) {
      const std::int64_t h = i[2] * p.stride[0] - p.padding[0] + k[1] * p.dilation[0];
      const std::int64_t v = i[3] * p.stride[1] - p.padding[1] + k[2] * p.dilation[1];
      if (h < 0 || h >= x.shape[2] || v < 0 || v >= x.shape[3]) return;
      sum += x.at({i[0], first + k[0], h, v}) * w.at({i[1], k[0], k[1], k[2]});
    });
    return sum;
  });
}

Array pool_formula(const Array& x, const Pool2dParams& p, bool average) {
  Shape shape = x.shape;
  for (std::size_t k = 0; k < 2; ++k) {
    const int axis = 2 + static_cast<int>(k);
    shape.set(axis, positions(x.shape[axis], p.kernel[k], p.stride[k], p.padding[k]));
  }
  return generate(shape, [&](const Index& i) {
    double largest = -std::numeric_limits<double>::infinity();
    double sum = 0;
    double count = 0;
    for_each_index({p.kernel[0], p.kernel[1]}, [&](const Index& k) {
      const std::int64_t h = i[2] * p.stride[0] - p.padding[0] + k[0];
      const std::int64_t w = i[3] * p.stride[1] - p.padding[1] + k[1];
      if (h < 0 || h >= x.shape[2] || w < 0 || w >= x.shape[3]) return;
      const double value = x.at({i[0], i[1], h, w});
      largest = std::max(largest, value);
      sum += value;
      ++count;
    });
    if (!average) return largest;
    return sum / (p.count_padding ? static_cast<double>(p.kernel[0] * p.kernel[1]) : count);
  });
}

struct PoolForm {
  const char* label;
  Shape shape;
  Pool2dParams params{};
  Order order = Order::channels_last;
};

const std::vector<PoolForm>& pool_forms() {
  static const std::vector<PoolForm> all{
      {"size 1", {1, 1, 1, 1}, {.kernel = {1, 1}, .stride = {1, 1}}},
      {"empty batch", {0, 3, 4, 4}},
      {"no channels", {2, 0, 4, 4}},
      {"2x2", {2, 3, 4, 6}},
      {"2x2, row-major", {2, 3, 4, 6}, {}, Order::row_major},
      {"a rest", {2, 3, 5, 7}},
      {"overlapping, padded", {2, 3, 7, 6}, {.kernel = {3, 3}, .stride = {2, 2}, .padding = {1, 1}}},
      {"border not counted",
       {2, 3, 7, 6},
       {.kernel = {3, 3}, .stride = {2, 2}, .padding = {1, 1}, .count_padding = false}},
      {"3x2, stride 1x3", {1, 2, 6, 8}, {.kernel = {3, 2}, .stride = {1, 3}, .padding = {1, 0}}},
      {"permuted", {2, 3, 4, 6}, {}, Order::permuted},
      {"gaps", {2, 3, 4, 6}, {}, Order::gaps},
      {"31 channels", {1, 31, 4, 4}},
      {"33 channels", {1, 33, 4, 4}},
      {"several blocks", {3, 17, 40, 36}, {.kernel = {3, 3}, .stride = {2, 2}, .padding = {1, 1}}},
  };
  return all;
}

Cases pool_cases(const OpTable& table, Tensor (*call)(const Tensor&, const Pool2dParams&), bool average) {
  Cases all{.table = &table};
  for (const PoolForm& form : pool_forms()) {
    all.cases.push_back(
        {.label = form.label,
         .inputs = {{.shape = form.shape, .order = form.order}},
         .call = [=](Tensors in) { return Tensors{call(in[0], form.params)}; },
         .formula = [=](const Arrays& in) { return Arrays{pool_formula(in[0], form.params, average)}; },
         .distinct = !average});
  }
  all.refusals = {
      refused<ShapeError>("three axes", "must be (N, C, H, W), not (3, 4, 4)",
                          [=] {
                            call(zeros({3, 4, 4}), {});
                          }),
      refused<ShapeError>("a window that does not fit", "does not fit into 1",
                          [=] {
                            call(zeros({1, 1, 1, 4}), {});
                          }),
      refused<ValueError>("stride 0", "stride 0",
                          [=] {
                            call(zeros({1, 1, 4, 4}), {.stride = {0, 1}});
                          }),
      refused<ValueError>("too much padding", "padding 2",
                          [=] {
                            call(zeros({1, 1, 4, 4}), {.padding = {2, 0}});
                          }),
  };
  all.speed.push_back({.label = "32x64x56x56, 3x3 by 2",
                       .inputs = {{.shape = {32, 64, 56, 56}, .order = Order::channels_last}},
                       .call = [=](Tensors in) {
                         return Tensors{call(in[0], {.kernel = {3, 3}, .stride = {2, 2}, .padding = {1, 1}})};
                       }});
  return all;
}

}  // namespace

Cases CasesOf<ops::Conv2d>::make() {
  Cases all{.table = &op_table<ops::Conv2d>(), .by_a_library = true};
  const auto call = [](const Tensors& in, const Conv2dParams& params) {
    return Tensors{conv2d(in[0], in[1], in.size() == 3 ? in[2] : Tensor(), params)};
  };
  const auto add = [&](const char* label, std::vector<Input> inputs, const Conv2dParams& params = {}) {
    all.cases.push_back({.label = label,
                         .inputs = std::move(inputs),
                         .call = [=](Tensors in) { return call(in, params); },
                         .formula = [=](const Arrays& in) { return Arrays{conv_formula(in, params)}; },
                         .slack = 4});
  };
  const auto images = [](const Shape& shape, Order order = Order::channels_last) {
    return Input{.shape = shape, .order = order};
  };
  add("size 1", {images({1, 1, 1, 1}), {.shape = {1, 1, 1, 1}}, {.shape = {1}}});
  add("empty batch", {images({0, 3, 5, 5}), {.shape = {4, 3, 3, 3}}, {.shape = {4}}});
  add("no input channels", {images({2, 0, 5, 5}), {.shape = {4, 0, 3, 3}}, {.shape = {4}}});
  add("no output channels", {images({2, 3, 5, 5}), {.shape = {0, 3, 3, 3}}, {.shape = {0}}});
  add("3x3", {images({2, 3, 5, 6}), {.shape = {4, 3, 3, 3}}, {.shape = {4}}});
  add("no bias", {images({2, 3, 5, 6}), {.shape = {4, 3, 3, 3}}});
  add("same size", {images({2, 3, 5, 6}), {.shape = {4, 3, 3, 3}}, {.shape = {4}}}, {.padding = {1, 1}});
  add("stride", {images({2, 3, 7, 8}), {.shape = {4, 3, 3, 3}}, {.shape = {4}}},
      {.stride = {2, 3}, .padding = {1, 0}});
  add("dilation", {images({1, 2, 9, 8}), {.shape = {3, 2, 3, 2}}, {.shape = {3}}},
      {.padding = {1, 2}, .dilation = {2, 3}});
  add("groups", {images({2, 6, 5, 5}), {.shape = {4, 3, 3, 3}}, {.shape = {4}}},
      {.padding = {1, 1}, .groups = 2});
  add("a group for each channel", {images({2, 5, 5, 5}), {.shape = {5, 1, 3, 3}}, {.shape = {5}}},
      {.padding = {1, 1}, .groups = 5});
  add("1x1", {images({2, 7, 4, 5}), {.shape = {6, 7, 1, 1}}, {.shape = {6}}});
  add("1x1, stride", {images({2, 7, 5, 5}), {.shape = {6, 7, 1, 1}}}, {.stride = {2, 2}});
  add("row-major", {images({2, 3, 5, 6}, Order::row_major), {.shape = {4, 3, 3, 3}}, {.shape = {4}}},
      {.padding = {1, 1}});
  add("all channels-last",
      {images({2, 3, 5, 6}), {.shape = {4, 3, 3, 3}, .order = Order::channels_last}, {.shape = {4}}});
  add("permuted", {images({2, 3, 5, 6}, Order::permuted),
                   {.shape = {4, 3, 3, 3}, .order = Order::permuted},
                   {.shape = {4}}});
  add("gaps", {images({2, 3, 5, 6}, Order::gaps),
               {.shape = {4, 3, 3, 3}, .order = Order::gaps},
               {.shape = {4}, .order = Order::gaps}});
  add("31 to 33 channels", {images({1, 31, 4, 3}), {.shape = {33, 31, 3, 3}}}, {.padding = {1, 1}});
  add("several blocks", {images({3, 16, 14, 13}), {.shape = {17, 16, 3, 3}}, {.shape = {17}}},
      {.padding = {1, 1}});
  all.refusals = {
      refused<ShapeError>("channels", "channels do not fit: x (1, 3, 4, 4), weight (4, 2, 3, 3)",
                          [] {
                            conv2d(zeros({1, 3, 4, 4}), zeros({4, 2, 3, 3}));
                          }),
      refused<ShapeError>("groups", "groups 2",
                          [] {
                            conv2d(zeros({1, 4, 4, 4}), zeros({3, 2, 3, 3}), {}, {.groups = 2});
                          }),
      refused<ShapeError>("no groups", "groups 0",
                          [] {
                            conv2d(zeros({1, 4, 4, 4}), zeros({4, 4, 3, 3}), {}, {.groups = 0});
                          }),
      refused<ShapeError>("a window that does not fit", "a window of 3 does not fit into 2",
                          [] {
                            conv2d(zeros({1, 3, 2, 4}), zeros({4, 3, 3, 3}));
                          }),
      refused<ShapeError>("three axes", "must be (N, C, H, W)",
                          [] {
                            conv2d(zeros({3, 4, 4}), zeros({4, 3, 3, 3}));
                          }),
      refused<ShapeError>("a bias of other size", "bias (3) for 4 outputs",
                          [] {
                            conv2d(zeros({1, 3, 4, 4}), zeros({4, 3, 3, 3}), zeros({3}));
                          }),
      refused<ValueError>("stride 0", "stride 0",
                          [] {
                            conv2d(zeros({1, 3, 4, 4}), zeros({4, 3, 3, 3}), {}, {.stride = {0, 1}});
                          }),
      refused<ValueError>("negative padding", "padding -1",
                          [] {
                            conv2d(zeros({1, 3, 4, 4}), zeros({4, 3, 3, 3}), {}, {.padding = {-1, 0}});
                          }),
      refused<TypeError>("two dtypes", "dtypes differ",
                         [] {
                           conv2d(zeros({1, 3, 4, 4}), zeros({4, 3, 3, 3}, {.dtype = DType::float64}));
                         }),
  };
  const auto add_speed = [&](const char* label, const Shape& x, const Shape& w, const Conv2dParams& params) {
    const double positions_of_x =
        static_cast<double>(x[0] * x[2] * x[3]) / static_cast<double>(params.stride[0] * params.stride[1]);
    all.speed.push_back({.label = label,
                         .inputs = {images(x), {.shape = w}},
                         .call = [=](Tensors in) { return call(in, params); },
                         .flops = 2 * positions_of_x * static_cast<double>(w.numel())});
  };
  add_speed("64x16x32x32, 3x3 to 16", {64, 16, 32, 32}, {16, 16, 3, 3}, {.padding = {1, 1}});
  add_speed("64x64x8x8, 3x3 to 64", {64, 64, 8, 8}, {64, 64, 3, 3}, {.padding = {1, 1}});
  return all;
}

Cases CasesOf<ops::MaxPool2d>::make() { return pool_cases(op_table<ops::MaxPool2d>(), max_pool2d, false); }

Cases CasesOf<ops::AvgPool2d>::make() { return pool_cases(op_table<ops::AvgPool2d>(), avg_pool2d, true); }

}  // namespace reprise::op_test
