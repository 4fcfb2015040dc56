// Optimiser steps over all parameters in one pass. Moments have the parameter's sizes in float32 (float64 for
// float64).
//
// `gradient_scale` is a float64 scalar on the queue's device that multiplies every gradient (clipping); null
// for 1. `rates` holds numbers that change from step to step, as float64 on the queue's device, so that a
// captured CUDA graph can be replayed with others; where it is null they come from the parameters.
#pragma once

#include <cmath>

#include "reprise/kernels/dispatch.h"

namespace reprise::kernels {

struct AdamWParams {
  double lr = 1e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
  std::int64_t step = 1;  // counts from 1
  ConstView gradient_scale{};
  ConstView rates{};  // (3): the fields of AdamWRates
};

/// The numbers of an AdamW step that change from one to the next; on every device made by `of`, on the host.
struct AdamWRates {
  double lr, step_size, root_correction;

  static AdamWRates of(const AdamWParams& params) {
    const auto step = static_cast<double>(params.step);
    return {params.lr, params.lr / (1.0 - std::pow(params.beta1, step)),
            1.0 / std::sqrt(1.0 - std::pow(params.beta2, step))};
  }
  static AdamWRates read(const double* rates) { return {rates[0], rates[1], rates[2]}; }
};

struct AdamWTensor {
  View parameter;
  ConstView gradient;
  View mean, variance;
  double weight_decay = 0.0;  // decoupled (Loshchilov and Hutter 2019): p -= lr * weight_decay * p first
  View master{};              // float32 copy of a 16-bit parameter, which is what is updated; null for none
};

REPRISE_KERNEL(void, adamw_step, const Queue&, const AdamWParams&, std::span<const AdamWTensor> tensors);

struct SgdParams {
  double lr = 0.1, momentum = 0.0;
  bool nesterov = false;
  bool first_step = false;  // the momentum buffer starts as the gradient
  ConstView gradient_scale{};
  ConstView rates{};  // (1): lr
};

struct SgdTensor {
  View parameter;
  ConstView gradient;
  View momentum;              // null without momentum
  double weight_decay = 0.0;  // added to the gradient
  View master{};              // as AdamWTensor's
};

REPRISE_KERNEL(void, sgd_step, const Queue&, const SgdParams&, std::span<const SgdTensor> tensors);

}  // namespace reprise::kernels
