// The block that runs now: its threads, warps and pending copies. Internal to the emulator and the race
// checker.
#pragma once

#include <cstdint>
#include <vector>

#include "simt/emulator/barriers.h"
#include "simt/emulator/collectives.h"
#include "simt/emulator/config.h"
#include "simt/emulator/thread.h"
#include "simt/seam.h"

namespace simt {

inline constexpr std::uint32_t kMaxThreads = 1024;

struct Warp {
  std::uint32_t exited = 0;  // lanes that are done, or were never there
  std::vector<Rendezvous*> open;
  std::uint32_t clocks[32][32];  // [a][b]: the clock of lane b that lane a knows (race builds)
};

struct PendingCopy {
  void* shared;
  const void* global;
  std::uint32_t bytes;
  int group;
  bool valid;
};

struct Block {
  std::uint32_t size = 0, done = 0, at_barrier = 0, linear = 0;
  std::uint32_t first_at_barrier = 0;
  bool sites_differ = false;  // as far as addresses tell
  bool voting = false;        // a thread at the barrier brought a predicate
  BarrierVotes votes;         // of the barrier that opened last
  std::uint32_t warp_count = 0;
  Warp warps[kMaxThreads / 32];
  std::uint32_t known[kMaxThreads];  // every thread's clock at the last block barrier (race builds)
  std::vector<PendingCopy> copies[kMaxThreads];
  int copy_group[kMaxThreads];
  Thread threads[kMaxThreads];
};

extern Block block;
extern const Launch* launch_now;  // null outside kernels
extern bool kernel_failed;

/// Runs every thread of `block` to its end, or until a fault.
void run_threads();
/// Puts a thread that waited into the ready queue: at its front when it should run next.
void make_ready(Thread& thread, bool front);
/// Leaves the current thread, whose state says why, and runs others until it is made ready and chosen.
void suspend();
/// A fair coin for random orders; false in the others.
bool random_turn(std::uint32_t one_in);
std::uint32_t next_random();
void seed_random(std::uint64_t seed);
/// The current thread is at its end: lanes that waited for it may go on.
void leave_open_rendezvous(Thread& thread);
/// Forgets a warp's meetings, for a new block or after a fault.
void reset_rendezvous(bool after_fault);
/// Reports a thread that leaves with copies nobody waited for.
void check_pending_copies(const Thread& thread);

// Shared memory.
struct SharedArena {
  char* base = nullptr;
  std::size_t bytes = 0;
};
extern SharedArena shared_arena;
void shared_start_launch(std::size_t dynamic_bytes);
void shared_start_block();
void shared_end_block();  // checks the red zones
void shared_end_launch();
bool in_shared_memory(const void* address, std::size_t bytes);
/// What a fault at this address means, or an empty text when it is not shared memory.
std::string describe_shared_address(const void* address);

}  // namespace simt
