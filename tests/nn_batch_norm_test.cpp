// Batch norm as a module: its running statistics, also in a replay.
#include <cmath>

#include "nn_support.h"

using namespace nn_test;

TEST_CASE("batch norm follows the batch's mean and unbiased variance", "[nn]") {
  nn::BatchNorm2d norm(2);
  const Tensor x = tensor<float>({1, 2, 3, 5, -1, 0, 4, 4, 2, 2, 8, 1}, {3, 2, 2, 1});
  double mean[2] = {0, 0}, variance[2] = {1, 1};
  const std::vector<double> elements = x.to_vector<double>();
  for (int round = 1; round <= 3; ++round) {
    norm(x);
    for (std::size_t c = 0; c < 2; ++c) {
      double sum = 0, squares = 0;
      for (std::size_t n = 0; n < 3; ++n) {
        for (std::size_t i = 0; i < 2; ++i) sum += elements[4 * n + 2 * c + i] / 6;
      }
      for (std::size_t n = 0; n < 3; ++n) {
        for (std::size_t i = 0; i < 2; ++i) squares += std::pow(elements[4 * n + 2 * c + i] - sum, 2) / 5;
      }
      mean[c] = 0.9 * mean[c] + 0.1 * sum;
      variance[c] = 0.9 * variance[c] + 0.1 * squares;
      CHECK(norm.running_mean.to_vector<double>()[c] == Approx(mean[c]).epsilon(1e-5));
      CHECK(norm.running_var.to_vector<double>()[c] == Approx(variance[c]).epsilon(1e-5));
    }
    CHECK(norm.num_batches_tracked.item<std::int64_t>() == round);
  }
}

TEST_CASE("batch norm refuses to train on one value per channel", "[nn]") {
  nn::BatchNorm2d norm(2);
  CHECK_THROWS_WITH(norm(ones({1, 2, 1, 1})), Contains("[batch_norm]") && Contains("larger batch"));
  check_constant(norm.running_var, 1);
  CHECK(norm.num_batches_tracked.item<std::int64_t>() == 0);
  norm.training = false;
  CHECK_NOTHROW(norm(ones({1, 2, 1, 1})));
}

TEST_CASE("batch norm refuses buffers that its statistics do not fit, and changes none", "[nn]") {
  struct Fault {
    Tensor nn::BatchNorm2d::*buffer;
    Tensor instead;
    const char* error;
  };
  const Fault faults[] = {
      {&nn::BatchNorm2d::running_mean, Tensor(), "[BatchNorm2d] undefined tensor"},
      {&nn::BatchNorm2d::running_mean, zeros({3}), "[BatchNorm2d] running_mean is (3); it must be (2)"},
      {&nn::BatchNorm2d::running_mean, zeros({2}, {.dtype = DType::int32}), "it must be float32 on cpu"},
      {&nn::BatchNorm2d::running_var, expand(zeros({1}), {2}), "shows the same memory several times"},
      {&nn::BatchNorm2d::running_var, zeros({2}, {.dtype = DType::float64}),
       "[BatchNorm2d] running_var is float64 on cpu; it must be float32 on cpu"},
      {&nn::BatchNorm2d::num_batches_tracked, zeros({}), "num_batches_tracked is float32"},
      {&nn::BatchNorm2d::num_batches_tracked, zeros({1}, {.dtype = DType::int64}), "it must be ()"},
  };
  const Tensor x = randn({4, 2, 3, 3});
  for (const Fault& fault : faults) {
    CAPTURE(fault.error);
    nn::BatchNorm2d norm(2);
    norm.*fault.buffer = fault.instead;
    CHECK_THROWS_WITH(norm(x), Contains(fault.error));
    if (fault.buffer != &nn::BatchNorm2d::running_mean) check_constant(norm.running_mean, 0);
    if (fault.buffer != &nn::BatchNorm2d::running_var) check_constant(norm.running_var, 1);
  }
}

TEST_CASE("batch norm's buffers may be of any floating type", "[nn]") {
  const Tensor x = randn({4, 2, 3, 3});
  nn::BatchNorm2d reference(2);
  reference(x);
  for (const DType dtype : {DType::float64, DType::bfloat16, DType::float16}) {
    CAPTURE(name_of(dtype));
    nn::BatchNorm2d norm(2);
    norm.running_mean = norm.running_mean.to(dtype);
    norm.running_var = norm.running_var.to(dtype);
    norm(x);
    CHECK(norm.running_mean.dtype() == dtype);
    for (std::size_t c = 0; c < 2; ++c) {
      CHECK(norm.running_mean.to_vector<double>()[c] ==
            Approx(reference.running_mean.to_vector<double>()[c]).margin(1e-3));
      CHECK(norm.running_var.to_vector<double>()[c] ==
            Approx(reference.running_var.to_vector<double>()[c]).margin(1e-2));
    }
  }
}

TEST_CASE("a replayed batch norm counts its batch once", "[nn]") {
  const auto run = [](bool segmented) {
    manual_seed(2);
    nn::Conv2d conv(3, 4, 3);
    nn::BatchNorm2d norm(4);
    const Tensor x = randn({2, 3, 6, 6});
    reset_tape_counters();
    const auto layers = [&] { return sum(square(norm(conv(x), true))); };
    const Tensor loss = segmented ? checkpoint::segment("all", layers, {.spare_last = false}) : layers();
    loss.backward();
    CHECK((tape_counters().replayed_nodes > 0) == segmented);
    CHECK(norm.num_batches_tracked.item<std::int64_t>() == 1);
    return nn::digest(std::vector{loss.detach(), norm.running_mean, norm.running_var, conv.weight.grad(),
                                  norm.weight.grad(), norm.bias.grad()});
  };
  CHECK(run(true) == run(false));
}
