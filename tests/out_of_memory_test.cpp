// When memory runs out: what the error says, and that its advice holds.
#include <catch2/catch.hpp>

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

/// The settings that an error advises, in its order: "these would fit: cheap (about ...), blocks (about
/// ...)".
std::vector<std::string> advised(const std::string& error) {
  constexpr std::string_view kFits = "these would fit: ", kAbout = " (about ", kNext = "), ";
  std::vector<std::string> settings;
  std::size_t at = error.find(kFits);
  if (at == std::string::npos) return settings;
  for (at += kFits.size();; at = error.find(kNext, at) + kNext.size()) {
    settings.push_back(error.substr(at, error.find(kAbout, at) - at));
    if (error.find(kNext, at) == std::string::npos) return settings;
  }
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
                        Contains(" of 3 blocks under segments none"));
  const std::size_t list = error.find("largest live values:\n");
  const std::string values = error.substr(list, error.find("\n  from the tape", list) - list);
  CHECK(std::count(values.begin(), values.end(), '\n') == 11);  // the title, ten values, what to do
}

TEST_CASE("what the error advises fits, over the whole range of capacities", "[memory]") {
  const StepCase c{.batch = 64};
  const checkpoint::Prediction whole = checkpoint::predict({}, [&] { return step_of(c); });
  int advices = 0;
  for (const double share : {0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95}) {
    const auto capacity =
        static_cast<std::size_t>(share * static_cast<double>(whole.memory.all.allocated.peak));
    const std::string error = try_steps(c, capacity);
    CAPTURE(share, error);
    REQUIRE(error != "");
    for (const std::string& setting : advised(error)) {
      ++advices;
      StepCase other = c;
      other.segments = setting;
      CAPTURE(setting);
      CHECK(try_steps(other, capacity) == "");
    }
  }
  CHECK(advices >= 7);
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
