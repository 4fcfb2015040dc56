// Bits depend on the number of threads: a replay has as many as the forward had.
#include "kernel_tensor.h"
#include "reprise/kernels/matmul.h"
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

using Product = std::function<Tensor(const Tensor& x, const Tensor& w)>;
Tensor plain_product(const Tensor& x, const Tensor& w) { return matmul(x, w); }

/// The gradient after a product whose long sums are cut for the threads.
std::vector<std::uint64_t> gradient(const Numbers& n, const std::vector<SegmentOptions>& segments,
                                    const Product& product = plain_product) {
  manual_seed(2);
  Tensor x = randn({33, 20000}).set_requires_grad(true);
  const Tensor w = randn({20000, 1});
  Tensor y;
  {
    set_num_threads(n.begin);
    std::vector<std::unique_ptr<Segment>> open;
    for (const SegmentOptions& options : segments) open.push_back(std::make_unique<Segment>("s", options));
    set_num_threads(n.product);
    y = product(x, w);
    set_num_threads(n.rest);
    y = sin(tanh(y * 0.01));
    set_num_threads(n.end);
    while (!open.empty()) open.pop_back();
  }
  const Tensor loss = sum(square(std::move(y)));
  set_num_threads(n.backward);
  loss.backward();
  CHECK(kernels::num_threads() == n.backward);
  return bits_of(x.grad());
}

const SegmentOptions kWhole{.spare_last = false}, kCheap{.drop = Drop::cheap, .spare_last = false};

}  // namespace

TEST_CASE("a replay has the threads of the forward, node by node", "[segment][threads]") {
  const NothingLeft check;
  const ThreadsScope scope(2);
  if (kernels::num_threads() < 2) {
    WARN("skipped: there is one thread only");
    return;
  }
  CHECK(gradient({1, 1, 1, 1, 1}, {}) != gradient({1, 2, 1, 1, 1}, {}));  // or the rest would show nothing
  for (int bits = 0; bits < 32; ++bits) {
    const Numbers n = numbers(bits);
    CAPTURE(n.begin, n.product, n.rest, n.end, n.backward);
    const auto right = gradient(n, {});
    CHECK(gradient(n, {kWhole}) == right);
    CHECK(gradient(n, {kWhole, kWhole}) == right);
    CHECK(gradient(n, {kCheap}) == right);
    CHECK(gradient(n, {SegmentOptions{}}) == right);
  }
}

namespace {

/// x w on one thread, whatever is asked for: for bits that do not depend on the machine.
struct OnOneThread {
  static constexpr std::string_view name = "on_one_thread";
  Specs infer(SpecSpan in) const {
    Spec out = in[0];
    out.shape = {in[0].shape[0], in[1].shape[1]};
    return {out};
  }
  Saves saves(GradMask) const { return {.inputs = 2}; }
  void forward(const Exec& exec, Inputs in, Outputs out) const {
    const int before = kernels::num_threads();
    set_num_threads(1);
    kernels::matmul(exec.queue(), 1.0, in[0], in[1], {out[0], kernels::Write::overwrite},
                    exec.scratch(kernels::matmul_workspace_bytes(exec.queue().device, in[0], in[1], out[0])));
    set_num_threads(before);
  }
  void backward(const Exec&, const Saved& saved, OutGrads dy, GradSlots dx) const {
    const std::int64_t n = saved.input(1).numel();
    for (std::int64_t i = 0; i < dx[0].view.numel(); ++i)
      dx[0].view.as<float>()[i] = dy[0].as<float>()[i / n] * saved.input(1).as<float>()[i % n];
  }
  bool operator==(const OnOneThread&) const = default;
};

}  // namespace

TEST_CASE("an operation that asks for threads of its own has them in a replay, too", "[segment][threads]") {
  const NothingLeft check;
  const ThreadsScope scope(2);
  if (kernels::num_threads() < 2) return;
  const Product product = [](const Tensor& x, const Tensor& w) { return apply(OnOneThread{}, x, w); };
  for (const int backward : {2, 1}) {
    const Numbers n{2, 2, 2, 2, backward};
    CHECK(gradient(n, {kWhole}, product) == gradient(n, {}, product));
  }
}

#if !defined(REPRISE_STD_THREADS)

TEST_CASE("a product in a parallel region is replayed with the one thread that it had",
          "[segment][threads]") {
  const NothingLeft check;
  const ThreadsScope scope(2);
  if (kernels::num_threads() < 2) return;
  const Product product = [](const Tensor& x, const Tensor& w) {
    Tensor y;
#pragma omp parallel num_threads(2)
#pragma omp master
    y = matmul(x, w);
    return y;
  };
  const Numbers n{2, 2, 2, 2, 2};
  CHECK(gradient(n, {kWhole}, product) == gradient(n, {}, product));
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
