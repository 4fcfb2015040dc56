// The host's memory runs out at every point of a step, destructors of segments included.
#include "failing_new.h"

#include <catch2/catch.hpp>

#include "reprise/context.h"
#include "reprise/kernels/threads.h"
#include "reprise/reprise.h"

using namespace reprise;

namespace {

struct Step {
  nn::Gpt model;
  std::vector<Tensor> parameters;
  Tensor input = tensor<std::int32_t>({1, 2, 3, 4, 5, 6, 7, 8}, {1, 8});
  Tensor target = tensor<std::int32_t>({2, 3, 4, 5, 6, 7, 8, 9}, {1, 8});

  explicit Step(const std::string& segments) : model(config()) {
    model.segments = checkpoint::parse_setting(segments);
    parameters = nn::parameters(model);
  }
  static nn::GptConfig config() {
    nn::GptConfig config = nn::gpt_preset("tiny");
    config.layers = 3;
    config.width = 8;
    config.heads = 2;
    config.vocabulary = 11;
    config.context = 8;
    config.dropout = 0.1;
    return config;
  }
  void run() { model.loss(input, target).backward(); }
  void clear() {
    for (Tensor& parameter : parameters) parameter.clear_grad();
  }
  std::string digest() {
    std::vector<Tensor> gradients;
    for (const Tensor& parameter : parameters) gradients.push_back(parameter.grad());
    return nn::digest(gradients);
  }
};

}  // namespace

TEST_CASE("a convolution and a product that could not be made are made later", "[fault]") {
  const Tensor x = randn({2, 3, 11, 13}), w = randn({5, 3, 3, 3}), a = randn({37, 41}), b = randn({41, 43});
  const auto both = [&] {
    const Tensor y = conv2d(x, w), c = matmul(a, b);
    std::vector<float> bits = y.to_vector<float>();
    for (const float element : c.to_vector<float>()) bits.push_back(element);
    return bits;
  };
  std::vector<float> got;
  int points = 0;
  for (bool failed = true; failed; ++points) {
    const test::FailingNew failing(points + 1, true);
    try {
      got = both();
    } catch (const std::bad_alloc&) {
    } catch (const OutOfMemory&) {  // a pool that passes requests through may be the one that asks
    }
    failed = failing.has_failed();
  }
  CHECK(points > 3);
  CHECK(got == both());
  // Of other sizes, never failed: the same elements by another call.
  const Tensor y = conv2d(concatenate({x, x}, 0), w);
  const std::vector<float> twice = y.to_vector<float>();
  for (std::size_t i = 0; i < twice.size() / 2; ++i) CHECK(twice[i] == Approx(got[i]).margin(1e-5));
}

TEST_CASE("operator new fails at every point of a step", "[fault]") {
  const std::string segments = GENERATE("none", "blocks", "every:2", "sqrt", "nested", "cheap");
  const bool once = GENERATE(true, false);
  CAPTURE(segments, once);
  const int threads = kernels::num_threads();
  kernels::set_num_threads(1);
  manual_seed(3);
  Step step(segments);
  const Generator start = generator();
  step.run();
  const std::string right = step.digest();
  step.clear();
  const std::int64_t bytes = current_pool().live_bytes();
  const std::int64_t nodes = live_nodes();

  int points = 0;
  for (bool failed = true; failed; ++points) {
    generator() = start;
    bool thrown = false;
    {
      const test::FailingNew failing(points + 1, once);
      try {
        step.run();
      } catch (const std::bad_alloc&) {
        thrown = true;
      } catch (const OutOfMemory&) {
        thrown = true;
      }
      failed = failing.has_failed();
    }
    if (thrown) {
      for (const Tensor& parameter : step.parameters) REQUIRE_FALSE(parameter.grad().defined());
    } else {
      REQUIRE(step.digest() == right);
    }
    step.clear();
    REQUIRE(current_pool().live_bytes() == bytes);
    REQUIRE(live_nodes() == nodes);
    REQUIRE(
        (context().region == nullptr && context().tag == nullptr && !context().playing && grad_enabled()));
    generator() = start;
    step.run();
    REQUIRE(step.digest() == right);
    step.clear();
  }
  CHECK(points > 5);
  kernels::set_num_threads(threads);
}
