// Vector clocks: which accesses of other threads come before the current one. Kept in race builds only.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "simt/emulator/block.h"

namespace simt {

/// A thread's clock stays below this in one block.
inline constexpr std::uint32_t kMaxClock = 1u << 19;

/// What a thread knew of its block when it passed a fence.
struct FenceSnapshot {
  std::uint32_t block = 0;
  std::vector<std::uint32_t> known;  // by thread: accesses with a smaller clock are ordered before the fence
};

void reset_clocks();
/// A block barrier: everything before it is ordered before everything after it.
void order_block();
/// __syncwarp of these lanes.
void order_warp(Warp& warp, std::uint32_t first_thread, std::uint32_t lanes);
/// True when an access by thread `other` of this block, at this clock, is ordered before what `thread` does
/// now.
bool comes_before(std::uint32_t other, std::uint32_t clock, const Thread& thread);
/// __threadfence by the current thread.
void remember_fence(Thread& thread);
/// What the thread's last fence covers; null when it passed none in this block.
std::shared_ptr<const FenceSnapshot> last_fence(const Thread& thread);

}  // namespace simt
