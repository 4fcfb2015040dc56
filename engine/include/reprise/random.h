// Where random operations get their keys.
#pragma once

#include <cstdint>

#include "reprise/kernels/view.h"

namespace reprise {

/// Source of Philox keys: every random operation takes the next one when it is recorded; a replay uses the
/// node's own.
struct Generator {
  std::uint64_t seed = 0;
  std::uint64_t next = 0;

  kernels::RandomKey take() { return {seed, next++}; }
  bool operator==(const Generator&) const = default;
};

/// This thread's generator.
Generator& generator();

/// Restarts this thread's generator from `seed`.
void manual_seed(std::uint64_t seed);

}  // namespace reprise
