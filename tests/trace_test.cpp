// What is written down of memory and time: events, origins, peaks, spans.
#include <catch2/catch.hpp>

#include <algorithm>
#include <memory>
#include <numeric>
#include <set>
#include <tuple>

#include "reprise/context.h"
#include "reprise/device_profile.h"
#include "step_memory.h"

using namespace reprise;
using namespace reprise::test;
using Catch::Matchers::Contains;
using Action = MemoryEvent::Action;

namespace {

Pool caching_pool() { return Pool(host_source(), {.passthrough = false}); }

std::vector<Action> actions_of(const MemoryTrace& trace) {
  std::vector<Action> actions;
  for (const MemoryEvent& event : trace.events()) actions.push_back(event.action);
  return actions;
}

}  // namespace

TEST_CASE("a trace tells every change of a pool and what was live after it", "[trace]") {
  const std::unique_ptr<Pool> pool = std::make_unique<Pool>(host_source(), PoolOptions{.passthrough = false});
  MemoryBlock* const before =
      pool->allocate(100, Category::parameters, nullptr, {.operation = "early", .shape = {25}});
  const MemoryTrace trace(*pool);
  REQUIRE(trace.before().size() == 1);
  CHECK(trace.before()[0].blocks[0].origin.operation == "early");
  MemoryBlock* const block =
      pool->allocate(1000, Category::activations, pool->tag("block 0"), {.operation = "gelu"});
  pool->recategorise(block, Category::gradients);
  MemoryBlock* const large = pool->allocate(std::size_t{30} << 20, Category::workspace);
  pool->free(block);
  pool->free(large);
  pool->release_cached();
  pool->free(before);
  CHECK(actions_of(trace) == std::vector<Action>{Action::allocate, Action::recategorise,
                                                 Action::segment_allocate, Action::allocate, Action::free,
                                                 Action::free, Action::segment_free, Action::free});
  const std::vector<MemoryEvent>& events = trace.events();
  CHECK(events[0].origin.operation == "gelu");
  CHECK(events[0].tag == "block 0");
  CHECK(events[0].requested == 1000);
  CHECK(events[0].allocated == 1024);
  CHECK(events[0].live_allocated == 256 + 1024);
  CHECK(events[0].live_requested == 1100);
  CHECK(events[0].live_activations == 1024);
  CHECK(events[1].category == Category::gradients);
  CHECK(events[1].live_activations == 0);
  CHECK(events[2].reserved == (std::int64_t{32} << 20));
  CHECK(events[6].reserved == (std::int64_t{2} << 20));
  CHECK(events.back().live_allocated == 0);
  CHECK(std::is_sorted(events.begin(), events.end(),
                       [](const MemoryEvent& a, const MemoryEvent& b) { return a.time_ns < b.time_ns; }));
}

TEST_CASE("a pool is traced once at a time, and a trace that is full says so", "[trace]") {
  Pool pool = caching_pool();
  {
    const MemoryTrace trace(pool, 2);
    CHECK_THROWS_WITH(MemoryTrace(pool), Contains("[memory]") && Contains("traced already"));
    for (int i = 0; i < 3; ++i) pool.free(pool.allocate(10, Category::other));
    CHECK(trace.events().size() == 2);
    CHECK(trace.truncated());
  }
  const MemoryTrace again(pool);
  CHECK_FALSE(again.truncated());
}

TEST_CASE("the peak of a trace is the pool's, whole and in parts", "[trace]") {
  for (const std::string segments : {"none", "blocks", "nested"}) {
    const Measured measured = measure(Device::cpu(), 2, [&] { return step_of({.segments = segments}); });
    const MemoryPeak& peak = measured.peak;
    CHECK(peak.allocated == measured.memory.all.allocated.peak);
    std::int64_t by_category = 0, live = 0;
    for (const std::int64_t bytes : peak.by_category) by_category += bytes;
    for (const BlockInfo& block : peak.live) live += static_cast<std::int64_t>(block.allocated);
    CHECK(by_category == peak.allocated);
    CHECK(live == peak.allocated);
    CHECK(std::is_sorted(peak.live.begin(), peak.live.end(),
                         [](const BlockInfo& a, const BlockInfo& b) { return a.allocated > b.allocated; }));
    CHECK(peak.origin.operation != "");
  }
  CHECK(peak_of(std::vector<SegmentInfo>{}, std::vector<MemoryEvent>{}).allocated == 0);
}

TEST_CASE("modules give what they make a path and a line", "[trace]") {
  const int line = __LINE__ + 4;
  const auto at = [] { return context().place; };
  CHECK(at() == nullptr);
  {
    const ModuleScope outer("model");
    const ModuleScope inner("mlp");
    REQUIRE(at() != nullptr);
    CHECK(at()->path == "model.mlp");
    CHECK(at()->line == line + 1);
    CHECK(at()->parent->path == "model");
    CHECK(location_of(at()) == "tests/trace_test.cpp:" + std::to_string(line + 1));
    const Tensor x = ones({2, 3});
    const Tensor y = gelu(x);
    CHECK_THAT(describe(y.value()->storage->block->origin),
               Catch::StartsWith("gelu (2, 3) float32, forward in model.mlp (tests/trace_test.cpp:"));
    CHECK_THAT(describe(x.value()->storage->block->origin),
               Catch::StartsWith("empty (2, 3) float32 in model.mlp"));
  }
  CHECK(at() == nullptr);
  Tensor weight = ones({4});
  weight.set_name("fc.weight");
  CHECK(describe(weight.value()->storage->block->origin) == "fc.weight (4) float32");
  CHECK(describe(Origin{}) == "unknown");
  CHECK(location_of(nullptr) == "");
}

TEST_CASE("spans tell what ran when, in which phase, module and segment", "[trace]") {
  manual_seed(1);
  const checkpoint::Step step = step_of({.segments = "blocks"});
  checkpoint::PhaseMeter meter;
  step(meter);
  const SpanTrace trace;
  CHECK_THROWS_WITH(SpanTrace(), Contains("[span]") && Contains("traced already"));
  reset_tape_counters();
  step(meter);
  std::int64_t forward = 0, replayed = 0;
  std::set<std::string> replayed_segments, optimisers;
  for (const Span& span : trace.spans()) {
    CHECK(span.start_ns <= span.end_ns);
    forward += span.phase == Phase::forward ? 1 : 0;
    replayed += span.phase == Phase::replay ? 1 : 0;
    if (span.phase == Phase::replay) replayed_segments.emplace(span.segment);
    if (span.phase == Phase::optimiser) optimisers.emplace(span.operation);
    if (span.phase == Phase::backward && span.operation == "gelu")
      CHECK_THAT(span.place->path, Contains(".mlp"));
  }
  CHECK(forward > 0);
  CHECK(replayed > 0);
  CHECK(replayed <= tape_counters().replayed_nodes);  // views take no time
  CHECK(replayed_segments == std::set<std::string>{"block 0", "block 1"});
  CHECK(optimisers.contains("AdamW"));
}

TEST_CASE("what a thread is doing is forgotten when it throws", "[trace]") {
  try {
    const ModuleScope scope("model");
    matmul(ones({2, 3}), ones({4, 5}));
  } catch (const ShapeError&) {
    CHECK(context().place == nullptr);
  }
  CHECK(context().operation == "");
  CHECK(context().phase == Phase::other);
}

TEST_CASE("scopes that change what a thread does close in any order", "[trace]") {
  const auto state = [] {
    const Context& thread = context();
    return std::tuple(thread.operation, thread.phase, thread.place, thread.device.is_dry);
  };
  const auto before = state();
  const Device dry = Device::dry(parse_profile("h200"));
  constexpr int kScopes = 5;
  const auto open = [&](int i) -> std::shared_ptr<void> {
    if (i == 0) return std::make_shared<ModuleScope>("outer");
    if (i == 1) return std::make_shared<SpanScope>("work", Phase::optimiser, Device::cpu());
    if (i == 2) return std::make_shared<PhaseScope>(Phase::backward, Device::cpu());
    if (i == 3) return std::make_shared<ModuleScope>("inner");
    return std::make_shared<OnDevice>(dry);
  };
  std::vector<int> opened(kScopes), closed(kScopes);
  std::iota(opened.begin(), opened.end(), 0);
  std::size_t orders = 0;
  do {
    std::iota(closed.begin(), closed.end(), 0);
    do {
      std::vector<std::shared_ptr<void>> scopes(kScopes);
      for (const int i : opened) scopes[static_cast<std::size_t>(i)] = open(i);
      for (int k = 0; k < kScopes; ++k) {
        scopes[static_cast<std::size_t>(closed[static_cast<std::size_t>(k)])].reset();
        // What the open scopes say, the newest of each part deciding.
        auto expected = before;
        for (const int i : opened) {
          if (scopes[static_cast<std::size_t>(i)] == nullptr) continue;
          if (i == 1) std::get<0>(expected) = "work";
          if (i == 1) std::get<1>(expected) = Phase::optimiser;
          if (i == 2) std::get<1>(expected) = Phase::backward;
          if (i == 4) std::get<3>(expected) = true;
        }
        REQUIRE(std::get<0>(state()) == std::get<0>(expected));
        REQUIRE(std::get<1>(state()) == std::get<1>(expected));
        REQUIRE(std::get<3>(state()) == std::get<3>(expected));
      }
      REQUIRE(state() == before);
      ++orders;
    } while (std::next_permutation(closed.begin(), closed.end()));
  } while (std::next_permutation(opened.begin(), opened.end()));
  CHECK(orders == 120 * 120);
}

TEST_CASE("a module that closes before one inside it leaves the inner one's place", "[trace]") {
  auto outer = std::make_unique<ModuleScope>("outer");
  auto inner = std::make_unique<ModuleScope>("inner");
  outer.reset();
  CHECK(context().place->path == "outer.inner");
  inner.reset();
  CHECK(context().place == nullptr);
}

TEST_CASE("a span is written to the trace that it began in, and to no later one", "[trace]") {
  auto first = std::make_unique<SpanTrace>();
  auto work = std::make_unique<SpanScope>("long work", Phase::other, Device::cpu());
  first.reset();
  const SpanTrace second;
  const SpanScope other("other", Phase::other, Device::cpu());
  work.reset();
  REQUIRE(second.spans().size() == 1);
  CHECK(second.spans()[0].operation == "other");
  CHECK(second.spans()[0].end_ns == 0);
}
