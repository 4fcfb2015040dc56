// Services of CUDA devices that the engine needs beside kernels: memory, streams, events, graphs. A program
// without the CUDA backend has them too: it counts no device, and everything else throws DeviceError.
#pragma once

#include <string>
#include <vector>

#include "reprise/error.h"
#include "reprise/kernels/dispatch.h"

/// Declares a service of CUDA devices.
#ifndef REPRISE_CUDA_SERVICE
#define REPRISE_CUDA_SERVICE(Result, name, ...) Result name(__VA_ARGS__)
#endif

namespace reprise::kernels::cuda {

/// What a device is.
struct DeviceInfo {
  std::string name;
  int major = 0, minor = 0;  // compute capability
  int multiprocessors = 0;
  std::size_t total_bytes = 0;
};

struct MemoryInfo {
  std::size_t free_bytes = 0, total_bytes = 0;
};

enum class CopyKind : std::uint8_t { host_to_device, device_to_host, device_to_device };

using Stream = void*;
using Event = void*;
using Graph = void*;

/// Whether the CUDA backend is part of this program, what it was built for ("sm_80, sm_90, PTX 9.0"), and
/// with which libraries ("CUDA 13.0", "cuBLASLt 13.1", "cuDNN 9.19"): for people to read.
struct Build {
  bool present = false;
  std::string architectures;
  std::vector<std::string> libraries;
};
Build build();

/// Devices that can be used: 0 without a GPU, without a driver and without the backend; never throws.
int device_count();

/// One line that says why `device_count` is 0, or which device this build has no code for; empty when all is
/// well.
std::string unavailable_reason();

/// Makes the device the one that this thread's kernels and library calls go to; streams belong to a device.
REPRISE_CUDA_SERVICE(void, use_device, int device);

REPRISE_CUDA_SERVICE(DeviceInfo, device_info, int device);
REPRISE_CUDA_SERVICE(MemoryInfo, memory_info, int device);

/// Device memory, aligned to 256 bytes or more; null when there is not enough.
REPRISE_CUDA_SERVICE(void*, allocate, int device, std::size_t bytes);
REPRISE_CUDA_SERVICE(void, release, int device, void* memory);

/// Page-locked host memory, which copies do not wait for; null when there is not enough.
REPRISE_CUDA_SERVICE(void*, allocate_pinned, std::size_t bytes);
REPRISE_CUDA_SERVICE(void, release_pinned, void* memory);

/// Copies in the order of the stream. Host memory that is not page-locked makes the caller wait.
REPRISE_CUDA_SERVICE(void, copy_bytes, void* to, const void* from, std::size_t bytes, CopyKind kind,
                     Stream stream);
REPRISE_CUDA_SERVICE(void, fill_bytes, void* to, int value, std::size_t bytes, Stream stream);

/// A stream that does not wait for the default stream.
REPRISE_CUDA_SERVICE(Stream, create_stream, int device);
REPRISE_CUDA_SERVICE(void, destroy_stream, Stream stream);
/// Waits until everything on the stream has run; throws what went wrong there.
REPRISE_CUDA_SERVICE(void, synchronise, Stream stream);

/// An event without timing, or with it for `elapsed_ms`.
REPRISE_CUDA_SERVICE(Event, create_event, bool timing);
REPRISE_CUDA_SERVICE(void, destroy_event, Event event);
REPRISE_CUDA_SERVICE(void, record_event, Event event, Stream stream);
/// The stream goes on only when the event has happened; the caller does not wait.
REPRISE_CUDA_SERVICE(void, wait_event, Stream stream, Event event);
REPRISE_CUDA_SERVICE(bool, event_happened, Event event);
REPRISE_CUDA_SERVICE(void, synchronise_event, Event event);
/// Milliseconds between two events that have happened.
REPRISE_CUDA_SERVICE(float, elapsed_ms, Event from, Event to);

/// From here on the stream's work is recorded rather than run.
REPRISE_CUDA_SERVICE(void, begin_capture, Stream stream);
/// Ends the recording; throws when something was done that cannot be recorded.
REPRISE_CUDA_SERVICE(Graph, end_capture, Stream stream);
/// Ends a recording that went wrong; never throws.
REPRISE_CUDA_SERVICE(void, abandon_capture, Stream stream);
REPRISE_CUDA_SERVICE(void, launch_graph, Graph graph, Stream stream);
REPRISE_CUDA_SERVICE(void, destroy_graph, Graph graph);

/// Names the work that follows, for profilers (NVTX); ends with `pop_range`.
REPRISE_CUDA_SERVICE(void, push_range, const char* name);
REPRISE_CUDA_SERVICE(void, pop_range);

}  // namespace reprise::kernels::cuda
