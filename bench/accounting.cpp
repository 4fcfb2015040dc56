// What it costs to write down where memory and time go: a training step alone, and traced.
#include <benchmark/benchmark.h>

#include <memory>

#include "reprise/reprise.h"

namespace {

using namespace reprise;

/// A step of a small GPT, where the engine's own work weighs most.
class SmallStep {
 public:
  SmallStep()
      : model_({.vocabulary = 256, .context = 64, .layers = 4, .heads = 4, .width = 128}),
        adam_(nn::decay_matrices(nn::parameters(model_), 0.1)) {
    const std::vector<std::int32_t> ids(4 * 64, 7);
    ids_ = from_host<std::int32_t>(ids, {4, 64});
  }
  void run() {
    adam_.zero_grad();
    model_.loss(ids_, ids_).backward();
    adam_.step(1e-4);
  }

 private:
  nn::Gpt model_;
  nn::AdamW adam_;
  Tensor ids_;
};

void step_alone(benchmark::State& state) {
  SmallStep step;
  for (auto _ : state) step.run();
}
BENCHMARK(step_alone)->Unit(benchmark::kMillisecond);

void step_with_memory_trace(benchmark::State& state) {
  SmallStep step;
  for (auto _ : state) {
    const MemoryTrace trace(current_pool());
    step.run();
  }
}
BENCHMARK(step_with_memory_trace)->Unit(benchmark::kMillisecond);

void step_with_both_traces(benchmark::State& state) {
  SmallStep step;
  for (auto _ : state) {
    const MemoryTrace trace(current_pool());
    const SpanTrace spans;
    step.run();
  }
}
BENCHMARK(step_with_both_traces)->Unit(benchmark::kMillisecond);

/// The same step on a dry device: the engine's work alone.
void step_dry(benchmark::State& state) {
  const OnDevice on(Device::dry(DeviceProfile{}));
  SmallStep step;
  for (auto _ : state) step.run();
}
BENCHMARK(step_dry)->Unit(benchmark::kMillisecond);

/// What it takes longer is what both traces cost.
void step_dry_with_both_traces(benchmark::State& state) {
  const OnDevice on(Device::dry(DeviceProfile{}));
  SmallStep step;
  for (auto _ : state) {
    const MemoryTrace trace(current_pool());
    const SpanTrace spans;
    step.run();
  }
}
BENCHMARK(step_dry_with_both_traces)->Unit(benchmark::kMillisecond);

/// Forward and backward of GPT-2 1.5B at batch 8 and sequence 1024 on a dry H200; counts nodes, both ways.
void step_dry_gpt2_xl(benchmark::State& state) {
  const OnDevice on(Device::dry(parse_profile("h200")));
  nn::Gpt model(nn::gpt_preset("gpt2-xl"));
  const Tensor ids = empty({8, 1024}, {.dtype = DType::int32});
  reset_tape_counters();
  for (auto _ : state) model.loss(ids, ids).backward();
  state.SetItemsProcessed(tape_counters().recorded_nodes + tape_counters().backward_nodes);
}
BENCHMARK(step_dry_gpt2_xl)->Unit(benchmark::kMillisecond);

}  // namespace
