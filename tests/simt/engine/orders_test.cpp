// Training does not depend on when queued work runs, on the order of blocks and threads, or on the host
// reading the device's memory; and the host waits no more often than the engine says.
#include "stand_in.h"

namespace reprise::test {
namespace {

using simt::runtime::Schedule;

constexpr TrainingOptions kRuns[] = {
    {.segments = "none"}, {.segments = "nested"}, {.segments = "blocks", .steps = 4, .graph = true}};

/// Checks every run of every model against `plain` runs made before `set` was called for it.
template <class Set>
void check_runs(Set&& set) {
  for (const Model& model : kModels) {
    for (const TrainingOptions& options : kRuns) {
      INFO(model.name << ", segments " << options.segments);
      StandIn stand_in;
      const Attempt plain = attempt(model, options);
      CHECK(plain.error == "");
      StandIn::start_again();
      set(stand_in);
      CHECK(attempt(model, options) == plain);
      CHECK(left_on_device() == "");
    }
  }
}

}  // namespace

TEST_CASE("the order in which queued work runs does not matter", "[simt][engine]") {
  SECTION("at once") {
    check_runs([](StandIn& stand_in) { stand_in->schedule = Schedule::kEager; });
  }
  SECTION("as late as possible") {
    check_runs([](StandIn& stand_in) { stand_in->schedule = Schedule::kLazy; });
  }
  SECTION("shuffled") {
    const auto seed = GENERATE(range(1, 4));
    CAPTURE(seed);
    check_runs([&](StandIn& stand_in) {
      stand_in->schedule = Schedule::kShuffled;
      stand_in->seed = static_cast<std::uint64_t>(seed);
    });
  }
}

TEST_CASE("the host does not touch the device's memory", "[simt][engine]") {
  const auto schedule = GENERATE(Schedule::kEager, Schedule::kLazy, Schedule::kShuffled);
  check_runs([&](StandIn& stand_in) {
    stand_in->schedule = schedule;
    stand_in->host_guard = true;
  });
}

TEST_CASE("the order of blocks and threads does not matter", "[simt][engine]") {
  check_runs([](StandIn&) { simt::config.order = simt::Order::forward; });
  check_runs([](StandIn&) { simt::config.order = simt::Order::reverse; });
  for (const std::uint64_t seed : {1u, 2u, 3u}) {
    check_runs([&](StandIn&) {
      simt::config.order = simt::Order::random;
      simt::config.seed = seed;
    });
  }
}

TEST_CASE("the host waits for the device once a step, and for nothing else", "[simt][engine]") {
  if (passthrough_by_default()) return;  // whatever is freed waits
  const StandIn stand_in;
  for (const Model& model : kModels) {
    for (const bool graph : {false, true}) {
      INFO(model.name << (graph ? ", as a graph" : ""));
      struct Waits {
        std::int64_t runtime = simt::runtime::synchronisations(), engine = synchronisations();
      };
      const auto waits = [&](int steps) {
        const Waits before;
        CHECK(attempt(model, {.segments = "blocks", .steps = steps, .graph = graph}).error == "");
        const Waits after;
        return Waits{after.runtime - before.runtime, after.engine - before.engine};
      };
      waits(3);
      const Waits few = waits(3), many = waits(8);
      CHECK(many.engine - few.engine == 5);
      CHECK(many.runtime - few.runtime == 5);
    }
  }
}

}  // namespace reprise::test
