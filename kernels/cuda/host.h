// What the host code of this backend uses whether or not it launches kernels: checks and streams. It needs no
// CUDA compiler.
#pragma once

#include <cuda_runtime_api.h>

#include <string>

#include "cuda/workspace/device.h"

namespace reprise::kernels::cuda {

/// Throws DeviceError naming `operation` for anything but success.
inline void check(cudaError_t status, const char* operation) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // a launch error that is not sticky would otherwise show up in the next check
  throw DeviceError(std::string("[") + operation + "] CUDA: " + cudaGetErrorString(status) + " (" +
                    cudaGetErrorName(status) + ")");
}

inline cudaStream_t stream_of(const Queue& queue) { return static_cast<cudaStream_t>(queue.stream); }

/// The device that this thread's calls go to.
inline int current_device(const char* operation) {
  int device = 0;
  check(cudaGetDevice(&device), operation);
  return device;
}

/// Multiprocessors of the current device that plans count on; asked for once.
int multiprocessors();

/// Bytes of shared memory that a block may have on the current device, for a kernel that is allowed them.
std::size_t max_shared_bytes(const char* operation);

}  // namespace reprise::kernels::cuda
