// The frame of every entry point: lock, count, inject, refuse, record the error.
#pragma once

#include <cuda_runtime_api.h>

#include <mutex>
#include <new>
#include <string>

#include "simt/seam.h"

namespace simt::runtime {

/// What an entry point is, as a set of bits.
enum CallTraits : unsigned {
  kPlain = 0,
  kRelease = 1,       // frees or destroys: does so even when it reports an error
  kInquiry = 2,       // is never made to fail
  kSynchronises = 4,  // makes the host wait, or may
  kUnsafe = 8,        // forbidden to a thread while a stream is captured in a strict mode
  kAllocates = 16,    // counted by fail_allocation
};

/// The lock of the whole runtime. Kernels run under it, on the thread that waits for them.
std::recursive_mutex& runtime_mutex();

/// Counts a call and decides whether it may go ahead; otherwise returns why not. The caller holds the lock.
cudaError_t begin_call(const char* name, unsigned traits);

/// True when the last begin_call of this thread was made to fail by the test.
bool call_was_injected();

/// True when a call that releases something does so in spite of the error that begin_call returned.
bool releases_in_spite_of(cudaError_t error);

/// Counts one call that makes the host wait.
void count_synchronisation();

/// Counts one matrix product with this epilogue.
void count_epilogue(unsigned epilogue);

/// Counts one convolution whose channels are no multiples of eight.
void count_uneven_convolution();

/// Records an error as this thread's last and returns it.
cudaError_t record_error(cudaError_t error);

/// The error that broke the device for good; cudaSuccess while it works.
cudaError_t sticky_error();

/// Breaks the device: from now on every call returns the error.
void set_sticky_error(cudaError_t error);

/// Clears the sticky error, and this thread's last error.
void clear_errors();

/// Reports a misuse by name and returns the error.
inline cudaError_t fault(cudaError_t error, const char* kind, const std::string& text) {
  report_host_fault(kind, text);
  return error;
}

/// True while a function of cudaLaunchHostFunc runs on this thread.
extern thread_local bool in_host_function;

template <class Body>
cudaError_t guarded(const Body& body) {
  try {
    return body();
  } catch (const std::bad_alloc&) {
    return cudaErrorMemoryAllocation;
  }
}

/// Runs an entry point of the runtime.
template <class Body>
cudaError_t call(const char* name, unsigned traits, Body body) {
  const std::lock_guard lock(runtime_mutex());
  cudaError_t error = begin_call(name, traits);
  if (error == cudaSuccess) {
    error = guarded(body);
  } else if ((traits & kRelease) != 0 && releases_in_spite_of(error)) {
    guarded(body);
  }
  return record_error(error);
}

}  // namespace simt::runtime
