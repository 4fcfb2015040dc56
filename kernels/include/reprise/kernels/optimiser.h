// Optimiser steps over all parameters in one pass. Moments have the parameter's sizes in float32 (float64 for
// float64).
#pragma once

#include "reprise/kernels/view.h"

namespace reprise::kernels {

struct AdamWParams {
  double lr = 1e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
  std::int64_t step = 1;        // counts from 1
  double gradient_scale = 1.0;  // multiplies every gradient (clipping)
};

struct AdamWTensor {
  View parameter;
  ConstView gradient;
  View mean, variance;
  double weight_decay = 0.0;  // decoupled (Loshchilov and Hutter 2019): p -= lr * weight_decay * p first
};

void adamw_step(const Queue&, const AdamWParams&, std::span<const AdamWTensor> tensors);

struct SgdParams {
  double lr = 0.1, momentum = 0.0;
  bool nesterov = false;
  bool first_step = false;  // the momentum buffer starts as the gradient
  double gradient_scale = 1.0;
};

struct SgdTensor {
  View parameter;
  ConstView gradient;
  View momentum;              // null without momentum
  double weight_decay = 0.0;  // added to the gradient
};

void sgd_step(const Queue&, const SgdParams&, std::span<const SgdTensor> tensors);

}  // namespace reprise::kernels
