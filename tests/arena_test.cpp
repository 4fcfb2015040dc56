// One slab for every request of a program: planned on a dry device, followed by a real one.
#include <catch2/catch.hpp>

#include "step_memory.h"

using namespace reprise;
using namespace reprise::test;

namespace {

constexpr std::int64_t kSteps = 6;

std::shared_ptr<const MemoryPlan> plan_of(const StepCase& c) {
  const checkpoint::Prediction run = checkpoint::predict({}, [&] { return step_of(c); }, {.least_steps = 3});
  return std::make_shared<MemoryPlan>(plan_memory(run.events, run.step_starts));
}

std::shared_ptr<Pool> planned_pool(std::shared_ptr<const MemoryPlan> plan) {
  PoolOptions options;
  options.plan = std::move(plan);
  return std::make_shared<Pool>(source_of(Device::cpu()), std::move(options));
}

/// Runs the steps in `pool`, and what they leave of the generator and the losses' memory.
MemoryStatistics run(const StepCase& c, const std::shared_ptr<Pool>& pool) {
  const std::shared_ptr<Pool> before = default_pool();
  set_default_pool(pool);
  MemoryStatistics result;
  {
    const checkpoint::Step step = step_of(c);
    checkpoint::PhaseMeter meter;
    for (std::int64_t i = 0; i < kSteps; ++i) step(meter);
    result = pool->statistics();
  }
  set_default_pool(before);
  return result;
}

std::vector<StepCase> all_cases() {
  std::vector<StepCase> cases;
  for (const std::string segments : {"none", "blocks", "every:2", "sqrt", "nested", "cheap"}) {
    cases.push_back({.segments = segments, .batch = 3, .dropout = 0.1});
    cases.push_back({.model = "resnet", .segments = segments, .batch = 4});
  }
  return cases;
}

}  // namespace

TEST_CASE("a planned step reserves what was planned and allocates nothing more", "[arena]") {
  if (passthrough_by_default()) {
    WARN("skipped: a passthrough pool follows no plan");
    return;
  }
  for (const StepCase& c : all_cases()) {
    CAPTURE(c.name());
    const std::shared_ptr<const MemoryPlan> plan = plan_of(c);
    CHECK(static_cast<double>(plan->slab_bytes) <= 1.01 * static_cast<double>(plan->live_bytes));
    const std::shared_ptr<Pool> pool = planned_pool(plan);
    const MemoryStatistics measured = run(c, pool);
    CHECK(pool->plan_misses() == 0);
    CHECK(measured.reserved.peak == plan->slab_bytes);
    CHECK(measured.source_allocations == 1);
    CHECK(measured.all.allocated.peak == plan->live_bytes);
    CHECK(pool->statistics().all.allocated.current == 0);
  }
}

TEST_CASE("a planned pool lists its slab as blocks and what lies between them", "[arena]") {
  if (passthrough_by_default()) return;
  MemoryPlan plan{.requests = {{.bytes = 256, .offset = 512}, {.bytes = 512, .offset = 0}},
                  .first_of_step = 0,
                  .slab_bytes = 1024,
                  .live_bytes = 768};
  const std::shared_ptr<Pool> pool = planned_pool(std::make_shared<MemoryPlan>(plan));
  MemoryBlock* const first = pool->allocate(200, Category::activations);
  const std::vector<SegmentInfo> segments = pool->segments();
  REQUIRE(segments.size() == 1);
  CHECK(segments[0].bytes == 1024);
  std::vector<std::pair<std::size_t, bool>> tiles;
  for (const BlockInfo& block : segments[0].blocks) tiles.emplace_back(block.allocated, block.live);
  CHECK(tiles == std::vector<std::pair<std::size_t, bool>>{{512, false}, {256, true}, {256, false}});
  pool->free(first);
}

TEST_CASE("a request that does not come as planned is served all the same", "[arena]") {
  if (passthrough_by_default()) return;
  const auto plan = std::make_shared<MemoryPlan>(
      MemoryPlan{.requests = {{.bytes = 256, .offset = 0}, {.bytes = 512, .offset = 0}},
                 .first_of_step = 0,
                 .slab_bytes = 512,
                 .live_bytes = 512});
  SECTION("its place is still taken: only this one misses") {
    const std::shared_ptr<Pool> pool = planned_pool(plan);
    MemoryBlock* const held = pool->allocate(256, Category::other);
    MemoryBlock* const second = pool->allocate(512, Category::other);
    CHECK(second->data != held->data);
    CHECK(pool->plan_misses() == 1);
    pool->free(held);
    MemoryBlock* const again = pool->allocate(256, Category::other);
    CHECK(pool->plan_misses() == 1);
    pool->free(second);
    pool->free(again);
  }
  SECTION("another size: nothing is followed from then on") {
    const std::shared_ptr<Pool> pool = planned_pool(plan);
    MemoryBlock* const other = pool->allocate(1024, Category::other);
    MemoryBlock* const next = pool->allocate(512, Category::other);
    CHECK(pool->plan_misses() == 2);
    pool->free(other);
    pool->free(next);
  }
  SECTION("what lies outside the plan does not disturb it") {
    const std::shared_ptr<Pool> pool = planned_pool(plan);
    MemoryBlock* evaluation = nullptr;
    {
      const Unplanned unplanned(*pool);
      evaluation = pool->allocate(4096, Category::other);
    }
    MemoryBlock* const first = pool->allocate(256, Category::other);
    CHECK(pool->plan_misses() == 0);
    pool->free(evaluation);
    pool->free(first);
  }
  SECTION("blocks outlive their pool") {
    MemoryBlock* block = nullptr;
    {
      const std::shared_ptr<Pool> pool = planned_pool(plan);
      block = pool->allocate(256, Category::other);
    }
    block->pool->free(block);
  }
}

TEST_CASE("what does not repeat cannot be planned", "[arena]") {
  const auto event = [](std::int64_t bytes) {
    MemoryEvent e;
    e.allocated = bytes;
    return e;
  };
  const std::vector<MemoryEvent> events{event(256), event(256), event(512)};
  const std::vector<std::size_t> starts{0, 1, 2};
  CHECK_THROWS_WITH(plan_memory(events, starts), Catch::Contains("[plan]") && Catch::Contains("repeats"));
  CHECK_THROWS_WITH(plan_memory(events, std::span(starts).first(2)),
                    Catch::Contains("[plan]") && Catch::Contains("at least 3"));
}

TEST_CASE("no room for the slab is out of memory", "[arena]") {
  if (passthrough_by_default()) return;
  PoolOptions options;
  options.plan = std::make_shared<MemoryPlan>(MemoryPlan{.requests = {{.bytes = 4096, .offset = 0}},
                                                         .first_of_step = 0,
                                                         .slab_bytes = 4096,
                                                         .live_bytes = 4096});
  CHECK_THROWS_WITH(Pool(limited_source(host_source(), 1024), options),
                    Catch::Contains("[memory] 4.00 KiB asked for") && Catch::Contains("arena"));
}
