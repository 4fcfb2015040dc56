// What the host code of this backend uses whether or not it launches kernels: checks, streams, refusals. It
// needs no CUDA compiler.
#pragma once

#include <cuda_runtime_api.h>

#include <string>

#include "reprise/error.h"
#include "reprise/kernels/dtype.h"
#include "reprise/kernels/view.h"

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

/// Multiprocessors of the current device; asked for once.
int multiprocessors();

/// Throws TypeError: CUDA kernels of this family do not take `dtype`.
[[noreturn]] inline void refuse(const char* operation, DType dtype) {
  throw TypeError(std::string("[") + operation + "] " + std::string(name_of(dtype)) +
                  " is not available on cuda; convert with to(float32) or use the CPU");
}

/// Throws std::logic_error when the caller gave less scratch than the family asks for.
void require_workspace(const char* operation, const Workspace& workspace, std::size_t bytes);

}  // namespace reprise::kernels::cuda
