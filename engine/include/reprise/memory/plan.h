// A place in one slab for every request of a program whose steps repeat themselves.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace reprise {

struct MemoryEvent;

/// Where the requests of a program lie, in the order in which they come: some that come once (building the
/// model, the first steps), then those of a step, again and again.
struct MemoryPlan {
  struct Request {
    std::int64_t bytes = 0;  // of the block
    std::int64_t offset = 0;
  };
  std::vector<Request> requests{};
  std::size_t first_of_step = 0;  // from here on they repeat
  std::int64_t slab_bytes = 0;
  std::int64_t live_bytes = 0;  // the most that is live at once: no slab is smaller
};

/// Plans the slab from the events of a program, `step_starts` being the indices of the first event of each of
/// its steps; the last two must be alike, and the third from last must exist. Throws ValueError where not.
MemoryPlan plan_memory(std::span<const MemoryEvent> events, std::span<const std::size_t> step_starts);

}  // namespace reprise
