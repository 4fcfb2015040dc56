// Whole training steps on CUDA: with and without segments, as a graph, and how often the host waits.
#include <catch2/catch.hpp>

#include <cmath>

#include "training_run.h"

namespace reprise::test {
namespace {

using Train = Outcome (*)(const TrainingOptions&);

struct Model {
  const char* name;
  Train train;
};
constexpr Model kModels[] = {{"gpt", train_gpt}, {"resnet", train_resnet}};
/// A pool that keeps its memory, which a graph needs, also where pools do not by default (AddressSanitizer).
class CachingPool {
 public:
  CachingPool() {
    set_default_pool(std::make_shared<Pool>(source_of(default_device()), PoolOptions{.passthrough = false}));
  }
  CachingPool(const CachingPool&) = delete;
  CachingPool& operator=(const CachingPool&) = delete;
  ~CachingPool() { set_default_pool(before_); }

 private:
  std::shared_ptr<Pool> before_ = default_pool();
};

constexpr const char* kSettings[] = {"blocks", "every:2", "sqrt", "nested", "cheap"};

}  // namespace

TEST_CASE("training on CUDA gives the same bits with and without segments", "[cuda][training]") {
  const OnDevice cuda(Device::cuda());
  for (const Model& model : kModels) {
    INFO(model.name);
    const Outcome plain = model.train({});
    for (const char* setting : kSettings) {
      INFO(setting);
      CHECK(model.train({.segments = setting}) == plain);
    }
  }
}

TEST_CASE("16-bit training on CUDA gives the same bits with and without segments", "[cuda][training]") {
  const OnDevice cuda(Device::cuda());
  for (const DType dtype : {DType::bfloat16, DType::float16}) {
    for (const Model& model : kModels) {
      INFO(model.name << " " << name_of(dtype));
      const Outcome plain = model.train({.dtype = dtype});
      for (const double loss : plain.losses) CHECK(std::isfinite(loss));
      for (const char* setting : {"blocks", "cheap"})
        CHECK(model.train({.segments = setting, .dtype = dtype}) == plain);
    }
  }
}

TEST_CASE("a loss in chunks of logits trains alike, in any setting", "[cuda][training]") {
  const Outcome whole = train_gpt({});
  const OnDevice cuda(Device::cuda());
  const Outcome chunked = train_gpt({.loss_chunk = 5});
  for (std::size_t i = 0; i < whole.losses.size(); ++i)
    CHECK(chunked.losses[i] == Approx(whole.losses[i]).epsilon(1e-4));
  CHECK(train_gpt({.segments = "blocks", .loss_chunk = 5}) == chunked);
  for (const DType dtype : {DType::bfloat16, DType::float16}) {
    INFO(name_of(dtype));
    const Outcome narrow = train_gpt({.dtype = dtype, .loss_chunk = 5});
    for (std::size_t i = 0; i < whole.losses.size(); ++i)
      CHECK(narrow.losses[i] == Approx(whole.losses[i]).epsilon(2e-2));
    for (const char* setting : {"blocks", "cheap"})
      CHECK(train_gpt({.segments = setting, .dtype = dtype, .loss_chunk = 5}) == narrow);
  }
}

TEST_CASE("training on CUDA follows the CPU", "[cuda][training]") {
  for (const Model& model : kModels) {
    INFO(model.name);
    const Outcome cpu = model.train({});
    const OnDevice there(Device::cuda());
    const Outcome cuda = model.train({});
    CHECK(cuda.generator == cpu.generator);
    for (std::size_t i = 0; i < cpu.losses.size(); ++i)
      CHECK(cuda.losses[i] == Approx(cpu.losses[i]).epsilon(1e-4));
  }
}

TEST_CASE("a captured step gives the bits of a plain one", "[cuda][training]") {
  const OnDevice cuda(Device::cuda());
  for (const Model& model : kModels) {
    for (const char* setting : {"none", "blocks", "nested"}) {
      INFO(model.name << " " << setting);
      const CachingPool pool;
      const Outcome plain = model.train({.segments = setting, .steps = 6});
      CHECK(model.train({.segments = setting, .steps = 6, .graph = true}) == plain);
    }
  }
}

TEST_CASE("a training step waits for the device once, for the loss", "[cuda][training]") {
  const OnDevice cuda(Device::cuda());
  for (const Model& model : kModels) {
    INFO(model.name);
    const auto waits = [&](int steps) {
      const std::int64_t before = synchronisations();
      model.train({.segments = "blocks", .steps = steps});
      return synchronisations() - before;
    };
    CHECK(waits(7) - waits(2) == 5);
  }
}

TEST_CASE("work that reads a value is not captured, and says so", "[cuda][training]") {
  const OnDevice cuda(Device::cuda());
  const CachingPool pool;
  Tensor total = zeros({});
  CapturedWork work(Device::cuda());
  for (int i = 0; i < 4; ++i) {
    work.run([&] {
      const NoGrad no_grad;
      total.add_(ones({}));
      if (total.item<float>() < 0) total.zero_();
    });
  }
  CHECK_FALSE(work.captured());
  CHECK_THAT(work.obstacle(), Catch::Contains("[capture]") && Catch::Contains("reads a value"));
  CHECK(total.item<float>() == 4);
  CHECK_THROWS_AS(CapturedWork(Device::cpu()), TypeError);
}

TEST_CASE("captured random numbers are those of plain steps", "[cuda][training]") {
  const OnDevice cuda(Device::cuda());
  const auto draws = [](bool graph) {
    const CachingPool pool;
    manual_seed(5);
    CapturedWork work(Device::cuda());
    Tensor drawn = zeros({33});
    const auto draw = [&] {
      const NoGrad no_grad;
      drawn.copy_(dropout(ones({33}), 0.5));
      drawn.add_(dropout(ones({33}), 0.3));
    };
    std::vector<std::vector<float>> all;
    for (int i = 0; i < 5; ++i) {
      graph ? work.run(draw) : draw();
      all.push_back(drawn.to_vector<float>());
    }
    CHECK(work.captured() == graph);
    return all;
  };
  CHECK(draws(true) == draws(false));
}

}  // namespace reprise::test
