// Kernels that arithmetic bounds: attention, matrix products, convolutions.
#include <fmt/format.h>

#include <cmath>

#include "kernel_cases.h"
#include "reprise/kernels/attention.h"
#include "reprise/kernels/conv.h"
#include "reprise/kernels/matmul.h"

namespace reprise::bench {
namespace {

using kernels::ConstView;
using kernels::Queue;

constexpr DeviceKind kCuda = DeviceKind::cuda;

double product(std::initializer_list<std::int64_t> sizes) {
  double all = 1;
  for (const std::int64_t size : sizes) all *= static_cast<double>(size);
  return all;
}

void measure_one_attention(Suite& suite, const nlohmann::json& shape) {
  const auto of = [&](const char* key) { return shape.at(key).get<std::int64_t>(); };
  const std::int64_t batch = of("batch"), heads = of("heads"), length = of("length"), size = of("size");
  const bool causal = shape.at("causal").get<bool>();
  const DType dtype = parse_dtype(shape.at("dtype").get<std::string>());
  const kernels::AttentionParams params{
      .scale = 1 / std::sqrt(static_cast<double>(size)), .causal = causal, .dropout = 0};
  const Shape sizes{batch, heads, length, size};
  const auto random = [&] { return randn(sizes, {.dtype = dtype}); };
  const auto fresh = [&] { return empty(sizes, {.dtype = dtype}); };
  const Tensor q = random(), k = random(), v = random(), dout = random(), out = fresh();
  const Tensor dq = fresh(), dk = fresh(), dv = fresh(), statistics = empty({batch, heads, length, 2});
  const Scratch forward(kernels::attention_workspace_bytes(kCuda, params, view(q), false));
  const Scratch backward(kernels::attention_workspace_bytes(kCuda, params, view(q), true));
  // Two products forward and five backward, half of each behind the causal mask.
  const double flops = (causal ? 1.0 : 2.0) * product({batch, heads, length, length, size});
  const std::string name = fmt::format("({}, {}, {}, {})", batch, heads, length, size);
  suite.measure("attention", "forward", dtype, name, {.flops = 2 * flops}, [&](const Queue& queue) {
    kernels::attention_forward(queue, params, {}, view(q), view(k), view(v), view(out), view(statistics),
                               forward.get());
  });
  suite.measure("attention", "backward", dtype, name, {.flops = 5 * flops}, [&](const Queue& queue) {
    kernels::attention_backward(queue, params, {}, view(q), view(k), view(v), view(out), view(statistics),
                                view(dout), into(dq), into(dk), into(dv), backward.get());
  });
}

struct Product {
  std::int64_t m, k, n;
  double flops() const { return 2 * product({m, k, n}); }
  std::string shape() const { return fmt::format("{} x {} x {}", m, k, n); }
};

void measure_matmul(Suite& suite, DType dtype, const Product& p) {
  const Tensor a = randn({p.m, p.k}, {.dtype = dtype}), b = randn({p.k, p.n}, {.dtype = dtype});
  const Tensor c = empty({p.m, p.n}, {.dtype = dtype});
  const Scratch scratch(kernels::matmul_workspace_bytes(kCuda, view(a), view(b), view(c)));
  suite.measure("matmul", "matmul", dtype, p.shape(), {.flops = p.flops()}, [&](const Queue& queue) {
    kernels::matmul(queue, 1.0, view(a), view(b), into(c), scratch.get());
  });
}

/// A linear layer of a model as its three products, in the layouts of the model: y = f(x w + b), the gradient
/// for x through the derivative of f in the layer before, the weight's gradient.
struct Layer {
  const char* name;
  std::int64_t rows, in, out;
  kernels::WeightLayout layout = kernels::WeightLayout::in_out;
  kernels::Activation forward = kernels::Activation::none, before = kernels::Activation::none;
  bool bias = true;
};

ConstView transposed(ConstView matrix) {
  std::swap(matrix.sizes[0], matrix.sizes[1]);
  std::swap(matrix.strides[0], matrix.strides[1]);
  return matrix;
}

void measure_layer(Suite& suite, DType dtype, const Layer& l) {
  using kernels::Activation;
  using kernels::WeightLayout;
  const bool out_in = l.layout == WeightLayout::out_in;
  const Shape sizes = out_in ? Shape{l.out, l.in} : Shape{l.in, l.out};
  const TensorOptions options{.dtype = dtype};
  const Tensor x = randn({l.rows, l.in}, options), w = randn(sizes, options), b = randn({l.out}, options);
  const Tensor pre = empty({l.rows, l.out}, options), y = randn({l.rows, l.out}, options);
  const Tensor dx = empty({l.rows, l.in}, options), dw = empty(sizes, options);
  const ConstView weight = out_in ? transposed(view(w)) : ConstView(view(w));
  const ConstView bias = l.bias ? ConstView(view(b)) : ConstView();
  const Cost cost{.flops = 2 * product({l.rows, l.in, l.out})};
  const std::string shape = fmt::format("{} x {} x {}", l.rows, l.in, l.out), name(l.name);
  const bool keeps = l.forward != Activation::none;

  const Scratch forward(kernels::linear_workspace_bytes(kCuda, view(x), weight, view(y)));
  suite.measure("linear", name, dtype, shape, cost, [&](const Queue& queue) {
    kernels::linear_forward(queue, l.forward, view(x), weight, bias, keeps ? view(pre) : kernels::View(),
                            view(y), forward.get());
  });
  const Scratch input(kernels::matmul_workspace_bytes(kCuda, view(y), transposed(weight), view(dx)));
  suite.measure("linear", name + ", dx", dtype, shape, cost, [&](const Queue& queue) {
    if (l.before == Activation::none)
      kernels::matmul(queue, 1.0, view(y), transposed(weight), into(dx), input.get());
    else
      kernels::linear_backward_input(queue, l.before, view(y), weight, view(x), view(dx), input.get());
  });
  const ConstView a = transposed(out_in ? view(y) : view(x)), b2 = out_in ? view(x) : view(y);
  const Scratch scratch(kernels::matmul_workspace_bytes(kCuda, a, b2, view(dw)));
  suite.measure("linear", name + ", dw", dtype, shape, cost,
                [&](const Queue& queue) { kernels::matmul(queue, 1.0, a, b2, into(dw), scratch.get()); });
}

/// The layers of GPT-2: a token's query, key and value; the projection; both of the MLP; the head.
std::vector<Layer> layers_of_gpt2(std::int64_t tokens, std::int64_t width, std::int64_t vocabulary) {
  using kernels::Activation;
  using kernels::WeightLayout;
  constexpr auto kGelu = Activation::gelu_tanh;
  return {{.name = "qkv", .rows = tokens, .in = width, .out = 3 * width},
          {.name = "projection", .rows = tokens, .in = width, .out = width},
          {.name = "mlp up, gelu", .rows = tokens, .in = width, .out = 4 * width, .forward = kGelu},
          {.name = "mlp down, dgelu", .rows = tokens, .in = 4 * width, .out = width, .before = kGelu},
          {.name = "head",
           .rows = tokens,
           .in = width,
           .out = vocabulary,
           .layout = WeightLayout::out_in,
           .bias = false}};
}

struct Convolution {
  std::int64_t images, in, out, side, kernel;
};

void measure_convolution(Suite& suite, DType dtype, const Convolution& c) {
  using kernels::ConvPass;
  const kernels::Conv2dParams params{.padding = {c.kernel / 2, c.kernel / 2}};
  const Shape in{c.images, c.in, c.side, c.side}, out{c.images, c.out, c.side, c.side};
  const Shape filter{c.out, c.in, c.kernel, c.kernel};
  const TensorOptions image{.dtype = dtype, .channels_last = true};
  const Tensor x = randn(in, image), y = randn(out, image), dx = empty(in, image);
  const Tensor w = randn(filter, {.dtype = dtype}), dw = empty(filter, {.dtype = dtype});
  const Cost cost{.flops = 2 * product({c.images, c.side, c.side, c.in, c.out, c.kernel, c.kernel})};
  const std::string shape =
      fmt::format("({}, {}, {}, {}) {}x{}", c.images, c.in, c.side, c.side, c.kernel, c.kernel);
  const auto scratch_of = [&](ConvPass pass) {
    return Scratch(kernels::conv2d_workspace_bytes(kCuda, pass, params, view(x), view(w), view(y),
                                                   kernels::Write::overwrite));
  };
  const Scratch forward = scratch_of(ConvPass::forward), data = scratch_of(ConvPass::backward_data),
                weight = scratch_of(ConvPass::backward_weight);
  suite.measure("convolution", "forward", dtype, shape, cost, [&](const Queue& queue) {
    kernels::conv2d_forward(queue, params, view(x), view(w), ConstView(), view(y), forward.get());
  });
  suite.measure("convolution", "backward data", dtype, shape, cost, [&](const Queue& queue) {
    kernels::conv2d_backward_data(queue, params, view(y), view(w), into(dx), data.get());
  });
  suite.measure("convolution", "backward weight", dtype, shape, cost, [&](const Queue& queue) {
    kernels::conv2d_backward_weight(queue, params, view(x), view(y), into(dw), weight.get());
  });
}

}  // namespace

void measure_attention(Suite& suite) {
  for (const nlohmann::json& shape : suite.workloads.at("attention")) measure_one_attention(suite, shape);
}

void measure_products(Suite& suite) {
  if (suite.scale.smoke) {
    for (const DType dtype : kMeasured) {
      measure_matmul(suite, dtype, {24, 16, 40});
      for (const Layer& layer : layers_of_gpt2(24, 16, 40)) measure_layer(suite, dtype, layer);
    }
    return;
  }
  measure_matmul(suite, DType::bfloat16, {8192, 8192, 8192});
  measure_matmul(suite, DType::float32, {4096, 4096, 4096});
  for (const std::int64_t vocabulary : {50257, 50304}) {
    for (const Layer& layer : layers_of_gpt2(32768, 768, vocabulary)) {
      if (vocabulary == 50304 && layer.bias) continue;  // measured with the first
      measure_layer(suite, DType::bfloat16, layer);
    }
  }
  for (const Layer& layer : layers_of_gpt2(8192, 768, 50257)) measure_layer(suite, DType::float32, layer);
}

void measure_convolutions(Suite& suite) {
  for (const DType dtype : kMeasured) {
    if (suite.scale.smoke) {
      measure_convolution(suite, dtype, {2, 8, 8, 6, 3});
      continue;
    }
    measure_convolution(suite, dtype, {128, 64, 64, 56, 3});
    measure_convolution(suite, dtype, {128, 256, 256, 14, 3});
    measure_convolution(suite, dtype, {128, 256, 64, 56, 1});
  }
}

}  // namespace reprise::bench
