// An allocate/free pair from the pool's cache, beside malloc and free.
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <vector>

#include "reprise/memory.h"

namespace {

using reprise::Category;
using reprise::MemoryBlock;
using reprise::Pool;

Pool& shared_pool() {
  static Pool pool(reprise::host_source(), {.passthrough = false});
  return pool;
}

// The block is cut from a larger one and merged again: the most that a pair costs.
void pool_split_and_merge(benchmark::State& state) {
  Pool& pool = shared_pool();
  const auto bytes = static_cast<std::size_t>(state.range(0));
  for (auto _ : state) {
    MemoryBlock* const block = pool.allocate(bytes, Category::activations);
    benchmark::DoNotOptimize(block->data);
    pool.free(block);
  }
}

// The block has live neighbours, as in the middle of a step.
void pool_exact_fit(benchmark::State& state) {
  Pool& pool = shared_pool();
  const auto bytes = static_cast<std::size_t>(state.range(0));
  std::vector<MemoryBlock*> blocks;
  for (int i = 0; i < 3; ++i) blocks.push_back(pool.allocate(bytes, Category::activations));
  pool.free(blocks[1]);
  for (auto _ : state) {
    MemoryBlock* const block = pool.allocate(bytes, Category::activations);
    benchmark::DoNotOptimize(block->data);
    pool.free(block);
  }
  pool.free(blocks[0]);
  pool.free(blocks[2]);
}

void malloc_and_free(benchmark::State& state) {
  const auto bytes = static_cast<std::size_t>(state.range(0));
  for (auto _ : state) {
    void* const data = std::malloc(bytes);
    benchmark::DoNotOptimize(data);
    std::free(data);
  }
}

void sizes(benchmark::internal::Benchmark* benchmark) {
  benchmark->Arg(256)->Arg(64 << 10)->Arg(4 << 20)->ThreadRange(1, 2)->UseRealTime();
}

BENCHMARK(pool_split_and_merge)->Apply(sizes);
BENCHMARK(pool_exact_fit)->Apply(sizes);
BENCHMARK(malloc_and_free)->Apply(sizes);

}  // namespace
