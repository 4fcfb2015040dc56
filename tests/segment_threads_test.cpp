// Bits depend on the number of threads: a replay has as many as the forward had.
#include "kernel_tensor.h"
#include "reprise/kernels/threads.h"
#include "tape_support.h"

#if !defined(REPRISE_STD_THREADS)
#include <omp.h>
#endif

using namespace tape_test;
using checkpoint::Drop;
using checkpoint::Segment;
using checkpoint::SegmentOptions;
using kernels::set_num_threads;
using kernels::ThreadsScope;

namespace {

/// Threads when a segment begins, for a product in it, for what follows, when it ends, and in backward.
struct Numbers {
  int begin, product, rest, end, backward;
};

Numbers numbers(int bits) {
  const auto one_or_two = [bits](int i) { return 1 + (bits >> i & 1); };
  return {one_or_two(0), one_or_two(1), one_or_two(2), one_or_two(3), one_or_two(4)};
}

/// The gradient after a product whose long sums are cut for the threads.
std::vector<std::uint64_t> gradient(const Numbers& n, const std::vector<SegmentOptions>& segments) {
  manual_seed(2);
  Tensor x = randn({33, 20000}).set_requires_grad(true);
  const Tensor w = randn({20000, 1});
  Tensor y;
  {
    set_num_threads(n.begin);
    std::vector<std::unique_ptr<Segment>> open;
    for (const SegmentOptions& options : segments) open.push_back(std::make_unique<Segment>("s", options));
    set_num_threads(n.product);
    y = matmul(x, w);
    set_num_threads(n.rest);
    y = sin(tanh(y * 0.01));
    set_num_threads(n.end);
    while (!open.empty()) open.pop_back();
  }
  const Tensor loss = sum(square(std::move(y)));
  set_num_threads(n.backward);
  loss.backward();
  return bits_of(x.grad());
}

}  // namespace

TEST_CASE("a replay has the threads of the forward, node by node", "[segment][threads]") {
  const NothingLeft check;
  const ThreadsScope scope(2);
  if (kernels::num_threads() < 2) {
    WARN("skipped: there is one thread only");
    return;
  }
  const SegmentOptions whole{.spare_last = false}, cheap{.drop = Drop::cheap, .spare_last = false};
  CHECK(gradient({1, 1, 1, 1, 1}, {}) != gradient({1, 2, 1, 1, 1}, {}));  // or the rest would show nothing
  for (int bits = 0; bits < 32; ++bits) {
    const Numbers n = numbers(bits);
    CAPTURE(n.begin, n.product, n.rest, n.end, n.backward);
    const auto right = gradient(n, {});
    CHECK(gradient(n, {whole}) == right);
    CHECK(gradient(n, {whole, whole}) == right);
    CHECK(gradient(n, {cheap}) == right);
    CHECK(gradient(n, {SegmentOptions{}}) == right);
  }
}

#if !defined(REPRISE_STD_THREADS)

TEST_CASE("a product in a parallel region is replayed with the one thread that it had",
          "[segment][threads]") {
  const NothingLeft check;
  const ThreadsScope scope(2);
  const auto run = [](bool with_segment) {
    manual_seed(2);
    Tensor x = randn({33, 20000}).set_requires_grad(true);
    const Tensor w = randn({20000, 1});
    Tensor y;
    {
      std::unique_ptr<Segment> segment;
      if (with_segment) segment = std::make_unique<Segment>("s", SegmentOptions{.spare_last = false});
#pragma omp parallel num_threads(2)
#pragma omp master
      y = matmul(x, w);
      y = sin(tanh(y * 0.01));
    }
    sum(square(std::move(y))).backward();
    return bits_of(x.grad());
  };
  CHECK(run(true) == run(false));
}

TEST_CASE("a replay that cannot have the threads of the forward is an error", "[segment][threads]") {
  const NothingLeft check;
  const ThreadsScope scope(2);
  if (kernels::num_threads() < 2) return;
  Tensor w = leaf_values({6});
  Tensor loss;
  {
    const Segment segment("s", {.spare_last = false});
    loss = sum(sin(exp(w)));
  }
  std::string said;
#pragma omp parallel num_threads(2)
#pragma omp master
  try {
    loss.backward();
  } catch (const Error& e) {
    said = e.what();
  }
  CHECK_THAT(said, Contains("[exp] was recorded with 2 threads and would be replayed with 1"));
  CHECK_FALSE(w.grad().defined());
  loss.backward();
  CHECK(w.grad().defined());
}

#endif
