// The running thread of the emulated grid, as kernels see it.
#pragma once

#include <cuda_runtime.h>

#include <bit>
#include <cstdint>
#include <source_location>

#include "simt/seam.h"

#if defined(__SANITIZE_THREAD__)
#define SIMT_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SIMT_TSAN 1
#endif
#endif

// A primitive stands for an instruction of the device: the race checker is told what it does, and does not
// look inside.
#if defined(SIMT_TSAN)
#define SIMT_PRIMITIVE __attribute__((no_sanitize("thread"), noinline))
#else
#define SIMT_PRIMITIVE __attribute__((no_sanitize("thread")))
#endif

// The place in the kernel that called a primitive. The column tells two calls on one line apart.
#define SIMT_SITE const ::simt::Site simt_site = ::simt::Site::current()

namespace simt {

using Site = std::source_location;

/// Where the compiler keeps the description of a site: two sites at one address are the same.
inline const void* identity(const Site& site) {
  static_assert(sizeof(Site) == sizeof(const void*));
  return std::bit_cast<const void*>(site);
}
/// The same place in the source, whichever object file it came from.
bool same_site(const Site& a, const Site& b);

struct Fiber;

enum class ThreadState : std::uint8_t { fresh, ready, running, at_barrier, at_rendezvous, done };

/// One cache line, as barriers walk over all of them.
struct alignas(64) Thread {
  uint3 index{};
  std::uint32_t linear = 0;
  ThreadState state = ThreadState::fresh;
  bool predicate = false;   // of __syncthreads_count and its like
  std::uint32_t clock = 1;  // for the race checker
  Fiber* fiber = nullptr;
  Site site{};  // where it waits, or waited last
  const char* waits_in = "";
  std::uint32_t mask = 0;   // of the warp operation it waits in
  std::uint32_t spins = 0;  // atomics since it last made progress

  std::uint32_t lane() const { return linear % 32; }
  std::uint32_t warp() const { return linear / 32; }
};

struct Grid {
  uint3 block_index{};
  dim3 block_dim{1, 1, 1}, grid_dim{1, 1, 1};
};

/// The thread that runs now; null outside kernels. Static, as the race checker takes kernel reads of the heap
/// for faults.
extern Thread* current;
extern Grid grid;

enum class Access { read, write, atomic };

/// Lets other threads run now and then; every atomic passes here, so that spinning threads cannot hang the
/// emulator.
void preempt_point();

}  // namespace simt

// Tells the race checker, where one is linked, of an access by the current thread.
#define SIMT_OBSERVE(address, bytes, kind)                                                                  \
  (::simt::race_hooks.access                                                                                \
       ? ::simt::race_hooks.access((address), (bytes), static_cast<int>(kind), __builtin_return_address(0)) \
       : void())

#define threadIdx (::simt::current->index)
#define blockIdx (::simt::grid.block_index)
#define blockDim (::simt::grid.block_dim)
#define gridDim (::simt::grid.grid_dim)
static constexpr int warpSize = 32;
