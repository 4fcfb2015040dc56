// Optimiser steps: all tensors form one long row of elements, cut into chunks that the threads share, so that
// many small parameters balance as well as one large one.
#include "reprise/kernels/optimiser.h"

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "convert.h"
#include "parallel.h"

namespace reprise::kernels::cpu {

using namespace cpu;

namespace {

constexpr std::int64_t kChunk = 1024;  // elements
constexpr std::int64_t kGrain = 16;    // chunks

std::int64_t chunks_of(const View& parameter) { return (parameter.numel() + kChunk - 1) / kChunk; }

/// Calls f(tensor, first, count) for every chunk of every tensor, in parallel. A chunk never spans two
/// tensors, so that results do not depend on how the chunks are shared out.
template <class Tensor, class F>
void for_each_chunk(std::span<const Tensor> tensors, F&& f) {
  std::int64_t total = 0;
  for (const Tensor& tensor : tensors) total += chunks_of(tensor.parameter);
  parallel_for(total, kGrain, [&](std::int64_t begin, std::int64_t end) {
    std::int64_t before = 0;
    for (const Tensor& tensor : tensors) {
      const std::int64_t chunks = chunks_of(tensor.parameter), n = tensor.parameter.numel();
      const std::int64_t last = std::min(end - before, chunks);
      for (std::int64_t chunk = std::max<std::int64_t>(begin - before, 0); chunk < last; ++chunk) {
        const std::int64_t first = chunk * kChunk;
        f(tensor, first, std::min(kChunk, n - first));
      }
      before += chunks;
      if (before >= end) break;
    }
  });
}

/// Calls f(parameter, gradient) with a chunk of both in Compute<T>, and stores the parameter that f leaves.
/// Where there is a master copy, f changes that, and the parameter becomes what it rounds to.
template <class T, class F>
void with_compute(T* parameter, Compute<T>* master, const T* gradient, std::int64_t count, F&& f) {
  if constexpr (std::is_same_v<T, Compute<T>>) {
    f(parameter, gradient);
  } else {
    alignas(64) Compute<T> p[kChunk], g[kChunk] = {};  // g++ 12 does not see that g is written below
    if (master == nullptr) load_row<T>(parameter, p, count);
    load_row<T>(gradient, g, count);
    Compute<T>* const changed = master == nullptr ? p : master;
    f(changed, g);
    store_row(changed, parameter, count);
  }
}

double scale_of(const ConstView& scale) { return scale ? *scale.as<double>() : 1.0; }

/// AdamW's factors, computed once in double.
template <class C>
struct AdamWFactors {
  C gradient_scale, beta1, one_minus_beta1, beta2, one_minus_beta2, eps, step_size, root_correction;

  AdamWFactors(const AdamWParams& params, const AdamWRates& rates)
      : gradient_scale(static_cast<C>(scale_of(params.gradient_scale))),
        beta1(static_cast<C>(params.beta1)),
        one_minus_beta1(static_cast<C>(1.0 - params.beta1)),
        beta2(static_cast<C>(params.beta2)),
        one_minus_beta2(static_cast<C>(1.0 - params.beta2)),
        eps(static_cast<C>(params.eps)),
        step_size(static_cast<C>(rates.step_size)),
        root_correction(static_cast<C>(rates.root_correction)) {}
};

/// p -= lr wd p; m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2; p -= lr / c1 * m / (sqrt(v / c2) + eps), c =
/// 1 - b^step.
template <class C>
void adamw_values(const AdamWFactors<C>& factors, C decay, C* __restrict p, const C* __restrict g,
                  C* __restrict mean, C* __restrict variance, std::int64_t count) {
  const AdamWFactors<C> k = factors;
#pragma omp simd
  for (std::int64_t i = 0; i < count; ++i) {
    const C gradient = g[i] * k.gradient_scale;
    const C m = k.beta1 * mean[i] + k.one_minus_beta1 * gradient;
    const C v = k.beta2 * variance[i] + k.one_minus_beta2 * (gradient * gradient);
    mean[i] = m;
    variance[i] = v;
    p[i] = p[i] * decay - k.step_size * m / (std::sqrt(v) * k.root_correction + k.eps);
  }
}

/// g += wd p; buffer = g or momentum buffer + g; p -= lr (buffer, or g + momentum buffer for Nesterov).
template <class C>
void sgd_values(const SgdParams& params, C scale, C lr, C decay, C* __restrict p, const C* __restrict g,
                C* __restrict buffer, std::int64_t count) {
  const C momentum = static_cast<C>(params.momentum);
  if (buffer == nullptr) {
#pragma omp simd
    for (std::int64_t i = 0; i < count; ++i) p[i] -= lr * (g[i] * scale + decay * p[i]);
    return;
  }
  // On the first step nothing that the buffer holds may enter, not even a NaN.
  if (params.first_step) std::fill(buffer, buffer + count, C{0});
  const C weight_of_gradient = params.nesterov ? C{1} : C{0},
          weight_of_buffer = params.nesterov ? momentum : C{1};
#pragma omp simd
  for (std::int64_t i = 0; i < count; ++i) {
    const C gradient = g[i] * scale + decay * p[i];
    const C updated = momentum * buffer[i] + gradient;
    buffer[i] = updated;
    p[i] -= lr * (weight_of_gradient * gradient + weight_of_buffer * updated);
  }
}

}  // namespace

void adamw_step(const Queue&, const AdamWParams& params, std::span<const AdamWTensor> tensors) {
  const AdamWRates rates =
      params.rates ? AdamWRates::read(params.rates.as<double>()) : AdamWRates::of(params);
  const AdamWFactors<float> single(params, rates);
  const AdamWFactors<double> full(params, rates);
  for_each_chunk(tensors, [&](const AdamWTensor& tensor, std::int64_t first, std::int64_t count) {
    dispatch_floating(tensor.parameter.dtype, [&]<class T>() {
      using C = Compute<T>;
      const auto decay = static_cast<C>(1.0 - rates.lr * tensor.weight_decay);
      with_compute(tensor.parameter.as<T>() + first, tensor.master ? tensor.master.as<C>() + first : nullptr,
                   tensor.gradient.as<T>() + first, count, [&](C* p, const C* g) {
                     C* const mean = tensor.mean.as<C>() + first;
                     C* const variance = tensor.variance.as<C>() + first;
                     if constexpr (std::is_same_v<C, double>)
                       adamw_values(full, decay, p, g, mean, variance, count);
                     else
                       adamw_values(single, decay, p, g, mean, variance, count);
                   });
    });
  });
}

void sgd_step(const Queue&, const SgdParams& params, std::span<const SgdTensor> tensors) {
  const double scale = scale_of(params.gradient_scale);
  const double lr = params.rates ? *params.rates.as<double>() : params.lr;
  for_each_chunk(tensors, [&](const SgdTensor& tensor, std::int64_t first, std::int64_t count) {
    dispatch_floating(tensor.parameter.dtype, [&]<class T>() {
      using C = Compute<T>;
      const auto decay = static_cast<C>(tensor.weight_decay);
      with_compute(tensor.parameter.as<T>() + first, tensor.master ? tensor.master.as<C>() + first : nullptr,
                   tensor.gradient.as<T>() + first, count, [&](C* p, const C* g) {
                     sgd_values(params, static_cast<C>(scale), static_cast<C>(lr), decay, p, g,
                                tensor.momentum ? tensor.momentum.as<C>() + first : nullptr, count);
                   });
    });
  });
}

}  // namespace reprise::kernels::cpu
