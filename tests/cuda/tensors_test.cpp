// What tensors and optimisers do beside recorded operations, on CUDA as on the CPU: optimisers with any
// memory order, changes in place between devices, operations of a user.
#include <catch2/catch.hpp>

#include <cmath>
#include <limits>

#include "reprise/reprise.h"

namespace reprise::test {
namespace {

constexpr DType kTypes[] = {DType::float32, DType::bfloat16, DType::float16, DType::float64};

std::vector<double> elements(const Tensor& t) { return t.detach().to(DType::float64).to_vector<double>(); }

Tensor ramp(const Shape& shape, DType dtype) {
  return reshape(arange(shape.numel(), {.dtype = DType::float32}) * 0.125 - 1.0, shape).to(dtype);
}

/// A (3, 4) leaf in the memory order `layout`.
Tensor laid_out(int layout, DType dtype) {
  const TensorOptions options{.dtype = dtype};
  Tensor view = layout == 0   ? zeros({3, 4}, options)
                : layout == 1 ? transpose(zeros({4, 3}, options), 0, 1)
                : layout == 2 ? slice(zeros({3, 9}, options), 1, 1, 9, 2)
                              : select(zeros({3, 4, 5}, options), 2, 3);
  view = view.detach();
  view.copy_(ramp({3, 4}, dtype));
  return view;
}

template <class Optimiser>
std::vector<double> trained(Optimiser make, int of_parameter, int of_gradient, DType dtype) {
  Tensor w = laid_out(of_parameter, dtype).set_requires_grad(true);
  auto optimiser = make(w);
  for (int s = 0; s < 3; ++s) {
    Tensor gradient = laid_out(of_gradient, dtype);
    gradient.mul_(0.5 + s);
    w.set_grad(gradient);
    optimiser.step(0.1, scalar(0.5));
  }
  return elements(w);
}

}  // namespace

TEST_CASE("optimisers on CUDA take any memory order", "[cuda][layouts]") {
  const OnDevice cuda(Device::cuda());
  const auto adamw = [](const Tensor& w) { return nn::AdamW({{{w}, 0.1}}); };
  const auto sgd = [](const Tensor& w) { return nn::Sgd({{{w}, 0.1}}, {.momentum = 0.9}); };
  for (const DType dtype : kTypes) {
    const auto of_adamw = trained(adamw, 0, 0, dtype), of_sgd = trained(sgd, 0, 0, dtype);
    for (int of_parameter = 0; of_parameter < 4; ++of_parameter) {
      for (int of_gradient = 0; of_gradient < 4; ++of_gradient) {
        CAPTURE(name_of(dtype), of_parameter, of_gradient);
        CHECK(trained(adamw, of_parameter, of_gradient, dtype) == of_adamw);
        CHECK(trained(sgd, of_parameter, of_gradient, dtype) == of_sgd);
      }
    }
  }
}

TEST_CASE("clipping on CUDA with a norm that is no number", "[cuda][layouts]") {
  const OnDevice cuda(Device::cuda());
  for (const double bad : {std::nan(""), std::numeric_limits<double>::infinity()}) {
    Tensor a = ones({300}).set_requires_grad(true), b = ones({2}).set_requires_grad(true);
    a.set_grad(full({300}, 100.0));
    b.set_grad(from_host<float>(std::vector<float>{1, static_cast<float>(bad)}, {2}, {}));
    const std::vector<Tensor> parameters{a, b, a};
    CHECK_THROWS_AS(nn::global_norm(parameters, 1.0, true), ValueError);
    nn::Sgd sgd({{parameters, 0.0}});
    sgd.step(0.1, nn::global_norm(parameters, 1.0).scale);
    for (const double value : elements(a)) CHECK((std::isnan(bad) ? std::isnan(value) : value == 1));
    CHECK(std::isnan(elements(b)[1]));
  }
}

TEST_CASE("scales and gradients elsewhere are refused, copies come from anywhere", "[cuda][layouts]") {
  const Tensor here = ramp({3, 4}, DType::float32);
  const OnDevice cuda(Device::cuda());
  Tensor w = laid_out(1, DType::float32).set_requires_grad(true);
  w.set_grad(ones({3, 4}));
  nn::AdamW adamw({{{w}, 0.0}});
  CHECK_THROWS_AS(adamw.step(0.1, scalar(0.5, {.device = Device::cpu()})), TypeError);
  CHECK_THROWS_AS(w.set_grad(here), TypeError);
  CHECK(elements(w) == elements(here));
  Tensor there = zeros({3, 4}, {.dtype = DType::float64});
  CHECK_THROWS_AS(there.add_(here.to(DType::float64)), TypeError);
  there.copy_(here);
  CHECK(elements(there) == elements(here));
  transpose(there, 0, 1).copy_(reshape(here, {4, 3}));
  CHECK(elements(transpose(there, 0, 1)) == elements(here));
  Tensor back = zeros({3, 4}, {.device = Device::cpu()});
  back.copy_(laid_out(2, DType::bfloat16));
  CHECK(elements(back) == elements(here.to(DType::bfloat16)));
  const std::int64_t most = std::numeric_limits<std::int64_t>::max();
  CHECK(full({5}, most, {.dtype = DType::int64}).to_vector<std::int64_t>() ==
        std::vector<std::int64_t>(5, most));
}

}  // namespace reprise::test
