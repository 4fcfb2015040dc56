// The usual layers.
#pragma once

#include "reprise/nn/module.h"
#include "reprise/ops.h"

namespace reprise::nn {

// Initialisations; all draw from `generator()` and book the memory as parameters.

/// Normal with mean 0.
Tensor normal_parameter(const Shape& shape, double deviation);
/// Uniform in [-bound, bound).
Tensor uniform_parameter(const Shape& shape, double bound);
Tensor constant_parameter(const Shape& shape, double value);

/// y = x W^T + b: weight (out, in) uniform in +-1 / sqrt(in), as in PyTorch.
struct Linear {
  Tensor weight, bias;
  WeightLayout layout = WeightLayout::out_in;

  Linear() = default;
  Linear(std::int64_t in, std::int64_t out, bool has_bias = true);
  Tensor operator()(Tensor x, Activation activation = Activation::none) const {
    return linear(std::move(x), weight, bias, activation, layout);
  }
  void visit(Visitor& v);
};

/// Convolution of (N, I, H, W); weight (O, I / groups, K, K), He normal by fan-out (He et al. 2015).
struct Conv2d {
  Tensor weight, bias;
  Conv2dParams params;

  Conv2d() = default;
  Conv2d(std::int64_t in, std::int64_t out, std::int64_t kernel, std::int64_t stride = 1,
         std::int64_t padding = 0, bool has_bias = false, std::int64_t groups = 1, std::int64_t dilation = 1);
  Tensor operator()(const Tensor& x) const { return conv2d(x, weight, bias, params); }
  void visit(Visitor& v);
};

/// Batch norm over (N, C, H, W) or (N, C), optionally followed by relu. In training the batch's statistics
/// are folded into the running ones once, however often the operation is replayed.
struct BatchNorm2d {
  Tensor weight, bias, running_mean, running_var, num_batches_tracked;
  double eps = 1e-5, momentum = 0.1;
  bool training = true;

  BatchNorm2d() = default;
  explicit BatchNorm2d(std::int64_t channels);
  Tensor operator()(Tensor x, bool relu = false);
  void visit(Visitor& v);
};

struct LayerNorm {
  Tensor weight, bias;
  double eps = 1e-5;

  LayerNorm() = default;
  explicit LayerNorm(std::int64_t channels);
  Tensor operator()(const Tensor& x) const { return layer_norm(x, weight, bias, eps); }
  void visit(Visitor& v);
};

struct RmsNorm {
  Tensor weight;
  double eps = 1e-6;

  RmsNorm() = default;
  explicit RmsNorm(std::int64_t channels);
  Tensor operator()(const Tensor& x) const { return rms_norm(x, weight, eps); }
  void visit(Visitor& v);
};

/// Rows of a table (V, C), standard normal as in PyTorch unless a deviation is given.
struct Embedding {
  Tensor weight;

  Embedding() = default;
  Embedding(std::int64_t count, std::int64_t channels, double deviation = 1.0);
  Tensor operator()(const Tensor& ids) const { return embedding(weight, ids); }
  void visit(Visitor& v);
};

struct Dropout {
  double p = 0;
  bool training = true;

  Tensor operator()(Tensor x) const { return dropout(std::move(x), p, training); }
  void visit(Visitor& v) { v.mode(training); }
};

}  // namespace reprise::nn
