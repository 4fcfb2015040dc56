// What the tape keeps, for how long, and on which thread.
#include "tape_support.h"

#include <thread>

#include "sanitizers.h"

using namespace tape_test;

namespace {
constexpr std::int64_t kN = 1000;
constexpr std::int64_t kBytes = kN * 8;
}  // namespace

TEST_CASE("what nobody needs is freed at once", "[tape][memory]") {
  const NothingLeft check;
  const Tensor x = values({kN});
  Tensor w = leaf_values({kN});
  const std::int64_t base = live_bytes();
  Tensor y = x + w;
  CHECK(live_bytes() - base == kBytes);
  y = y * 2.0 + x;
  CHECK(live_bytes() - base == kBytes);
  y = tanh(std::move(y));
  CHECK(live_bytes() - base == kBytes);
  y = sum(y);
  CHECK(live_bytes() - base == kBytes + 8);
  y.backward();
  CHECK(live_bytes() - base == kBytes + 8);
  w.clear_grad();
  CHECK(live_bytes() - base == 8);
  y = Tensor();
  CHECK(live_bytes() == base);
}

TEST_CASE("a product keeps only what the wanted gradients read", "[tape][memory]") {
  const NothingLeft check;
  const Tensor frozen = values({16, 16});
  Tensor trained = leaf_values({16, 16});
  Tensor input = leaf_values({16, 16});
  const std::int64_t matrix = 16 * 16 * 8;
  struct Case {
    const char* what;
    Tensor a, b;
    bool keeps_a, keeps_b;
  };
  for (const Case& c :
       {Case{"both", input, trained, true, true}, Case{"frozen weight", input, frozen, false, true},
        Case{"no-grad input", frozen, trained, true, false}}) {
    for (const bool product : {false, true}) {
      CAPTURE(c.what, product);
      const std::int64_t base = live_bytes();
      Tensor a = c.a + 1.0;
      Tensor b = c.b + 1.0;
      const Tensor y = product ? matmul(a, b) : a * b;
      a = b = Tensor();
      CHECK(live_bytes() - base == matrix * (1 + c.keeps_a + c.keeps_b));
    }
  }
}

TEST_CASE("after backward nothing is saved, and the records go with the handles", "[tape][memory]") {
  const NothingLeft check;
  Tensor w = leaf_values({kN});
  const std::int64_t base = live_bytes();
  const std::int64_t nodes = live_nodes();
  const Tensor y = sum(exp(w) * tanh(w));
  CHECK(live_nodes() - nodes == 4);
  y.backward();
  CHECK(live_bytes() - base == kBytes + 8);
  CHECK(live_nodes() - nodes == 1);
  CHECK(y.item<double>() != 0);
}

TEST_CASE("what is never played goes with its handles", "[tape][memory]") {
  const NothingLeft check;
  Tensor w = leaf_values({kN});
  const std::int64_t nodes = live_nodes();
  Tensor y = w;
  Tensor middle;
  for (int i = 0; i < 10; ++i) {
    y = exp(y) * w;
    if (i == 4) middle = y;
  }
  CHECK(live_nodes() - nodes == 20);
  y = Tensor();
  CHECK(live_nodes() - nodes == 10);
  middle = Tensor();
  CHECK(live_nodes() == nodes);
}

TEST_CASE("a chain of a million nodes is played and destroyed", "[tape]") {
  const NothingLeft check;
#if UNDER_THREAD_SANITIZER
  constexpr int kNodes = 100'000;  // the checker needs half a minute for more
#else
  constexpr int kNodes = 1'000'000;
#endif
  Tensor w = leaf(1);
  Tensor y = w;
  for (int i = 0; i < kNodes; ++i) y = std::move(y) * w;
  CHECK(live_nodes() >= kNodes);
  reset_tape_counters();
  y.backward({.retain_tape = true});
  CHECK(w.grad().item<double>() == kNodes + 1);
  CHECK(tape_counters().backward_nodes == kNodes);
}

TEST_CASE("counters tell what the tape did", "[tape]") {
  Tensor w = leaf_values({4});
  reset_tape_counters();
  CHECK(tape_counters() == TapeCounters{});
  const Tensor y = sum(exp(w) * w);
  CHECK(tape_counters() == TapeCounters{.recorded_nodes = 3});
  y.backward();
  CHECK(tape_counters() == TapeCounters{.recorded_nodes = 3, .backward_nodes = 3});
}

TEST_CASE("threads train side by side with what they share", "[tape][threads]") {
  const NothingLeft check;
  const Tensor shared = values({8, 8}).set_name("frozen");
  const auto train = [&](std::uint64_t seed) {
    manual_seed(seed);
    Tensor w = randn({8, 8}, kDouble).set_requires_grad(true);
    for (int step = 0; step < 50; ++step) {
      Tensor h = w;
      for (int layer = 0; layer < 3; ++layer) {
        const checkpoint::Segment segment("layer", {.spare_last = layer % 2 == 0});
        h = dropout(tanh(matmul(h, shared) + h * shared), 0.25);
      }
      w.clear_grad();
      sum(square(h)).backward();
      const NoGrad no_grad;
      w.add_(w.grad(), -0.01);
    }
    return bits_of(w);
  };
  std::vector<std::vector<std::uint64_t>> alone, together(2);
  for (const std::uint64_t seed : {1U, 2U}) alone.push_back(train(seed));
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < 2; ++i) {
    threads.emplace_back([&, i] {
      together[i] = train(i + 1);
      if (live_nodes() != 0) together[i].clear();
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(together[0] == alone[0]);
  CHECK(together[1] == alone[1]);
  CHECK(alone[0] != alone[1]);
}

TEST_CASE("a tape stays on its thread", "[tape][threads]") {
  const NothingLeft check;
  Tensor w = leaf_values({3}).set_name("w");
  const Tensor y = sum(exp(w));
  std::string in_backward, in_use;
  Doubles detached;
  std::thread([&] {
    try {
      y.backward();
    } catch (const TapeError& error) {
      in_backward = error.what();
    }
    try {
      (y * 2.0).backward();
    } catch (const TapeError& error) {
      in_use = error.what();
    }
    detached = elements_of(y.detach() * 2.0);
  }).join();
  CHECK_THAT(in_backward, Contains("[backward] the result of sum () was recorded on another thread's tape"));
  CHECK_THAT(
      in_use,
      Contains(
          "[mul_scalar] input 0, the result of sum (), was recorded on another thread's tape; detach() it"));
  CHECK(detached[0] == 2 * y.item<double>());
  CHECK_FALSE(w.grad().defined());
  y.backward();
  CHECK(w.grad().defined());
}

TEST_CASE("modes and generators belong to their thread", "[tape][threads]") {
  const NoGrad no_grad;
  manual_seed(9);
  bool enabled = false;
  Generator other;
  std::thread([&] {
    enabled = grad_enabled();
    other = generator();
  }).join();
  CHECK(enabled);
  CHECK(other == Generator{});
}
