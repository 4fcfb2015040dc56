#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <vector>

#include "kernel_tensor.h"
#include "reprise/kernels/optimiser.h"

using namespace reprise;
using namespace reprise::kernels;

namespace {

constexpr DType kFloating[] = {DType::float32, DType::float64, DType::bfloat16, DType::float16};
const std::vector<std::int64_t> kSizes = {0, 1, 31, 32, 33, 1023, 1024, 1025, 5000, 1, 0, 7};

DType moment_type(DType dtype) { return dtype == DType::float64 ? DType::float64 : DType::float32; }

/// A parameter with its gradient and two buffers, and the same in double by the formulas.
struct Parameter {
  KernelTensor value, gradient, first, second;
  std::vector<double> expected, expected_first, expected_second;

  Parameter(DType dtype, std::vector<std::int64_t> sizes, std::vector<int> order = {})
      : value(dtype, sizes, order),
        gradient(dtype, sizes, order),
        first(moment_type(dtype), sizes, order),
        second(moment_type(dtype), sizes, order) {
    value.fill([](std::int64_t i) { return std::sin(static_cast<double>(i)) + 0.1; });
    expected = value.values();
    expected_first.resize(expected.size());
    expected_second.resize(expected.size());
  }
  void zero_buffers() {
    first.fill([](std::int64_t) { return 0.0; });
    second.fill([](std::int64_t) { return 0.0; });
  }
  void new_gradient(int step) {
    gradient.fill([&](std::int64_t i) {
      return std::cos(static_cast<double>(3 * i + step)) * (i % 5 == 0 ? 1e-3 : 1.0);
    });
  }
  bool guards_intact() const {
    return value.guards_intact() && gradient.guards_intact() && first.guards_intact() &&
           second.guards_intact();
  }
};

/// Parameters of many sizes; the last one has its channels last in memory.
std::vector<Parameter> make_parameters(DType dtype) {
  std::vector<Parameter> parameters;
  for (const std::int64_t n : kSizes) parameters.emplace_back(dtype, std::vector<std::int64_t>{n});
  parameters.emplace_back(dtype, std::vector<std::int64_t>{4, 3, 5, 7}, std::vector<int>{0, 2, 3, 1});
  return parameters;
}

double error(const KernelTensor& actual, const std::vector<double>& expected) {
  double worst = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double difference = std::fabs(actual.get(static_cast<std::int64_t>(i)) - expected[i]);
    worst = std::isnan(difference) ? std::numeric_limits<double>::infinity() : std::max(worst, difference);
  }
  return worst;
}

std::vector<AdamWTensor> adamw_tensors(std::vector<Parameter>& parameters) {
  std::vector<AdamWTensor> tensors;
  for (Parameter& p : parameters) {
    tensors.push_back({p.value, p.gradient, p.first, p.second, tensors.size() % 2 == 0 ? 0.1 : 0.0});
  }
  return tensors;
}

std::vector<SgdTensor> sgd_tensors(std::vector<Parameter>& parameters, bool momentum) {
  std::vector<SgdTensor> tensors;
  for (Parameter& p : parameters) {
    tensors.push_back(
        {p.value, p.gradient, momentum ? p.first.view() : View{}, tensors.size() % 2 == 0 ? 0.05 : 0.0});
  }
  return tensors;
}

/// Numbers where kernels look for a scale or for rates.
ConstView scalar_view(const double& value) {
  ConstView view;
  view.dtype = DType::float64;
  view.data = &value;
  return view;
}

}  // namespace

TEST_CASE("AdamW follows its formula", "[kernels][optimiser]") {
  for (const DType dtype : kFloating) {
    for (const double gradient_scale : {1.0, 0.25}) {
      CAPTURE(name_of(dtype), gradient_scale);
      std::vector<Parameter> parameters = make_parameters(dtype);
      for (Parameter& p : parameters) p.zero_buffers();
      for (int step = 1; step <= 4; ++step) {
        const AdamWParams params{.lr = 0.01,
                                 .beta1 = 0.8,
                                 .beta2 = 0.95,
                                 .eps = 1e-6,
                                 .step = step,
                                 .gradient_scale = scalar_view(gradient_scale)};
        for (Parameter& p : parameters) p.new_gradient(step);
        const std::vector<AdamWTensor> tensors = adamw_tensors(parameters);
        adamw_step({}, params, tensors);
        const double correction1 = 1.0 - std::pow(0.8, step), correction2 = 1.0 - std::pow(0.95, step);
        for (std::size_t t = 0; t < tensors.size(); ++t) {
          Parameter& p = parameters[t];
          for (std::size_t i = 0; i < p.expected.size(); ++i) {
            const double g = p.gradient.get(static_cast<std::int64_t>(i)) * gradient_scale;
            double &x = p.expected[i], &m = p.expected_first[i], &v = p.expected_second[i];
            m = 0.8 * m + 0.2 * g;
            v = 0.95 * v + 0.05 * g * g;
            x -= 0.01 * tensors[t].weight_decay * x;
            x -= 0.01 * (m / correction1) / (std::sqrt(v / correction2) + 1e-6);
          }
        }
      }
      for (const Parameter& p : parameters) {
        CAPTURE(p.expected.size());
        CHECK(error(p.value, p.expected) <= 12.0 * unit_roundoff(dtype));
        CHECK(error(p.first, p.expected_first) <= 4.0 * unit_roundoff(moment_type(dtype)));
        CHECK(error(p.second, p.expected_second) <= 4.0 * unit_roundoff(moment_type(dtype)));
        CHECK(p.guards_intact());
      }
    }
  }
}

TEST_CASE("SGD follows its formula", "[kernels][optimiser]") {
  struct Case {
    double momentum;
    bool nesterov, buffer;
  };
  for (const DType dtype : kFloating) {
    for (const Case c :
         {Case{0.0, false, false}, {0.9, false, true}, {0.9, true, true}, {0.0, false, true}}) {
      CAPTURE(name_of(dtype), c.momentum, c.nesterov, c.buffer);
      std::vector<Parameter> parameters = make_parameters(dtype);
      // Without zeroed buffers: they hold NaN, of which the first step must take nothing.
      const double half = 0.5;
      for (int step = 1; step <= 4; ++step) {
        const SgdParams params{.lr = 0.05,
                               .momentum = c.momentum,
                               .nesterov = c.nesterov,
                               .first_step = step == 1,
                               .gradient_scale = scalar_view(half)};
        for (Parameter& p : parameters) p.new_gradient(step);
        const std::vector<SgdTensor> tensors = sgd_tensors(parameters, c.buffer);
        sgd_step({}, params, tensors);
        for (std::size_t t = 0; t < tensors.size(); ++t) {
          Parameter& p = parameters[t];
          for (std::size_t i = 0; i < p.expected.size(); ++i) {
            double &x = p.expected[i], &buffer = p.expected_first[i];
            double g = 0.5 * p.gradient.get(static_cast<std::int64_t>(i)) + tensors[t].weight_decay * x;
            buffer = step == 1 ? g : c.momentum * buffer + g;
            if (c.buffer) g = c.nesterov ? g + c.momentum * buffer : buffer;
            x -= 0.05 * g;
          }
        }
      }
      for (const Parameter& p : parameters) {
        CAPTURE(p.expected.size());
        CHECK(error(p.value, p.expected) <= 12.0 * unit_roundoff(dtype));
        // A buffer takes up weight decay of the rounded parameters.
        if (c.buffer) CHECK(error(p.first, p.expected_first) <= 4.0 * unit_roundoff(dtype));
        CHECK(p.guards_intact());
      }
    }
  }
}

TEST_CASE("optimiser steps do not depend on the number of threads", "[kernels][optimiser]") {
  for (const DType dtype : kFloating) {
    std::vector<Parameter> first;
    for (const int threads : {1, 2, 3, 8}) {
      CAPTURE(name_of(dtype), threads);
      const ThreadsScope scope(threads);
      std::vector<Parameter> parameters = make_parameters(dtype);
      parameters.emplace_back(dtype, std::vector<std::int64_t>{100001});
      for (Parameter& p : parameters) {
        p.zero_buffers();
        p.new_gradient(0);
      }
      adamw_step({}, {}, adamw_tensors(parameters));
      sgd_step({}, {.momentum = 0.9, .nesterov = true}, sgd_tensors(parameters, true));
      if (first.empty()) {
        for (const Parameter& p : parameters) first.push_back(p);
      }
      for (std::size_t t = 0; t < parameters.size(); ++t) {
        CHECK(parameters[t].value.same_bytes(first[t].value));
        CHECK(parameters[t].first.same_bytes(first[t].first));
        CHECK(parameters[t].second.same_bytes(first[t].second));
      }
    }
  }
}

TEST_CASE("an optimiser step over no tensors does nothing", "[kernels][optimiser]") {
  adamw_step({}, {}, {});
  sgd_step({}, {}, {});
}

TEST_CASE("an optimiser step shows NaN in a gradient only where it is", "[kernels][optimiser]") {
  Parameter p(DType::float32, {100});
  p.zero_buffers();
  p.new_gradient(0);
  p.gradient.set(40, std::numeric_limits<double>::quiet_NaN());
  const AdamWTensor tensor{p.value, p.gradient, p.first, p.second};
  adamw_step({}, {}, {&tensor, 1});
  for (std::int64_t i = 0; i < 100; ++i) CHECK(std::isnan(p.value.get(i)) == (i == 40));
}

TEST_CASE("rates in memory give the bits of rates among the parameters", "[kernels][optimiser]") {
  for (const DType dtype : kFloating) {
    std::vector<Parameter> one = make_parameters(dtype), other = make_parameters(dtype);
    for (std::vector<Parameter>* parameters : {&one, &other}) {
      for (Parameter& p : *parameters) {
        p.zero_buffers();
        p.new_gradient(1);
      }
    }
    AdamWParams params{.lr = 0.01, .step = 3};
    adamw_step({}, params, adamw_tensors(one));
    const AdamWRates rates = AdamWRates::of(params);
    params.lr = 100;
    params.step = 1;
    params.rates = scalar_view(rates.lr);
    adamw_step({}, params, adamw_tensors(other));
    SgdParams sgd{.lr = 0.02};
    sgd_step({}, sgd, sgd_tensors(one, false));
    const double lr = std::exchange(sgd.lr, 100);
    sgd.rates = scalar_view(lr);
    sgd_step({}, sgd, sgd_tensors(other, false));
    for (std::size_t i = 0; i < one.size(); ++i) CHECK(one[i].value.values() == other[i].value.values());
  }
}
