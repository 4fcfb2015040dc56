// Speed of every operation, from the table that its tests use: float32, forward alone and with backward.
// Operations that compute much report FLOP/s, the others the bytes per second of their inputs and outputs
// (and of their gradients).
#include <benchmark/benchmark.h>

#include <fmt/format.h>

#include "op_cases.h"
#include "reprise/tape.h"

namespace {

using namespace reprise;
using op_test::Case;
using op_test::Cases;

constexpr double kBackwardFlops = 2;  // of each that forward takes, where all inputs want gradients

op_test::Tensors make_inputs(const Cases& operation, const Case& c, bool with_backward) {
  const op_test::Arrays values = input_values(operation, c, DType::float32);
  op_test::Tensors inputs;
  for (std::size_t i = 0; i < c.inputs.size(); ++i) {
    inputs.push_back(make_tensor(c.inputs[i], values[i], DType::float32));
    if (with_backward && c.inputs[i].takes_gradient()) inputs.back().set_requires_grad(true);
  }
  return inputs;
}

double bytes_of(const op_test::Tensors& tensors) {
  double bytes = 0;
  for (const Tensor& tensor : tensors) bytes += static_cast<double>(tensor.spec().bytes());
  return bytes;
}

void report(benchmark::State& state, const Case& c, double bytes, double passes_of_flops,
            double passes_of_bytes) {
  using benchmark::Counter;
  if (c.flops > 0) {
    state.counters["FLOP/s"] = Counter(c.flops * passes_of_flops, Counter::kIsIterationInvariantRate);
  } else {
    state.counters["B/s"] =
        Counter(bytes * passes_of_bytes, Counter::kIsIterationInvariantRate, Counter::kIs1024);
  }
}

void forward(benchmark::State& state, const Cases& operation, const Case& c) {
  const NoGrad no_grad;
  const op_test::Tensors inputs = make_inputs(operation, c, false);
  double bytes = 0;
  for (auto _ : state) {
    const op_test::Tensors outputs = c.call(inputs);
    benchmark::DoNotOptimize(outputs.data());
    bytes = bytes_of(inputs) + bytes_of(outputs);
  }
  report(state, c, bytes, 1, 1);
}

void forward_and_backward(benchmark::State& state, const Cases& operation, const Case& c) {
  const op_test::Tensors inputs = make_inputs(operation, c, true);
  const op_test::Tensors sample = c.call(inputs);
  Tensor gradient = ones(sample[0].shape(), {.dtype = sample[0].dtype()});
  if (sample[0].spec().channels_last) gradient = to_channels_last(gradient);
  const double bytes = bytes_of(inputs) + bytes_of(sample);
  for (auto _ : state) {
    c.call(inputs)[0].backward(gradient);
    for (Tensor input : inputs) input.clear_grad();
  }
  report(state, c, bytes, 1 + kBackwardFlops, 2);
}

void register_all() {
  for (const Cases& operation : op_test::all_cases()) {
    for (const Case& c : operation.speed) {
      const std::string name = fmt::format("{}/{}", operation.table->name, c.label);
      const auto add = [&](const char* pass, auto run) {
        benchmark::RegisterBenchmark(fmt::format("{}/{}", name, pass).c_str(), run, operation, c)
            ->UseRealTime();
      };
      add("forward", forward);
      if (operation.table->backward != nullptr) add("forward_and_backward", forward_and_backward);
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  register_all();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
