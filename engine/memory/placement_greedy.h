// Placements without a search: strips in several orders, each where there is room.
#pragma once

#include "memory/placement_puzzle.h"

namespace reprise::packing {

/// The best of several orders, the first that is no higher than `goal` if there is one.
Offsets place_greedily(const Puzzle& puzzle, std::int64_t goal);

}  // namespace reprise::packing
