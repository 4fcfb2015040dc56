#include "simt/emulator/clocks.h"

#include <algorithm>
#include <cstring>
#include <map>

#include "simt/emulator/call_sites.h"
#include "simt/emulator/diagnostics.h"

namespace simt {

namespace {

std::map<std::uint32_t, std::shared_ptr<const FenceSnapshot>>& fences =
    *new std::map<std::uint32_t, std::shared_ptr<const FenceSnapshot>>;  // by thread

void check_clock(std::uint32_t clock) {
  if (clock >= kMaxClock)
    fail("limit", "", "the race checker takes at most 524,288 synchronisations of a thread in one block");
}

}  // namespace

void reset_clocks() {
  for (std::uint32_t i = 0; i < block.size; i++) block.threads[i].clock = 1;
  if (race_hooks.access == nullptr) return;
  std::fill_n(block.known, block.size, 0u);
  for (std::uint32_t w = 0; w < block.warp_count; w++) {
    std::memset(block.warps[w].clocks, 0, sizeof block.warps[w].clocks);
  }
  fences.clear();
}

void order_block() {
  for (std::uint32_t i = 0; i < block.size; i++) block.known[i] = ++block.threads[i].clock;
  check_clock(block.known[0]);
}

void order_warp(Warp& warp, std::uint32_t first_thread, std::uint32_t lanes) {
  std::uint32_t joined[32] = {};
  for (std::uint32_t lane = 0; lane < 32; lane++) {
    if (((lanes >> lane) & 1u) == 0) continue;
    warp.clocks[lane][lane] = ++block.threads[first_thread + lane].clock;
    check_clock(warp.clocks[lane][lane]);
    for (int k = 0; k < 32; k++) joined[k] = std::max(joined[k], warp.clocks[lane][k]);
  }
  for (std::uint32_t lane = 0; lane < 32; lane++) {
    if (((lanes >> lane) & 1u) != 0) std::memcpy(warp.clocks[lane], joined, sizeof joined);
  }
}

bool comes_before(std::uint32_t other, std::uint32_t clock, const Thread& thread) {
  if (other == thread.linear || clock < block.known[other]) return true;
  return other / 32 == thread.warp() && clock < block.warps[thread.warp()].clocks[thread.lane()][other % 32];
}

void remember_fence(Thread& thread) {
  auto snapshot = std::make_shared<FenceSnapshot>();
  snapshot->block = block.linear;
  snapshot->known.assign(block.known, block.known + block.size);
  const Warp& warp = block.warps[thread.warp()];
  const std::uint32_t first = thread.linear - thread.lane();
  for (std::uint32_t lane = 0; lane < 32 && first + lane < block.size; lane++) {
    std::uint32_t& known = snapshot->known[first + lane];
    known = std::max(known, warp.clocks[thread.lane()][lane]);
  }
  snapshot->known[thread.linear] = ++thread.clock;  // later writes of the thread are not covered
  check_clock(thread.clock);
  fences[thread.linear] = std::move(snapshot);
}

std::shared_ptr<const FenceSnapshot> last_fence(const Thread& thread) {
  const auto found = fences.find(thread.linear);
  return found == fences.end() ? nullptr : found->second;
}

void device_fence(Site site) {
  if (skipped(site, "__threadfence")) return;
  if (race_hooks.fence != nullptr) race_hooks.fence();
}

}  // namespace simt
