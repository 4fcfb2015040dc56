// What one operation costs beside its arithmetic: a chain of products of one-element tensors. The counter
// `node` is the time of one of them.
#include <benchmark/benchmark.h>

#include "reprise/ops.h"
#include "reprise/tape.h"

namespace {

using namespace reprise;

constexpr int kNodes = 1000;

Tensor chain(const Tensor& x, const Tensor& factor) {
  Tensor y = x;
  for (int i = 0; i < kNodes; ++i) y = mul(y, factor);
  return y;
}

void report(benchmark::State& state) {
  using benchmark::Counter;
  state.counters["node"] = Counter(kNodes, Counter::kIsIterationInvariantRate | Counter::kInvert);
}

void mul_without_gradient(benchmark::State& state) {
  const NoGrad no_grad;
  const Tensor x = ones({1});
  const Tensor factor = ones({1});
  for (auto _ : state) benchmark::DoNotOptimize(chain(x, factor));
  report(state);
}

// The factor is a parameter: each product saves what it multiplies.
void mul_recorded(benchmark::State& state) {
  const Tensor x = ones({1}).set_requires_grad(true);
  const Tensor factor = ones({1}).set_requires_grad(true);
  Tensor y;
  for (auto _ : state) {
    y = chain(x, factor);
    state.PauseTiming();
    y = Tensor();
    state.ResumeTiming();
  }
  report(state);
}

void mul_recorded_and_dropped(benchmark::State& state) {
  const Tensor x = ones({1}).set_requires_grad(true);
  const Tensor factor = ones({1}).set_requires_grad(true);
  for (auto _ : state) benchmark::DoNotOptimize(chain(x, factor));
  report(state);
}

void mul_forward_and_backward(benchmark::State& state) {
  Tensor x = ones({1}).set_requires_grad(true);
  Tensor factor = ones({1}).set_requires_grad(true);
  for (auto _ : state) {
    chain(x, factor).backward();
    x.clear_grad();
    factor.clear_grad();
  }
  report(state);
}

BENCHMARK(mul_without_gradient);
BENCHMARK(mul_recorded);
BENCHMARK(mul_recorded_and_dropped);
BENCHMARK(mul_forward_and_backward);

}  // namespace
