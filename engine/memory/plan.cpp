#include "reprise/memory/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>

#include "memory/free_bins.h"
#include "reprise/error.h"
#include "reprise/memory/placement.h"
#include "reprise/memory/trace.h"

namespace reprise {
namespace {

using Action = MemoryEvent::Action;
constexpr std::size_t kNever = SIZE_MAX;

struct Request {
  std::size_t begin;         // index of the event
  std::size_t end = kNever;  // when it was given back
  std::int64_t bytes;
};

bool is_alike(const MemoryEvent& a, const MemoryEvent& b) {
  return a.action == b.action && a.allocated == b.allocated;
}

/// The events that matter: segments of a pool come and go with its own decisions.
struct Requests {
  std::vector<Request> all;
  std::vector<std::size_t> first_of_event;  // how many requests came before each event
};

Requests requests_of(std::span<const MemoryEvent> events) {
  Requests result;
  std::unordered_map<const void*, std::size_t> live;
  for (std::size_t i = 0; i < events.size(); ++i) {
    result.first_of_event.push_back(result.all.size());
    if (events[i].action == Action::allocate) {
      live[events[i].address] = result.all.size();
      result.all.push_back({.begin = i, .bytes = events[i].allocated});
    } else if (events[i].action == Action::free) {
      if (const auto found = live.find(events[i].address); found != live.end()) {
        result.all[found->second].end = i;
        live.erase(found);
      }
    }
  }
  return result;
}

/// Steps as a plan needs them: all of the last and of the one before, and where they begin.
struct Cycle {
  std::size_t begin;   // index of the event at which fewest bytes are live, in the step before the last
  std::size_t events;  // of a step

  std::size_t end() const { return begin + events; }
};

Cycle find_cycle(std::span<const MemoryEvent> events, std::span<const std::size_t> step_starts) {
  if (step_starts.size() < 3)
    throw ValueError(fmt::format("[plan] {} steps; at least 3 are needed", step_starts.size()));
  const std::size_t last = step_starts.back();
  const std::size_t before = step_starts[step_starts.size() - 2];
  const std::size_t length = last - before;
  const bool repeats = events.size() - last == length &&
                       std::equal(events.begin() + static_cast<std::ptrdiff_t>(before),
                                  events.begin() + static_cast<std::ptrdiff_t>(last),
                                  events.begin() + static_cast<std::ptrdiff_t>(last), events.end(), is_alike);
  if (!repeats) throw ValueError("[plan] the last two steps do not take memory alike: nothing repeats");
  const auto least = std::min_element(
      events.begin() + static_cast<std::ptrdiff_t>(before),
      events.begin() + static_cast<std::ptrdiff_t>(last),
      [](const MemoryEvent& a, const MemoryEvent& b) { return a.live_allocated < b.live_allocated; });
  return {.begin = static_cast<std::size_t>(least - events.begin()) + 1, .events = length};
}

}  // namespace

/// A request of a step that lives on into the next one has one place for all its lives: it is placed as if it
/// lived throughout, together with the one that came before the cycle in its stead.
MemoryPlan plan_memory(std::span<const MemoryEvent> events, std::span<const std::size_t> step_starts) {
  const Cycle cycle = find_cycle(events, step_starts);
  const Requests requests = requests_of(events);
  const std::size_t first = requests.first_of_event[cycle.begin];
  const std::size_t last =
      cycle.end() < events.size() ? requests.first_of_event[cycle.end()] : requests.all.size();
  const std::size_t in_step = last - first;

  std::vector<PlacementItem> items;
  std::vector<std::size_t> item_of(last);
  const auto lives_on = [&](std::size_t i) { return requests.all[i].end >= cycle.end(); };
  const auto time = [&](std::size_t event) {
    return static_cast<std::int64_t>(std::min(event, cycle.end()));
  };
  for (std::size_t i = 0; i < last; ++i) {
    const Request& request = requests.all[i];
    const bool repeats = i >= first;
    if (repeats && lives_on(i)) {
      const std::size_t earlier = i - in_step;
      item_of[i] = item_of[earlier];
      items[item_of[i]].upper = time(cycle.end());
      continue;
    }
    item_of[i] = items.size();
    items.push_back({.lower = time(request.begin), .upper = time(request.end), .bytes = request.bytes});
  }
  constexpr std::int64_t kEffort = 20'000'000;  // a fraction of a second
  const Placement placement =
      place(items, {.alignment = static_cast<std::int64_t>(detail::kGranularity), .effort = kEffort});

  MemoryPlan plan{
      .first_of_step = first, .slab_bytes = placement.slab_bytes, .live_bytes = placement.lower_bound_bytes};
  for (std::size_t i = 0; i < last; ++i)
    plan.requests.push_back({.bytes = requests.all[i].bytes, .offset = placement.offsets[item_of[i]]});
  return plan;
}

}  // namespace reprise
