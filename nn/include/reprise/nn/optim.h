// Optimisers, clipping by the global norm, and learning-rate schedules.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "reprise/nn/module.h"

namespace reprise::nn {

/// Parameters that share a weight decay.
struct ParameterGroup {
  std::vector<Tensor> parameters;
  double weight_decay = 0.0;
};

/// Matrices and larger with `weight_decay`, vectors (biases, norms) without, as GPT-2 is usually trained.
std::vector<ParameterGroup> decay_matrices(const std::vector<Tensor>& parameters, double weight_decay);

struct AdamWOptions {
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
};

/// AdamW (Loshchilov and Hutter 2019): one pass over all parameters. Parameters without a gradient are left
/// alone.
class AdamW {
 public:
  explicit AdamW(const std::vector<ParameterGroup>& groups, const AdamWOptions& options = {});
  /// One update with learning rate `lr`, every gradient times `gradient_scale`. Throws before anything is
  /// changed.
  void step(double lr, double gradient_scale = 1.0);
  void zero_grad();
  std::vector<Tensor> state() const;

 private:
  struct Entry {
    Tensor parameter, mean, variance;
    double weight_decay;
    std::int64_t steps;
  };
  AdamWOptions options_;
  std::vector<Entry> entries_;
};

struct SgdOptions {
  double momentum = 0.0;
  bool nesterov = false;
};

/// Gradient descent with momentum as in PyTorch: one pass over all parameters.
class Sgd {
 public:
  explicit Sgd(const std::vector<ParameterGroup>& groups, const SgdOptions& options = {});
  void step(double lr, double gradient_scale = 1.0);
  void zero_grad();
  std::vector<Tensor> state() const;

 private:
  struct Entry {
    Tensor parameter, momentum;
    double weight_decay;
    bool first;
  };
  SgdOptions options_;
  std::vector<Entry> entries_;
};

/// Square root of the sum of squares of all gradients, in float64.
double gradient_norm(std::span<const Tensor> parameters);

/// The factor that brings gradients of `norm` down to `max_norm`; 1 when they are within, or `max_norm` is 0.
double clip_factor(double norm, double max_norm);

/// How the learning rate changes over the steps.
struct Schedule {
  enum class Kind : std::uint8_t { constant, step, cosine } kind = Kind::constant;
  double lr = 1e-3;
  double min_lr = 0.0;          // cosine: where it ends
  std::int64_t warmup = 0;      // steps of linear rise from 0
  std::int64_t total = 1;       // cosine: steps in all
  std::int64_t step_every = 1;  // step: after how many steps the rate is multiplied
  double step_factor = 0.1;     // step: by this

  /// Learning rate of step i, counted from 0.
  double at(std::int64_t i) const;
};

}  // namespace reprise::nn
