#include "simt/race/ordering.h"

#include <memory>
#include <unordered_map>
#include <vector>

#include "simt/emulator/clocks.h"

namespace simt::race {

namespace {

/// What fences published through the atomics at one address, oldest first.
struct Releases {
  std::vector<std::shared_ptr<const FenceSnapshot>> snapshots;
  std::unordered_multimap<std::uint32_t, std::size_t> by_block;
};

/// A thread of the block saw the first `count` releases at an address.
struct Acquire {
  const Releases* releases;
  std::size_t count;
  std::uint32_t thread, clock;
};

auto& releases_at = *new std::unordered_map<std::uintptr_t, Releases>;
auto& acquires = *new std::vector<Acquire>;

bool covers(const Acquire& acquire, Stamp past) {
  const auto [first, last] = acquire.releases->by_block.equal_range(past.block());
  for (auto it = first; it != last; ++it) {
    if (it->second >= acquire.count) continue;
    const FenceSnapshot& snapshot = *acquire.releases->snapshots[it->second];
    if (past.thread() < snapshot.known.size() && past.clock() < snapshot.known[past.thread()]) return true;
  }
  return false;
}

}  // namespace

void start_launch_ordering() {
  acquires.clear();
  releases_at.clear();
}

void start_block_ordering() { acquires.clear(); }

void global_atomic(const Thread& thread, std::uintptr_t address) {
  const auto found = releases_at.find(address);
  if (found != releases_at.end()) {
    acquires.push_back({&found->second, found->second.snapshots.size(), thread.linear, thread.clock});
  }
  if (auto snapshot = last_fence(thread)) {
    Releases& releases = releases_at[address];
    releases.by_block.emplace(snapshot->block, releases.snapshots.size());
    releases.snapshots.push_back(std::move(snapshot));
  }
}

bool ordered_before(Stamp past, const Thread& thread, std::uint32_t launch, bool shared) {
  if (past.nobody() || past.launch() != launch) return true;
  if (past.block() == block.linear) return comes_before(past.thread(), past.clock(), thread);
  if (shared) return true;
  for (const Acquire& acquire : acquires) {
    if (comes_before(acquire.thread, acquire.clock, thread) && covers(acquire, past)) return true;
  }
  return false;
}

}  // namespace simt::race
