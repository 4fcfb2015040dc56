// Optimisers, clipping by the global norm, and learning-rate schedules.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "reprise/nn/module.h"

namespace reprise::nn {

/// Parameters that share a weight decay. One that is listed twice (tied weights) counts once.
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
/// alone. Of 16-bit parameters a float32 copy is kept and updated, which the parameters are rounded from.
/// Parameters and gradients may lie in memory in any order, also with gaps: such a parameter costs a copy in
/// scratch in each step.
class AdamW {
 public:
  /// Throws Error for an undefined parameter, TapeError for one that is not a leaf or is expanded, TypeError
  /// for integers and for different devices, ValueError for a parameter in two groups, for two that share
  /// elements in memory, and for options and weight decays outside their range.
  explicit AdamW(const std::vector<ParameterGroup>& groups, const AdamWOptions& options = {});
  // A copy would share the moments, but not the count of steps.
  AdamW(const AdamW&) = delete;
  AdamW& operator=(const AdamW&) = delete;
  AdamW(AdamW&&) = default;
  AdamW& operator=(AdamW&&) = default;
  /// One update with learning rate `lr`, every gradient times `gradient_scale`. Throws before anything is
  /// changed: ValueError for a rate that is negative or no number, and for a scale that is no number.
  void step(double lr, double gradient_scale = 1.0);
  /// The same with one floating number on the parameters' device, which nobody waits for (see `global_norm`):
  /// a NaN in it makes every parameter that has a gradient NaN. Throws ShapeError or TypeError for another
  /// scale.
  void step(double lr, const Tensor& gradient_scale);

  /// Counts one step and writes what depends on `lr` and the count to the device, for `step_with_rates`.
  /// Every parameter that has a gradient now takes part.
  void set_rates(double lr);
  /// The update of the step that `set_rates` announced. It changes nothing on the host: a captured graph may
  /// replay it after each `set_rates`. Throws TapeError, before anything is changed, where the parameters
  /// that have a gradient are not those of the last `set_rates`, or have taken another step since.
  void step_with_rates(const Tensor& gradient_scale);
  void zero_grad();
  std::vector<Tensor> state() const;

 private:
  struct Entry {
    Tensor parameter, mean, variance, master;
    double weight_decay;
    std::int64_t steps;
    std::uint32_t version;  // of the parameter, when the master copy was its equal
  };
  struct Launch;
  std::vector<Launch> launches(std::int64_t ahead);
  std::vector<std::int64_t> steps_of_those_with_gradients() const;
  void run(const std::vector<Launch>& all, double lr, const Tensor& gradient_scale, const Tensor& rates);

  AdamWOptions options_;
  Device device_;
  std::vector<Entry> entries_;
  std::vector<const Storage*> changed_;  // by a step, sorted
  Tensor rates_;                         // (launches, 3)
  std::vector<std::int64_t> announced_;  // by set_rates: every entry's step, -1 for those without a gradient
};

struct SgdOptions {
  double momentum = 0.0;
  bool nesterov = false;
};

/// Gradient descent with momentum as in PyTorch: one pass over all parameters. Its functions are AdamW's.
class Sgd {
 public:
  explicit Sgd(const std::vector<ParameterGroup>& groups, const SgdOptions& options = {});
  Sgd(const Sgd&) = delete;
  Sgd& operator=(const Sgd&) = delete;
  Sgd(Sgd&&) = default;
  Sgd& operator=(Sgd&&) = default;
  void step(double lr, double gradient_scale = 1.0);
  void step(double lr, const Tensor& gradient_scale);
  void set_rates(double lr);
  void step_with_rates(const Tensor& gradient_scale);
  void zero_grad();
  std::vector<Tensor> state() const;

 private:
  struct Entry {
    Tensor parameter, momentum, master;
    double weight_decay;
    bool first;
    std::uint32_t version;  // of the parameter, when the master copy was its equal
  };
  void run(double lr, const Tensor& gradient_scale, const Tensor& rates);

  SgdOptions options_;
  Device device_;
  std::vector<Entry> entries_;
  std::vector<const Storage*> changed_;  // by a step, sorted
  Tensor rates_;                         // (1)
};

/// The norm of all gradients together, and what brings it down to a maximum.
struct GlobalNorm {
  Tensor norm, scale;  // float64 scalars on the parameters' device
};

/// Square root of the sum of squares of all gradients, and max_norm / norm where that is below 1, else 1
/// (also for a `max_norm` of 0). A parameter that is listed twice counts once. Nobody waits for the device.
///
/// As in PyTorch's clip_grad_norm_, a NaN among the gradients makes norm and scale NaN, and with them every
/// parameter of the step; an infinity makes the scale 0, which leaves finite gradients without effect and
/// turns infinite ones into NaN. Nothing is ever updated unclipped. With `refuse_nonfinite` such a norm
/// throws ValueError instead, before anything is changed; this waits for the device.
GlobalNorm global_norm(std::span<const Tensor> parameters, double max_norm, bool refuse_nonfinite = false);

/// The norm of all gradients together, read from the device.
double gradient_norm(std::span<const Tensor> parameters);

/// How the learning rate changes over the steps.
struct Schedule {
  enum class Kind : std::uint8_t { constant, step, cosine } kind = Kind::constant;
  double lr = 1e-3;
  double min_lr = 0.0;          // cosine: where it ends
  std::int64_t warmup = 0;      // steps of linear rise from 0
  std::int64_t total = 1;       // cosine: steps in all
  std::int64_t step_every = 1;  // step: after how many steps the rate is multiplied
  double step_factor = 0.1;     // step: by this

  /// Learning rate of step i, counted from 0. Throws ValueError for a negative step, warmup or total, for
  /// step_every below 1, and for rates that are no finite numbers.
  double at(std::int64_t i) const;
};

}  // namespace reprise::nn
