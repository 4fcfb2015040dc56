// The frame of every entry point of cuBLASLt.
#pragma once

#include <cublasLt.h>

#include "simt/runtime/control.h"
#include "simt/runtime/library_call.h"

namespace simt::runtime {

/// What the library says when the runtime beneath it refuses.
inline cublasStatus_t lt_status(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return CUBLAS_STATUS_SUCCESS;
    case cudaErrorMemoryAllocation:
      return CUBLAS_STATUS_ALLOC_FAILED;
    case cudaErrorInsufficientDriver:
      return CUBLAS_STATUS_NOT_INITIALIZED;
    default:
      return CUBLAS_STATUS_EXECUTION_FAILED;
  }
}

/// Runs an entry point.
template <class Body>
cublasStatus_t lt_call(const char* name, unsigned traits, Body body) {
  return library_call<cublasStatus_t>(name, traits, control().fail_cublas, lt_status, body);
}

}  // namespace simt::runtime
