// Memory that is not there: each allocation refused once, pools that fail, a device that is too small.
#include "sweep.h"

namespace reprise::test {
namespace {

using simt::runtime::Control;

constexpr TrainingOptions kShort{.segments = "blocks", .steps = 1};

/// Every request of the run reaches the device.
Outcome train_without_cache(const Model& model, const TrainingOptions& options) {
  set_default_pool(std::make_shared<Pool>(cuda_source(0), PoolOptions{.passthrough = true}));
  return model.train(options);
}

Outcome expected_of(const Model& model, const TrainingOptions& options) {
  const Attempt plain = attempt(model, options);
  CHECK(plain.error == "");
  return plain.outcome;
}

/// A small GPT whose activations are most of what it needs, and which can be stepped again after an error.
class Trainer {
 public:
  explicit Trainer(const char* segments) {
    model_.segments = checkpoint::parse_setting(segments);
    std::vector<std::int32_t> ids(kBatch * kLength);
    for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<std::int32_t>(i * 7 % 13);
    ids_ = from_host<std::int32_t>(ids, {kBatch, kLength}, {.dtype = DType::int32});
  }
  double step() {
    const nn::Transaction whole({});
    optimiser_.zero_grad();
    const Tensor loss = model_.loss(ids_, ids_);
    loss.backward();
    optimiser_.step(0.01);
    return loss.item<float>();
  }
  void forget_gradients() { optimiser_.zero_grad(); }
  std::string digest() { return nn::digest(nn::parameters(model_)) + nn::digest(optimiser_.state()); }
  void use_segments(const char* segments) { model_.segments = checkpoint::parse_setting(segments); }

 private:
  static constexpr std::int64_t kBatch = 4, kLength = 16;
  nn::Gpt model_{{.vocabulary = 13, .context = 16, .layers = 8, .heads = 2, .width = 16}};
  nn::AdamW optimiser_{nn::decay_matrices(nn::parameters(model_), 0.1)};
  Tensor ids_;
};

}  // namespace

TEST_CASE("an allocation that the device refuses once does no harm", "[simt][engine]") {
  for (const Model& model : kModels) {
    INFO(model.name);
    StandIn stand_in;
    const Outcome expected = expected_of(model, kShort);
    const Sweep all = sweep(
        stand_in, &Control::fail_allocation, passthrough_by_default() ? 29 : 1,
        [&] { return model.train(kShort); }, expected, [] {},
        [](const Attempt& result) { CHECK((result.error.empty() || result.out_of_memory)); });
    CHECK(all.faults > 5);
    // A pool that caches gives back what it does not use, and asks for less.
    if (!passthrough_by_default()) CHECK(all.errors < all.faults);
  }
}

namespace {

void refuse_uncached(std::int64_t stride) {
  for (const Model& model : kModels) {
    INFO(model.name);
    StandIn stand_in;
    const Outcome expected = expected_of(model, kShort);
    const Sweep all = sweep(
        stand_in, &Control::fail_allocation, stride, [&] { return train_without_cache(model, kShort); },
        expected, [] {}, [](const Attempt& result) { CHECK(result.out_of_memory); });
    CHECK(all.faults > 100 / stride);
    CHECK(all.errors == all.faults);
  }
}

}  // namespace

TEST_CASE("without a cache, each refused allocation is reported", "[simt][engine]") { refuse_uncached(29); }

TEST_CASE("without a cache, each refused allocation is reported: all of them", "[simt][engine][slow]") {
  refuse_uncached(1);
}

TEST_CASE("a pool without a cache gives the same bits and gives everything back", "[simt][engine]") {
  for (const Model& model : kModels) {
    for (const bool graph : {false, true}) {
      INFO(model.name << (graph ? ", as a graph" : ""));
      const TrainingOptions options{.segments = "nested", .graph = graph};
      const StandIn stand_in;
      const Outcome expected = expected_of(model, options);
      StandIn::start_again();
      const Attempt direct = attempt([&] { return train_without_cache(model, options); });
      CHECK(direct == Attempt{expected, "", false});
      CHECK(left_on_device() == "");
      if (!graph) CHECK(simt::runtime::calls("cudaFree") == simt::runtime::calls("cudaMalloc"));
    }
  }
}

namespace {

void fail_steps(std::int64_t stride) {
  const StandIn stand_in;
  {
    const OnDevice cuda(Device::cuda());
    manual_seed(3);
    Trainer undisturbed("nested");
    undisturbed.step();
    const std::string first = undisturbed.digest();
    undisturbed.step();
    const std::string second = undisturbed.digest();

    manual_seed(3);
    Trainer trainer("nested");
    trainer.step();
    const Generator numbers = generator();
    std::int64_t n = 1;
    for (bool failed = true; failed; n += stride) {
      CAPTURE(n);
      const std::shared_ptr<Pool> pool = default_pool();
      pool->fail_after(n);
      failed = false;
      try {
        trainer.step();
      } catch (const OutOfMemory& error) {
        failed = true;
        CHECK(names_its_operation(error.what()));
      }
      pool->fail_after(-1);
      trainer.forget_gradients();
      CHECK(trainer.digest() == (failed ? first : second));
      if (failed) CHECK(generator() == numbers);
    }
    CHECK(n > 100);
  }
  CHECK(left_on_device() == "");
}

}  // namespace

TEST_CASE("a step can be run again after a fault of its pool", "[simt][engine]") { fail_steps(7); }

TEST_CASE("a step can be run again after each fault of its pool", "[simt][engine][slow]") { fail_steps(1); }

TEST_CASE("what a small device has no room for fits with segments", "[simt][engine]") {
  StandIn stand_in;
  struct Needs {
    std::string digest;
    std::size_t bytes = 0;
  };
  const auto needs = [](const char* segments) {
    StandIn::start_again();
    const OnDevice cuda(Device::cuda());
    manual_seed(4);
    set_default_pool(std::make_shared<Pool>(cuda_source(0), PoolOptions{.passthrough = true}));
    Trainer trainer(segments);
    simt::runtime::reset_peak();
    trainer.step();
    return Needs{trainer.digest(), simt::runtime::peak_bytes()};
  };
  const Needs plain = needs("none"), blocks = needs("blocks");
  CHECK(blocks.digest == plain.digest);
  CHECK(blocks.bytes * 3 < plain.bytes * 2);

  StandIn::start_again();
  stand_in->capacity = (plain.bytes + blocks.bytes) / 2;
  {
    const OnDevice cuda(Device::cuda());
    manual_seed(4);
    Trainer trainer("none");
    const Generator numbers = generator();
    std::string report;
    try {
      trainer.step();
    } catch (const OutOfMemory& error) {
      report = error.what();
    }
    INFO(report);
    for (const char* part :
         {"[memory] ", " asked for ", "cuda:0 has ", " free of ", "allocated ", "requested ", "reserved ",
          "parameters ", "activations ", "optimiser ", "checkpoint segments"})
      CHECK_THAT(report, Catch::Contains(part));
    trainer.use_segments("blocks");
    trainer.forget_gradients();
    CHECK(generator() == numbers);
    trainer.step();
    CHECK(trainer.digest() == plain.digest);
  }
  CHECK(left_on_device() == "");
}

}  // namespace reprise::test
