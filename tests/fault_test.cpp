// A fault at every allocation of a training step: the error surfaces, nothing leaks, and the step can be run
// again.
#include "tape_support.h"

using namespace tape_test;
using checkpoint::Segment;

namespace {

struct Model {
  std::vector<Tensor> parameters{leaf_values({8, 8}, 0.1), leaf_values({8, 8}, 0.3), leaf_values({8}, 0.7)};
  Tensor input = values({4, 8}, 0.2);
  Tensor table = values({4, 8}, 0.5);

  Tensor block(Tensor h, bool spare) {
    const Segment segment("block", {.spare_last = spare});
    {
      const Segment inner("mixer", {.spare_last = spare});
      h = h + dropout(tanh(matmul(h, parameters[0])), 0.3);
    }
    const Segment inner("mlp", {.spare_last = spare});
    return h + jitter(cube(matmul(h, parameters[1]) + parameters[2]) * 0.1);
  }

  /// Loss of one step; the gradients are with the parameters.
  Tensor step(bool spare) {
    Tensor h = input + table;
    for (int i = 0; i < 3; ++i) h = block(std::move(h), spare);
    const Tensor loss = sum(square(reshape(permute(h, {1, 0}), {32})));
    loss.backward();
    return loss;
  }

  std::vector<std::vector<std::uint64_t>> gradients() const {
    std::vector<std::vector<std::uint64_t>> all;
    for (const Tensor& p : parameters) all.push_back(bits_of(p.grad()));
    return all;
  }
  void clear() {
    for (Tensor& p : parameters) p.clear_grad();
  }
};

}  // namespace

TEST_CASE("a step survives a fault at every allocation", "[fault][exceptions]") {
  const NothingLeft check;
  for (const bool spare : {false, true}) {
    CAPTURE(spare);
    Model model;
    manual_seed(11);
    const Books before;
    const std::uint64_t loss = bits_of(model.step(spare))[0];
    const auto gradients = model.gradients();
    model.clear();
    const Generator after = generator();

    Pool& pool = current_pool();
    std::int64_t faults = 0;
    for (;; ++faults) {
      CAPTURE(faults);
      generator() = before.numbers;
      pool.fail_after(faults + 1);
      bool failed = false;
      try {
        model.step(spare);
      } catch (const OutOfMemory& error) {
        failed = true;
        CHECK_THAT(error.what(), Contains("[memory]"));
      }
      pool.fail_after(-1);
      if (!failed) break;
      for (Tensor& p : model.parameters) CHECK_FALSE(p.grad().defined());
      generator() = before.numbers;
      CHECK(Books() == before);
      CHECK(grad_enabled());

      CHECK(bits_of(model.step(spare))[0] == loss);
      CHECK(model.gradients() == gradients);
      CHECK(generator() == after);
      model.clear();
    }
    model.clear();
    CHECK(faults > 60);
  }
}

TEST_CASE("a step survives a fault while it adds to gradients", "[fault][exceptions]") {
  const NothingLeft check;
  Model model;
  manual_seed(11);
  const Books start;
  model.step(false);
  model.step(false);
  const auto twice = model.gradients();
  for (std::int64_t fault = 1;; ++fault) {
    CAPTURE(fault);
    model.clear();
    generator() = start.numbers;
    model.step(false);
    const Books before;
    current_pool().fail_after(fault);
    bool failed = false;
    try {
      model.step(false);
    } catch (const OutOfMemory&) {
      failed = true;
    }
    current_pool().fail_after(-1);
    if (!failed) break;
    CHECK(live_bytes() == before.bytes);
    CHECK(live_nodes() == before.nodes);
    bool complete = true;  // either no gradient was touched, or those that were say so
    for (const Tensor& p : model.parameters) {
      try {
        (void)p.grad();
      } catch (const TapeError&) {
        complete = false;
      }
    }
    if (!complete) continue;
    generator() = before.numbers;
    model.step(false);
    CHECK(model.gradients() == twice);
  }
}

TEST_CASE("a retained tape survives a fault at every allocation of its backward", "[fault][exceptions]") {
  const NothingLeft check;
  for (const bool spare : {false, true}) {
    CAPTURE(spare);
    Model model;
    Tensor h = model.input;
    for (int i = 0; i < 2; ++i) h = model.block(std::move(h), spare);
    const Tensor loss = sum(std::move(h));
    loss.backward({.retain_tape = true});
    const auto gradients = model.gradients();
    model.clear();
    const Books before;
    for (std::int64_t fault = 1;; ++fault) {
      CAPTURE(fault);
      current_pool().fail_after(fault);
      bool failed = false;
      try {
        loss.backward({.retain_tape = true});
      } catch (const OutOfMemory&) {
        failed = true;
      }
      current_pool().fail_after(-1);
      if (!failed) break;
      for (Tensor& p : model.parameters) CHECK_FALSE(p.grad().defined());
      CHECK(Books() == before);
    }
    CHECK(model.gradients() == gradients);
    model.clear();
    loss.backward();
    CHECK(model.gradients() == gradients);
  }
}

TEST_CASE("a pool that is too small fails as one that is told to", "[fault]") {
  const std::shared_ptr<Pool> usual = default_pool();
  Generator start;
  std::uint64_t loss = 0;
  {
    Model model;
    generator() = start;
    loss = bits_of(model.step(true))[0];
  }
  struct Restore {
    std::shared_ptr<Pool> pool;
    ~Restore() { set_default_pool(pool); }
  } restore{usual};
  const auto pool = std::make_shared<Pool>(limited_source(host_source(), std::size_t{1} << 21),
                                           PoolOptions{.passthrough = false});
  set_default_pool(pool);
  {
    Model model;
    const Tensor half = zeros({1 << 20}, {.dtype = DType::boolean});
    const Tensor nearly_half = zeros({(1 << 20) - 4096}, {.dtype = DType::boolean});
    generator() = start;
    CHECK_THROWS_AS(model.step(true), OutOfMemory);
  }
  CHECK(pool->statistics().all.requested.current == 0);
  Model model;
  generator() = start;
  CHECK(bits_of(model.step(true))[0] == loss);
}
