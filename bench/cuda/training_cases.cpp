// Kernels that go through tables and parameters: embedding, optimiser, the norm of all gradients.
#include <fmt/format.h>

#include "kernel_cases.h"
#include "reprise/kernels/embedding.h"
#include "reprise/kernels/optimiser.h"
#include "reprise/kernels/reduce.h"

namespace reprise::bench {
namespace {

using kernels::Queue;

constexpr DeviceKind kCuda = DeviceKind::cuda;

/// Tensors of the sizes of GPT-2's, 124 M elements in 148 of them.
std::vector<Tensor> like_parameters(const Suite& suite, DType dtype, double deviation) {
  const std::int64_t width = suite.scale.pick(768, 16), layers = suite.scale.pick(12, 1);
  const std::int64_t vocabulary = suite.scale.pick(50257, 61), context = suite.scale.pick(1024, 16);
  std::vector<Shape> shapes{{vocabulary, width}, {context, width}, {width}, {width}};
  for (std::int64_t i = 0; i < layers; ++i) {
    const Shape layer[] = {{width}, {width}, {width, 3 * width}, {3 * width}, {width, width},     {width},
                           {width}, {width}, {width, 4 * width}, {4 * width}, {4 * width, width}, {width}};
    shapes.insert(shapes.end(), std::begin(layer), std::end(layer));
  }
  std::vector<Tensor> tensors;
  for (const Shape& shape : shapes) {
    tensors.push_back(randn(shape, {.dtype = dtype}));
    tensors.back().mul_(deviation);
  }
  return tensors;
}

std::int64_t count(const std::vector<Tensor>& tensors) { return nn::count_elements(tensors); }

void measure_adamw(Suite& suite, DType dtype) {
  const std::vector<Tensor> parameters = like_parameters(suite, dtype, 0.02);
  const std::vector<Tensor> gradients = like_parameters(suite, dtype, 1e-3);
  const bool narrow = size_of(dtype) == 2;  // then a float32 copy is what is updated
  std::vector<Tensor> wide;
  const auto fresh = [&](const Tensor& like) { return view(wide.emplace_back(zeros(like.shape()))); };
  std::vector<kernels::AdamWTensor> tensors;
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    kernels::AdamWTensor& tensor = tensors.emplace_back();
    tensor.parameter = view(parameters[i]);
    tensor.gradient = view(gradients[i]);
    tensor.mean = fresh(parameters[i]);
    tensor.variance = fresh(parameters[i]);
    if (narrow) tensor.master = fresh(parameters[i]);
    tensor.weight_decay = 0.1;
  }
  const std::int64_t n = count(parameters);
  // What is updated and both moments are read and written, the gradient is read; a 16-bit parameter is
  // written.
  const double bytes = bytes_of(6, n, DType::float32) + bytes_of(narrow ? 2 : 1, n, dtype);
  suite.measure("optimiser", "AdamW", dtype, fmt::format("{} in {}", n, parameters.size()), {.bytes = bytes},
                [&](const Queue& queue) { kernels::adamw_step(queue, {.lr = 1e-4, .step = 10}, tensors); });
}

void measure_global_norm(Suite& suite, DType dtype) {
  const std::vector<Tensor> gradients = like_parameters(suite, dtype, 1e-3);
  std::vector<kernels::ConstView> views;
  for (const Tensor& gradient : gradients) views.emplace_back(view(gradient));
  const Tensor norm = empty({}, {.dtype = DType::float64}), scale = empty({}, {.dtype = DType::float64});
  const Scratch scratch(kernels::global_norm_workspace_bytes(kCuda, views));
  const std::int64_t n = count(gradients);
  suite.measure("optimiser", "global norm", dtype, fmt::format("{} in {}", n, gradients.size()),
                {.bytes = bytes_of(1, n, dtype)}, [&](const Queue& queue) {
                  kernels::global_norm(queue, views, 1.0, view(norm), view(scale), scratch.get());
                });
}

}  // namespace

void measure_optimiser(Suite& suite) {
  for (const DType dtype : kMeasured) {
    measure_adamw(suite, dtype);
    measure_global_norm(suite, dtype);
  }
}

void measure_embedding(Suite& suite) {
  const std::int64_t rows = suite.scale.pick(50257, 61), width = suite.scale.pick(768, 16);
  for (const DType dtype : kMeasured) {
    const std::int64_t tokens = suite.scale.elements(dtype) / width;
    const std::string shape = fmt::format("{} of ({}, {})", tokens, rows, width);
    const Tensor weight = randn({rows, width}, {.dtype = dtype}), ids = random_ids({tokens}, rows);
    const Tensor y = randn({tokens, width}, {.dtype = dtype}),
                 dweight = empty({rows, width}, {.dtype = dtype});
    suite.measure(
        "embedding", "forward", dtype, shape, {.bytes = bytes_of(2, tokens * width, dtype)},
        [&](const Queue& queue) { kernels::embedding_forward(queue, view(weight), view(ids), view(y)); });
    const Scratch scratch(kernels::embedding_backward_workspace_bytes(kCuda, view(ids), view(dweight)));
    suite.measure("embedding", "backward", dtype, shape,
                  {.bytes = bytes_of(1, tokens * width, dtype) + bytes_of(1, rows * width, dtype)},
                  [&](const Queue& queue) {
                    kernels::embedding_backward(queue, view(ids), view(y), into(dweight), scratch.get());
                  });
  }
}

}  // namespace reprise::bench
