// Placements by search.
#pragma once

#include <cstdint>

#include "memory/placement_effort.h"
#include "memory/placement_puzzle.h"

namespace reprise::packing {

/// Makes a placement lower until it is no higher than `goal`, as low as possible, or the effort is spent.
void improve(const Puzzle& puzzle, Offsets& offsets, std::int64_t goal, Effort& effort);

}  // namespace reprise::packing
