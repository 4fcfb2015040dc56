// When memory runs out: what the error says, and that its advice holds.
#include <catch2/catch.hpp>

#include "reprise/context.h"
#include "step_memory.h"

using namespace reprise;
using namespace reprise::test;
using Catch::Matchers::Contains;

namespace {

/// Two steps in a pool of that capacity; the error, or nothing.
std::string try_steps(const StepCase& c, std::size_t capacity_bytes) {
  const std::shared_ptr<Pool> before = default_pool();
  set_default_pool(std::make_shared<Pool>(limited_source(host_source(), capacity_bytes)));
  std::string error;
  try {
    const checkpoint::Step step = step_of(c);
    checkpoint::PhaseMeter meter;
    step(meter);
    step(meter);
  } catch (const OutOfMemory& e) {
    error = e.what();
  }
  set_default_pool(before);
  return error;
}

/// The bytes that the error's estimate gives to the sequence under a setting; -1: not named.
double estimated(const std::string& error, const std::string& setting) {
  const std::size_t name = error.find(" under " + setting + " (");
  if (name == std::string::npos) return -1;
  const std::size_t unit = error.rfind(' ', name - 1);
  const std::size_t number = error.rfind(' ', unit - 1) + 1;
  const double value = std::stod(error.substr(number));
  const std::string_view scale = std::string_view(error).substr(unit + 1, name - unit - 1);
  return value * (scale == "MiB" ? 1 << 20 : scale == "KiB" ? 1 << 10 : 1);
}

/// What a sequence of n equal blocks of two equal values, one of them read by the next block, is to take.
double formula(const std::string& setting, double n, double bytes) {
  if (setting == "cheap") return n * bytes + bytes;  // gelu's result is cheap, and is the next block's input
  if (setting == "blocks") return n * bytes + 2 * bytes;
  if (setting == "sqrt") return 2 * bytes + 2 * 2 * bytes;  // of 4
  return (2 + 1) * bytes + bytes;                           // nested: halved twice
}

}  // namespace

TEST_CASE("the error of a step that does not fit says who asked, what is live, and what would fit",
          "[memory]") {
  const StepCase c{.batch = 64};
  const checkpoint::Prediction whole = checkpoint::predict({}, [&] { return step_of(c); });
  const auto capacity = static_cast<std::size_t>(0.8 * static_cast<double>(whole.memory.reserved.peak));
  const std::string error = try_steps(c, capacity);
  INFO(error);
  CHECK_THAT(error, Contains("[memory] ") && Contains(" asked for ") && Contains(" by ") &&
                        Contains(" in transformer.h.") && Contains("(models/gpt.cpp:") &&
                        Contains(" but cpu has ") && Contains(" free of ") && Contains("\n  allocated ") &&
                        Contains("reserved ") && Contains("cached but unused ") &&
                        Contains("\n  parameters ") && Contains("activations ") &&
                        Contains("\n  largest live values:\n") && Contains("from the tape so far, ") &&
                        Contains(" of 3 blocks under segments none") &&
                        Contains("checkpoint::predict says what fits"));
  const std::size_t list = error.find("largest live values:\n");
  const std::string values = error.substr(list, error.find("\n  an estimate from the tape", list) - list);
  CHECK(std::count(values.begin(), values.end(), '\n') == 11);  // the title, ten values, what to do
}

TEST_CASE("the error makes no promise that a setting fits, at any capacity", "[memory]") {
  const StepCase c{.batch = 64};
  const checkpoint::Prediction whole = checkpoint::predict({}, [&] { return step_of(c); });
  int estimates = 0;
  for (const double share : {0.3, 0.4, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95}) {
    const auto capacity =
        static_cast<std::size_t>(share * static_cast<double>(whole.memory.all.allocated.peak));
    const std::string error = try_steps(c, capacity);
    CAPTURE(share, error);
    REQUIRE(error != "");
    CHECK_THAT(error, !Contains("would fit") && !Contains("fit:"));
    estimates += estimated(error, "blocks") > 0 ? 1 : 0;
  }
  CHECK(estimates >= 7);
}

TEST_CASE("the estimate of a sequence that is on the tape is the formula's", "[memory]") {
  const std::shared_ptr<Pool> before = default_pool();
  set_default_pool(std::make_shared<Pool>(limited_source(host_source(), std::size_t{8} << 20),
                                          PoolOptions{.passthrough = false}));
  constexpr std::int64_t kRows = 1024, kWidth = 64;
  std::string error;
  {
    std::vector<Tensor> weights;
    for (int i = 0; i < 4; ++i) weights.push_back(randn({kWidth, kWidth}).set_requires_grad(true));
    Tensor h = randn({kRows, kWidth});
    checkpoint::sequence({.strategy = checkpoint::Strategy::none}, 4,
                         [&](std::int64_t i) { h = gelu(matmul(h, weights[static_cast<std::size_t>(i)])); });
    h = matmul(h, weights[0]);  // reads the last block's result as blocks read each other's
    try {
      zeros({std::int64_t{8} << 20});
    } catch (const OutOfMemory& e) {
      error = e.what();
    }
  }
  set_default_pool(before);
  CAPTURE(error);
  CHECK_THAT(error, Contains("4 of 4 blocks under segments none"));
  for (const std::string setting : {"blocks", "sqrt", "nested"}) {
    CAPTURE(setting);
    CHECK(estimated(error, setting) ==
          Approx(formula(setting, 4, static_cast<double>(kRows * kWidth * 4))).epsilon(0.01));
  }
}

TEST_CASE("an adviser of the caller's takes the place of the estimate", "[memory]") {
  struct Own final : Adviser {
    std::string advice(const Pool&, DeviceKind) const override { return "own words"; }
  } own;
  const Adviser* const before = std::exchange(context().adviser, &own);
  const std::string error = try_steps({.batch = 64}, std::size_t{256} << 10);
  context().adviser = before;
  CHECK_THAT(error, Contains("\n  own words") && !Contains("from the tape"));
}

TEST_CASE("a failure that a test asked for is not said to be a shortage", "[memory]") {
  const std::shared_ptr<Pool> before = default_pool();
  set_default_pool(std::make_shared<Pool>(host_source()));
  { const Tensor cached = zeros({1 << 16}); }  // unused memory, more than what is asked for
  current_pool().fail_after(0);
  CHECK_THROWS_WITH(zeros({4}), Contains("fail_after made it fail") && Contains("nothing is short") &&
                                    !Contains("in pieces") && !Contains("smaller batch"));
  set_default_pool(before);
}

TEST_CASE("without a sequence of blocks there is no advice", "[memory]") {
  const std::shared_ptr<Pool> before = default_pool();
  set_default_pool(std::make_shared<Pool>(limited_source(host_source(), 1024)));
  CHECK_THROWS_WITH(zeros({1024}), Contains("empty (1024) float32") && !Contains("from the tape"));
  set_default_pool(before);
}

TEST_CASE("what an earlier step still holds is no part of the advice", "[memory]") {
  const std::shared_ptr<Pool> before = default_pool();
  set_default_pool(std::make_shared<Pool>(limited_source(host_source(), std::size_t{600} << 10),
                                          PoolOptions{.passthrough = false}));
  std::string error;
  {
    manual_seed(1);
    std::vector<Tensor> weights;
    for (int i = 0; i < 4; ++i) weights.push_back(randn({64, 64}).set_requires_grad(true));
    Tensor logits, loss;  // of the step before, whose nodes have been played and know their inputs no more
    try {
      for (std::int64_t rows = 64; rows < 4096; rows *= 2) {
        Tensor h = randn({rows, 64});
        checkpoint::sequence({.strategy = checkpoint::Strategy::none}, 4, [&](std::int64_t i) {
          h = gelu(matmul(h, weights[static_cast<std::size_t>(i)]));
        });
        logits = matmul(h, weights[0]);
        h = Tensor();
        loss = mean(square(logits));
        loss.backward();
      }
    } catch (const OutOfMemory& e) {
      error = e.what();
    }
  }
  CHECK_THAT(error, Contains("from the tape so far, 4 of 4 blocks under segments none"));
  set_default_pool(before);
}
