// Optimiser steps of CUDA beside the CPU's.
#include "reprise/kernels/optimiser.h"

#include "harness.h"
#include "reprise/error.h"

using namespace reprise;
using namespace reprise::kernels;
using namespace reprise::test;

namespace {

constexpr DType kFloating[] = {DType::float32, DType::bfloat16, DType::float16, DType::float64};

/// A parameter and what belongs to it.
struct Parameter {
  Twin value, gradient, first, second;
  Parameter(DType dtype, std::int64_t n, std::int64_t offset)
      : value(dtype, {n}, {}, offset),
        gradient(dtype, {n}, {}, offset),
        first(dtype == DType::float64 ? dtype : DType::float32, {n}, {}, offset),
        second(dtype == DType::float64 ? dtype : DType::float32, {n}, {}, offset) {
    value.randomise(1);
    gradient.randomise(2, 0.1);
    first.randomise(3, 0.1);
    second.assign([](std::int64_t i) { return 1e-4 * static_cast<double>(1 + i % 50); });
  }
};

std::vector<Parameter> parameters(bool many) {
  std::vector<Parameter> all;
  if (many) {
    for (int i = 0; i < 140; ++i) all.emplace_back(DType::float32, i % 4, i % 2);
    return all;
  }
  for (const DType dtype : kFloating) {
    for (const std::int64_t n : {0, 1, 7, 8, 33, 8209}) all.emplace_back(dtype, n, 0);
    all.emplace_back(dtype, 100, 1);
  }
  return all;
}

void check_all(const std::vector<Parameter>& all) {
  for (const Parameter& parameter : all) {
    CAPTURE(parameter.value.cpu_values().size());
    parameter.value.check_close();
    parameter.first.check_close(1e-6);
    parameter.second.check_close(1e-6);
  }
}

/// A scalar or a row of float64 on both sides.
Twin numbers(std::vector<double> values) {
  Twin twin(DType::float64, {static_cast<std::int64_t>(values.size())});
  twin.assign([&](std::int64_t i) { return values[static_cast<std::size_t>(i)]; });
  return twin;
}

}  // namespace

TEST_CASE("cuda AdamW steps", "[simt][cuda]") {
  Queues queues;
  for (const bool many : {false, true}) {
    for (const bool in_memory : {false, true}) {
      CAPTURE(many, in_memory);
      std::vector<Parameter> all = parameters(many);
      std::vector<AdamWTensor> host, device;
      double decay = 0.1;
      for (Parameter& p : all) {
        host.push_back({p.value.cpu(), p.gradient.cpu(), p.first.cpu(), p.second.cpu(), decay});
        device.push_back({p.value.cuda(), p.gradient.cuda(), p.first.cuda(), p.second.cuda(), decay});
        decay = 0.1 - decay;
      }
      AdamWParams params{1e-2, 0.9, 0.95, 1e-8, 7, {}, {}};
      AdamWParams of_host = params, of_device = params;
      const AdamWRates rates = AdamWRates::of(params);
      Twin scale = numbers({0.37}),
           rate = numbers({rates.lr * 2, rates.step_size * 2, rates.root_correction});
      if (in_memory) {
        of_host.gradient_scale = scale.cpu();
        of_host.rates = rate.cpu();
        of_device.gradient_scale = scale.cuda();
        of_device.rates = rate.cuda();
      }
      for (int step = 0; step < (many ? 1 : 2); ++step) {
        cpu::adamw_step(queues.cpu(), of_host, host);
        cuda::adamw_step(queues.cuda(), of_device, device);
      }
      check_all(all);
    }
  }
}

TEST_CASE("cuda SGD steps", "[simt][cuda]") {
  Queues queues;
  for (const double momentum : {0.0, 0.9}) {
    for (const bool nesterov : {false, true}) {
      for (const bool first_step : {false, true}) {
        for (const bool in_memory : {false, true}) {
          CAPTURE(momentum, nesterov, first_step, in_memory);
          std::vector<Parameter> all = parameters(false);
          std::vector<SgdTensor> host, device;
          for (Parameter& p : all) {
            if (first_step && p.first.cpu().numel() > 0)
              p.first.assign([](std::int64_t) { return std::nan(""); });
            const bool buffered = momentum > 0;
            host.push_back({p.value.cpu(), p.gradient.cpu(), buffered ? p.first.cpu() : View{}, 0.05});
            device.push_back({p.value.cuda(), p.gradient.cuda(), buffered ? p.first.cuda() : View{}, 0.05});
          }
          SgdParams params{0.1, momentum, nesterov, first_step, {}, {}};
          SgdParams of_host = params, of_device = params;
          Twin scale = numbers({0.37}), rate = numbers({0.2});
          if (in_memory) {
            of_host.gradient_scale = scale.cpu();
            of_host.rates = rate.cpu();
            of_device.gradient_scale = scale.cuda();
            of_device.rates = rate.cuda();
          }
          cpu::sgd_step(queues.cpu(), of_host, host);
          cuda::sgd_step(queues.cuda(), of_device, device);
          check_all(all);
        }
      }
    }
  }
}

TEST_CASE("cuda optimisers refuse integers", "[simt][cuda]") {
  Queues queues;
  Twin integers(DType::int32, {4}), state(DType::float32, {4});
  const std::vector<SgdTensor> sgd = {{integers.cuda(), integers.cuda(), {}, 0}};
  const std::vector<AdamWTensor> adamw = {{integers.cuda(), integers.cuda(), state.cuda(), state.cuda(), 0}};
  CHECK_THROWS_AS(cuda::sgd_step(queues.cuda(), {}, sgd), TypeError);
  CHECK_THROWS_AS(cuda::adamw_step(queues.cuda(), {}, adamw), TypeError);
}
