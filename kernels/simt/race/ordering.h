// Which accesses come before others: barriers within a block, fences and atomics between blocks.
#pragma once

#include "simt/race/shadow.h"

namespace simt::race {

/// Forgets the releases of the last launch.
void start_launch_ordering();
/// Forgets what the last block acquired.
void start_block_ordering();

/// An atomic on global memory by the current thread: it sees all earlier ones at the address, and publishes
/// what the thread's last fence covers. (PTX asks for a fence after the atomic too; CUDA's own examples leave
/// it out, and so does this.)
void global_atomic(const Thread& thread, std::uintptr_t address);

/// True when a past access is ordered before what the thread does now.
bool ordered_before(Stamp past, const Thread& thread, std::uint32_t launch, bool shared);

}  // namespace simt::race
