// What the emulator, the race checker and the stand-in CUDA runtime ask of each other. Kernels never see
// this.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <string>

namespace simt {

/// One kernel launch; `call(parameters)` runs the kernel for the current thread of the emulated grid.
struct Launch {
  void (*call)(const void* parameters) = nullptr;
  const void* parameters = nullptr;
  dim3 grid, block;
  std::size_t shared_bytes = 0;
  const char* name = "";
  const void* function = nullptr;
};

// ---- The emulator provides:

/// Runs the whole grid now. Returns cudaErrorLaunchFailure, with `last_error` set, when a fault was found.
cudaError_t run_kernel(const Launch& launch);

/// Text of the last fault that was found; empty when there was none.
extern std::string last_error;

/// Reports a fault found outside a kernel: sets `last_error`, prints it, and aborts where the configuration
/// says so.
void report_host_fault(const char* kind, const std::string& text);

// ---- The stand-in runtime provides:

/// Queues a launch on a stream. `parameters` is owned from here on and released with `destroy`. Returns
/// cudaErrorInvalidConfiguration for a launch that the device could not take.
cudaError_t enqueue_kernel(const Launch& launch, void (*destroy)(void* parameters), cudaStream_t stream);

/// False, with a fault reported, for a pointer that no kernel may be given: host memory or freed device
/// memory.
bool check_pointer_argument(const void* pointer, const char* kernel, int index);

/// Opens the device's memory to this process while a kernel or a copy runs, and shuts it again afterwards.
void open_device_memory(bool open);

/// "1,024 bytes past the end of the 4,096-byte block allocated at ...", for messages.
std::string describe_device_address(const void* address);

/// True when all these bytes are page-locked host memory, which kernels may use.
bool kernels_may_reach(const void* host_address, std::size_t bytes);

/// The one range of addresses that all device memory lies in.
struct DeviceHeap {
  char* base = nullptr;
  std::size_t bytes = 0;
};
extern DeviceHeap device_heap;

// ---- The race checker provides, where it is linked (null otherwise):

struct RaceHooks {
  void (*launch_start)() = nullptr;
  int (*launch_end)() = nullptr;  // number of reports
  void (*block_start)() = nullptr;
  void (*fence)() = nullptr;
  /// Bytes became part of a live allocation: never written (false) or written from outside a kernel (true).
  void (*set_written)(const void* address, std::size_t bytes, bool written) = nullptr;
  /// Bytes left their allocation: any access is out of bounds from now on.
  void (*forget)(const void* address, std::size_t bytes) = nullptr;
  /// A memory access by the current thread: kind 0 read, 1 write, 2 atomic.
  void (*access)(const void* address, std::size_t bytes, int kind, void* program_counter) = nullptr;
};
extern RaceHooks race_hooks;

}  // namespace simt
