// How the emulator runs kernels, and what it counts.
#pragma once

#include <cstddef>
#include <cstdint>

namespace simt {

/// The order in which blocks and threads run.
enum class Order { forward, reverse, random };

/// What the program was built to find.
enum class Mode { fast, asan, race };

struct Config {
  Order order = Order::forward;  // SIMT_ORDER=forward|reverse|random
  std::uint64_t seed = 1;        // SIMT_SEED=n
  bool abort_on_error = true;    // false: run_kernel returns cudaErrorLaunchFailure
  bool strict_exit = false;      // SIMT_STRICT_EXIT=1: a thread that exits before a barrier is a fault
  bool late_cp_async = true;     // SIMT_CP_ASYNC=early|late: copy when issued, or when waited for
  bool print_faults = true;      // write every fault to stderr as well
  std::size_t stack_bytes = 0;   // per thread; 0 is 64 KiB, and 256 KiB under ASan
  std::uint32_t livelock_spins =
      4'000'000;                        // atomics without progress before a thread is taken to spin for ever
  std::uint32_t watchdog_seconds = 20;  // CPU seconds without any progress before a kernel is taken to hang
};
extern Config config;

/// How this program was built.
Mode mode();

struct Statistics {
  std::uint64_t launches = 0, blocks = 0, threads = 0;
  std::uint64_t barriers = 0;    // threads through block barriers
  std::uint64_t rendezvous = 0;  // lanes through warp operations
  std::uint64_t switches = 0;    // between fibers
};
extern Statistics statistics;

}  // namespace simt
