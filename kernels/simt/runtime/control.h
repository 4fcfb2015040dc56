// What tests set and read of the stand-in CUDA runtime.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace simt::runtime {

/// When queued work runs. The order within a stream and the order that events ask for always hold.
enum class Schedule {
  kEager,     // at once
  kLazy,      // when something waits for it, and then no more than needed
  kShuffled,  // some at once, the rest when waited for, the streams interleaved at random
};

struct Control {
  Schedule schedule = Schedule::kLazy;
  /// Decides the order of Schedule::kShuffled.
  std::uint64_t seed = 1;
  /// Bytes of device memory; an allocation past them fails.
  std::size_t capacity = std::size_t{1} << 30;
  /// Bytes of shared memory that cudaFuncSetAttribute lets a block have: an H100's, up to which the emulator
  /// goes. Devices of compute capability 8.6, 8.9 and 12.x have 99 KiB.
  std::size_t max_shared_bytes = std::size_t{227} << 10;
  /// 1, or 0 for a machine without a driver.
  int devices = 1;
  /// Makes device memory inaccessible to the host while neither a kernel nor a copy runs.
  bool host_guard = false;

  /// Fails the allocation after this many more, of device or pinned memory; negative for none.
  std::int64_t fail_allocation = -1;
  /// Fails the call after this many more; negative for none.
  std::int64_t fail_call = -1;
  /// What fail_call counts: calls of this name, or every call when empty.
  std::string fail_name;
  /// Lets fail_call also count calls that release something. They fail, but they do release it.
  bool fail_releases = false;
  /// Keeps the error that fail_call caused, as a lost device does: every later call fails too.
  bool fail_for_good = false;
  /// What a call that is made to fail returns: a cudaError_t, cublasStatus_t or cudnnStatus_t.
  int fail_cuda = 999;
  int fail_cublas = 14;
  int fail_cudnn = 4000;
};

/// The settings, to be changed between calls.
Control& control();

/// Bytes of device memory that are allocated now.
std::size_t live_bytes();

/// Blocks of device and pinned memory that are allocated now.
std::size_t live_allocations();

/// The largest value of live_bytes() since the last reset_peak().
std::size_t peak_bytes();

/// Starts peak_bytes() again from what is allocated now.
void reset_peak();

/// Streams, events, graphs, library handles and descriptors that exist now.
std::size_t live_objects();

/// One line for every block and object that exists now, with where a block was allocated; empty when there
/// are none.
std::string leak_report();

/// How often an entry point was called since the last reset_calls(), by its name without version suffix.
std::int64_t calls(std::string_view name);

/// How many products since the last reset_calls() had this epilogue, a cublasLtEpilogue_t.
std::int64_t products_with_epilogue(unsigned epilogue);

/// How many convolutions since the last reset_calls() had channels that are no multiples of eight, which on a
/// device run without tensor cores.
std::int64_t uneven_convolutions();

/// How many calls since the last reset_calls() fail_call could have failed: the range of a sweep.
std::int64_t calls_total();

/// How many allocations since the last reset_calls() fail_allocation could have failed.
std::int64_t allocations_total();

/// How many calls since the last reset_calls() made the host wait, or may do so on a device.
std::int64_t synchronisations();

/// Sets every count of calls to zero.
void reset_calls();

/// Operations that are queued on streams and have not run.
std::size_t queued_operations();

/// Runs everything that is queued.
void drain();

/// Drops queued work and open captures, forgets errors and reports, and restores the default settings.
void reset();

}  // namespace simt::runtime
