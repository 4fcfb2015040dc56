// The rules: what an access by a kernel's thread must not do.
#include <array>
#include <set>
#include <tuple>

#include "simt/emulator/block.h"
#include "simt/emulator/clocks.h"
#include "simt/emulator/diagnostics.h"
#include "simt/emulator/fibers.h"
#include "simt/emulator/symbols.h"
#include "simt/race/modules.h"
#include "simt/race/ordering.h"
#include "simt/race/shadow.h"

namespace simt::race {

namespace {

constexpr int kMaxReports = 20;

auto& shared_region = *new Region(true);
auto& global_region = *new Region(false);
std::uint32_t launch_number = 0;
int reports = 0;
// The checker and its reports call functions that kernel files compile, too (std::string's): not a kernel's.
bool checking = false;
auto& reported = *new std::set<std::tuple<std::uint32_t, std::uint32_t, std::string>>;

struct Range {
  std::uintptr_t address;
  std::size_t bytes;
};
auto& shared_ranges = *new std::vector<Range>;  // that the running block has made

/// One access by a thread.
struct AccessNow {
  const Thread& thread;
  std::uintptr_t address;
  std::size_t bytes;
  Access kind;
  std::uint32_t pc;
  Stamp stamp;
  bool shared;
};

const char* kind_name(Access kind) {
  switch (kind) {
    case Access::read:
      return "read";
    case Access::write:
      return "write";
    case Access::atomic:
      return "atomic";
  }
  return "access";
}

std::string line_of(std::uint32_t pc) { return pc == 0 ? "an unknown place" : caller_line(expand_pc(pc)); }

/// False when this fault was reported before in this launch, or too many were.
bool count_report(const char* kind, std::uint32_t pc, std::uint32_t other_pc) {
  if (!reported.emplace(pc, other_pc, kind).second) return false;
  return ++reports <= kMaxReports;
}

std::string describe_access(const AccessNow& a) {
  return format("%s of %zu bytes %s %s memory at %p", kind_name(a.kind), a.bytes,
                a.kind == Access::read ? "from" : "to", a.shared ? "shared" : "global",
                reinterpret_cast<void*>(a.address));
}

void report_simple(const char* kind, const AccessNow& a, const std::string& what) {
  if (count_report(kind, a.pc, 0)) report_fault(kind, line_of(a.pc), describe_access(a) + ": " + what);
}

[[gnu::cold, gnu::noinline]] void report_race(const AccessNow& a, Stamp past, std::uint32_t past_pc,
                                              const char* past_kind) {
  if (!count_report("race", a.pc, past_pc)) return;
  const std::uint32_t other = past.thread();
  std::string who;
  const char* advice;
  if (past.block() != block.linear) {
    who = format("thread %u of block %u", other, past.block());
    advice = "blocks are ordered by atomics, with a __threadfence before the one that publishes";
  } else {
    const bool same_warp = other / 32 == a.thread.warp();
    who = format("thread %u of the same %s", other, same_warp ? "warp" : "block");
    advice = same_warp ? "no __syncwarp or __syncthreads lies between" : "no __syncthreads lies between";
  }
  report_fault(
      "race", line_of(a.pc),
      format("%s conflicts with the %s%s by %s at %s; %s", describe_access(a).c_str(),
             past.atomic() ? "atomic " : "", past_kind, who.c_str(), line_of(past_pc).c_str(), advice));
}

inline bool conflicts(const AccessNow& a, Stamp past) {
  return !past.nobody() && !past.same_thread(a.stamp) &&
         !ordered_before(past, a.thread, launch_number, a.shared);
}

inline void check_cell(Cell& cell, const AccessNow& a) {
  if (a.kind == Access::read) {
    if (cell.reads[0] == a.stamp) return;
    if (conflicts(a, cell.write)) report_race(a, cell.write, cell.write_pc, "write");
    const int slot =
        conflicts(a, cell.reads[0]) ? 1 : 0;  // a reader that is ordered before this one is not needed
    cell.reads[slot] = a.stamp;
    cell.read_pcs[slot] = a.pc;
    return;
  }
  const bool both_atomic = a.kind == Access::atomic && cell.write.atomic();
  if (!both_atomic && conflicts(a, cell.write)) report_race(a, cell.write, cell.write_pc, "write");
  for (int slot = 0; slot < 2; slot++) {
    if (conflicts(a, cell.reads[slot])) report_race(a, cell.reads[slot], cell.read_pcs[slot], "read");
    cell.reads[slot] = {};
  }
  cell.write = a.stamp;
  cell.write_pc = a.pc;
}

void check_words(Region& region, const AccessNow& a) {
  const std::size_t first = region.offset(a.address), last = first + a.bytes - 1;
  for (std::size_t word = first >> 2; word <= last >> 2; word++) {
    const unsigned low = word == first >> 2 ? first & 3u : 0u, high = word == last >> 2 ? last & 3u : 3u;
    const unsigned bytes = (2u << high) - (1u << low);
    std::uint8_t& state = region.state(word);
    if ((state >> 4 & bytes) != bytes) {
      report_simple("out-of-bounds", a,
                    a.shared ? "it belongs to no shared variable of the block"
                             : describe_device_address(reinterpret_cast<void*>(a.address)));
      return;
    }
    if (a.kind != Access::write && (state & bytes) != bytes) {
      report_simple("uninitialised-read", a, "nothing wrote these bytes");
    }
    if (a.kind != Access::read) state = static_cast<std::uint8_t>(state | bytes);
    region.visit_cells(word, bytes, [&a](Cell& cell) { check_cell(cell, a); });
  }
}

[[gnu::cold]] void check_host_access(std::uintptr_t address, std::uint32_t pc) {
  static auto& seen = *new std::set<std::uint32_t>;
  if (!seen.insert(pc).second) return;
  report_host_fault("host-code",
                    format("host code at %s dereferences a device pointer: %s", line_of(pc).c_str(),
                           describe_device_address(reinterpret_cast<void*>(address)).c_str()));
}

void check_access(const Thread& thread, std::uintptr_t address, std::size_t bytes, Access kind,
                  std::uint32_t pc) {
  Region* region = shared_region.contains(address)   ? &shared_region
                   : global_region.contains(address) ? &global_region
                                                     : nullptr;
  if (region == nullptr) {
    // The thread's own stack; constants, device variables and the emulator's state; page-locked memory.
    if (address - reinterpret_cast<std::uintptr_t>(running_fiber->base) < running_fiber->bytes) return;
    if (in_module(address) || kernels_may_reach(reinterpret_cast<void*>(address), bytes)) return;
  }
  const bool atomic = kind == Access::atomic;
  const AccessNow a{thread,
                    address,
                    bytes,
                    kind,
                    pc,
                    Stamp(launch_number, block.linear, thread.linear, thread.clock, atomic),
                    region == &shared_region};
  if (region == nullptr) {
    report_simple("host-memory", a,
                  "a kernel must not touch the host's heap or stack, or another thread's locals; page-locked "
                  "memory it may");
    return;
  }
  if ((address & (bytes - 1)) != 0 && bytes <= 16 && (bytes & (bytes - 1)) == 0) {
    report_simple("misaligned", a, format("the address is not a multiple of %zu", bytes));
  }
  if (atomic && !region->shared) global_atomic(thread, address);
  check_words(*region, a);
}

void access(const void* pointer, std::size_t bytes, int kind, void* program_counter) {
  const auto address = reinterpret_cast<std::uintptr_t>(pointer);
  const auto pc = static_cast<std::uint32_t>(reinterpret_cast<std::uintptr_t>(program_counter));
  const Thread* thread = current;
  if (thread == nullptr) {
    if (global_region.contains(address)) check_host_access(address, pc);
    return;
  }
  if (checking) return;
  checking = true;
  check_access(*thread, address, bytes, static_cast<Access>(kind), pc);
  checking = false;
}

Region* region_of(const void* pointer) {
  const auto address = reinterpret_cast<std::uintptr_t>(pointer);
  if (!shared_region.mapped() && shared_arena.base != nullptr)
    shared_region.map(shared_arena.base, shared_arena.bytes);
  if (!global_region.mapped() && device_heap.base != nullptr)
    global_region.map(device_heap.base, device_heap.bytes);
  if (shared_region.contains(address)) return &shared_region;
  return global_region.contains(address) ? &global_region : nullptr;
}

void set_written(const void* pointer, std::size_t bytes, bool written) {
  Region* region = region_of(pointer);
  if (region == nullptr || bytes == 0) return;
  const auto address = reinterpret_cast<std::uintptr_t>(pointer);
  region->set_written(address, bytes, written);
  if (region->shared) shared_ranges.push_back({address, bytes});
}

void forget(const void* pointer, std::size_t bytes) {
  Region* region = region_of(pointer);
  if (region != nullptr && bytes != 0) region->forget(reinterpret_cast<std::uintptr_t>(pointer), bytes);
}

void block_start() {
  for (const Range& range : shared_ranges) shared_region.forget(range.address, range.bytes);
  shared_ranges.clear();
  start_block_ordering();
}

void launch_start() {
  if (++launch_number == Stamp::kLaunches) {  // old stamps would be taken for new ones
    shared_region.clear_cells();
    global_region.clear_cells();
    launch_number = 1;
  }
  start_launch_ordering();
  checking = false;  // the last launch may have ended in a check, by a stack overflow
  reports = 0;
  reported.clear();
  const dim3 g = launch_now->grid;
  if (std::uint64_t{g.x} * g.y * g.z > Stamp::kBlocks && count_report("limit", 0, 0)) {
    report_fault("limit", "", "the race checker takes at most 16,777,216 blocks");
  }
}

int launch_end() { return reports; }

void fence() {
  if (current != nullptr) remember_fence(*current);
}

[[gnu::constructor]] void install() {
  race_hooks = {launch_start, launch_end, block_start, fence, set_written, forget, access};
}

}  // namespace

}  // namespace simt::race
