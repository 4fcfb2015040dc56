// Several threads: what they share, what they let go, and what they may not do.
#include "tape_support.h"

#include <atomic>
#include <future>
#include <optional>
#include <thread>

using namespace tape_test;
using checkpoint::Segment;

namespace {

template <class F>
void on_thread(F&& f) {
  std::thread(std::forward<F>(f)).join();
}

}  // namespace

TEST_CASE("a leaf is shared by threads, one after the other", "[tape][threads]") {
  const NothingLeft check;
  Tensor w = leaf({1, 2, 3}, {3});
  int calls = 0;
  Tensor v = leaf({1, 2, 3}, {3});
  v.on_gradient([&](const Tensor&) {
    ++calls;
    return Tensor();
  });
  sum(w * w).backward();
  sum(v * v).backward();
  on_thread([&] {
    Tensor of_this_thread = leaf(1);
    sum(of_this_thread * of_this_thread).backward();  // the first backward of this thread, as above
    CHECK(elements_of(gradients(sum(w * 10.0), std::vector{w})[0]) == Doubles{10, 10, 10});
    CHECK(elements_of(w.grad()) == Doubles{2, 4, 6});
    sum(w * 10.0).backward();
    sum(v * 10.0).backward();
  });
  CHECK(elements_of(w.grad()) == Doubles{12, 14, 16});
  CHECK(elements_of(v.grad()) == Doubles{12, 14, 16});
  CHECK(calls == 2);
}

TEST_CASE("threads play backward to the same leaves at the same time", "[tape][threads]") {
  const NothingLeft check;
  constexpr int kThreads = 4, kSteps = 200;
  std::vector<Tensor> leaves;
  for (int i = 0; i < 6; ++i) leaves.push_back(leaf({1, 2, 3}, {3}));
  std::atomic<int> calls = 0;
  leaves[0].on_gradient([&](const Tensor&) {
    ++calls;
    return Tensor();
  });
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      for (int step = 0; step < kSteps; ++step) {
        Tensor y;
        {
          // Whether to spare one is decided by what its leaves have, which another thread may be giving them.
          const Segment segment("s", {.spare_last = step % 2 == 0});
          y = leaves[0] * 1.0;
          for (const Tensor& other : leaves) y = y + other * 2.0;  // sums of small integers are exact
        }
        if (step % 4 == 0)
          CHECK(elements_of(gradients(sum(y), std::vector{leaves[1]})[0]) == Doubles{2, 2, 2});
        else
          sum(y).backward();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const double added = kThreads * kSteps * 3.0 / 4.0;
  CHECK(elements_of(leaves[0].grad()) == Doubles(3, 3 * added));
  for (std::size_t i = 1; i < leaves.size(); ++i)
    CHECK(elements_of(leaves[i].grad()) == Doubles(3, 2 * added));
  CHECK(calls == static_cast<int>(added));
}

TEST_CASE("results are let go on other threads", "[tape][threads][segment]") {
  const NothingLeft check;
  Tensor w = leaf_values({8, 8});
  const auto step = [&](auto&& drop) {
    Tensor h;
    {
      const Segment segment("block", {.spare_last = false});
      h = tanh(matmul(w, w));
      h = tanh(matmul(h, w));
    }
    const Tensor loss = sum(square(h));
    drop(std::move(h));
    loss.backward();
  };
  step([](Tensor h) { h = Tensor(); });
  const auto right = bits_of(w.grad());
  const auto check_step = [&](auto&& drop) {
    w.clear_grad();
    step(drop);
    CHECK(bits_of(w.grad()) == right);
    CHECK(live_nodes() == 0);
  };
  check_step([](Tensor h) { on_thread([h = std::move(h)]() mutable { h = Tensor(); }); });
  check_step([](Tensor h) {
    std::async(std::launch::async, [h = std::move(h)] { return h.detach().to_vector<double>()[0]; }).get();
  });
  check_step([](Tensor h) {  // held by both, let go by both
    Tensor copy = h;
    std::thread thread([copy = std::move(copy)]() mutable { copy = Tensor(); });
    h = Tensor();
    thread.join();
  });
}

TEST_CASE("many results are let go elsewhere while their thread records", "[tape][threads]") {
  const NothingLeft check;
  Tensor w = leaf({1, 2, 3}, {3});
  std::vector<Tensor> held;
  for (int i = 0; i < 20000; ++i) held.push_back(w * 2.0);
  std::thread thread([held = std::move(held)]() mutable { held.clear(); });
  Tensor y = w;
  for (int i = 0; i < 20000; ++i) y = y * 1.0;
  sum(y).backward();
  thread.join();
  CHECK(live_nodes() == 1);
  CHECK(elements_of(w.grad()) == Doubles{1, 1, 1});
}

TEST_CASE("a tape outlives its thread", "[tape][threads]") {
  const NothingLeft check;
  Tensor w = leaf_values({4});
  std::vector<Tensor> losses;
  for (int i = 0; i < 4; ++i) {
    losses.push_back(std::async(std::launch::async, [&] {
                       const Segment segment("s", {.spare_last = false});
                       return sum(exp(tanh(w)));
                     }).get());
  }
  CHECK_THROWS_WITH(losses[0].backward(), Contains("was recorded on another thread's tape"));
  CHECK_THROWS_WITH(gradients(losses[0], std::vector{w}), Contains("was recorded on another thread's tape"));
  CHECK_THROWS_WITH(losses[0] * 2.0, Contains("detach() it first"));
  CHECK_THROWS_WITH(losses[0].on_gradient([](const Tensor&) { return Tensor(); }),
                    Contains("another thread's"));
  CHECK((losses[0].detach() * 2.0).item<double>() == 2 * losses[0].item<double>());
  std::vector<std::thread> threads;  // let go by several at once
  for (Tensor& loss : losses) threads.emplace_back([loss = std::move(loss)]() mutable { loss = Tensor(); });
  for (std::thread& thread : threads) thread.join();
}

TEST_CASE("another thread's result is read in a segment", "[tape][threads][segment]") {
  const NothingLeft check;
  Tensor w = leaf_values({4});
  std::promise<Tensor> made;
  std::promise<void> read;
  std::thread other([&] {
    const Segment segment("theirs", {.spare_last = false});
    made.set_value(values({4}) * 3.0);
    read.get_future().wait();
  });
  Tensor theirs = made.get_future().get();
  Tensor y;
  {
    const Segment segment("ours", {.spare_last = false});
    y = sum(exp(w) * theirs);
  }
  theirs = Tensor();
  read.set_value();
  other.join();
  y.backward();
  const auto got = bits_of(w.grad());
  w.clear_grad();
  sum(exp(w) * (values({4}) * 3.0)).backward();
  CHECK(got == bits_of(w.grad()));
}

TEST_CASE("hooks may change the list of hooks, drop handles and fail", "[tape]") {
  const NothingLeft check;
  Tensor w = leaf({1, 2, 3}, {3});
  int first = 0, added = 0;
  w.on_gradient([&](const Tensor&) {
    for (int i = 0; first == 0 && i < 100; ++i) {
      w.on_gradient([&](const Tensor&) {
        ++added;
        return Tensor();
      });
    }
    ++first;
    return Tensor();
  });
  Tensor held = w * 2.0;
  w.on_gradient([&](const Tensor&) {
    held = Tensor();
    return Tensor();
  });
  sum(held * 3.0).backward();
  CHECK(first == 1);
  CHECK(added == 0);
  CHECK(elements_of(w.grad()) == Doubles{6, 6, 6});
  sum(w).backward();
  CHECK(added == 100);
  CHECK(elements_of(w.grad()) == Doubles{7, 7, 7});
}

TEST_CASE("a hook may not clear what is being added to, and its result is no part of the tape", "[tape]") {
  const NothingLeft check;
  Tensor x = leaf({1, 2}, {2}), w = leaf({3, 4}, {2});
  Tensor h = x * 2.0;
  h.on_gradient([&](const Tensor&) {
    x.clear_grad();
    return Tensor();
  });
  CHECK_THROWS_WITH(sum(h + x).backward(), Contains("clear or set it after the backward"));
  CHECK_FALSE(x.grad().defined());
  h = Tensor();
  const std::int64_t nodes = live_nodes();
  x.on_gradient([&](const Tensor& g) { return g * w; });
  sum(x * 2.0).backward();
  CHECK(elements_of(x.grad()) == Doubles{6, 8});
  CHECK_FALSE(x.grad().requires_grad());
  CHECK(live_nodes() == nodes);
  x.grad().mul_(0.5);
  CHECK(elements_of(x.grad()) == Doubles{3, 4});
}

TEST_CASE("a hook may wait for a backward of another thread to the same leaf", "[tape][threads]") {
  const NothingLeft check;
  for (const bool fails : {false, true}) {
    CAPTURE(fails);
    Tensor w = leaf({1, 2}, {2});
    Tensor early = w * 2.0, late = w * 3.0;
    // By now this call has added the gradient of what is older to the leaf.
    early.on_gradient([&](const Tensor&) -> Tensor {
      on_thread([&] { sum(w * 10.0).backward(); });
      CHECK_THROWS_WITH(w.clear_grad(), Contains("a backward is adding"));
      if (fails) throw std::runtime_error("of the hook");
      return {};
    });
    const Tensor loss = sum(early + late + late * w);
    if (fails) {
      CHECK_THROWS_WITH(loss.backward(), Contains("of the hook"));
      CHECK_THROWS_WITH(w.grad(), Contains("incomplete"));  // not undefined: the other thread has added to it
    } else {
      loss.backward();
      CHECK(elements_of(w.grad()) == Doubles{10 + 2 + 3 + 6, 10 + 2 + 3 + 12});
    }
  }
}

TEST_CASE("scopes that end on another thread end for the one that made them", "[tape][threads]") {
  const NothingLeft check;
  const Tensor w = leaf_values({2});
  auto no_grad = std::make_unique<NoGrad>();
  auto anomaly = std::make_unique<AnomalyMode>();
  on_thread([&] {
    const NoGrad own;
    no_grad.reset();
    anomaly.reset();
    CHECK_FALSE(grad_enabled());
  });
  CHECK(grad_enabled());
  CHECK((w * 2.0).requires_grad());
  CHECK_NOTHROW(log(w * -1.0));  // NaN, which the mode would find
  std::unique_ptr<NoGrad> orphan;
  on_thread([&] { orphan = std::make_unique<NoGrad>(); });
  orphan.reset();
  CHECK(grad_enabled());
  on_thread([] { CHECK(grad_enabled()); });
}

TEST_CASE("a leaf that was frozen after the forward gets no gradient", "[tape][segment]") {
  const NothingLeft check;
  for (const bool with_segment : {false, true}) {
    CAPTURE(with_segment);
    Tensor w = leaf({2, 3}, {2}), x = leaf({5, 7}, {2});
    Tensor y;
    {
      std::optional<Segment> segment;
      if (with_segment) segment.emplace("s", checkpoint::SegmentOptions{.spare_last = false});
      y = sum(exp(w) * x * x);
    }
    w.set_requires_grad(false);
    y.backward();
    CHECK_FALSE(w.grad().defined());
    CHECK(elements_of(x.grad()) == Doubles{10 * std::exp(2.0), 14 * std::exp(3.0)});
  }
}
