// The frame of every entry point of the libraries that stand on the runtime.
#pragma once

#include "simt/runtime/call.h"

namespace simt::runtime {

/// Runs an entry point. `failed` is what it returns when the test makes it fail, `status_of` translates the
/// runtime's errors.
template <class Status, class Translate, class Body>
Status library_call(const char* name, unsigned traits, int failed, Translate status_of, Body body) {
  const std::lock_guard lock(runtime_mutex());
  const cudaError_t error = begin_call(name, traits);
  const Status refusal = call_was_injected() ? static_cast<Status>(failed) : status_of(error);
  if (error != cudaSuccess && ((traits & kRelease) == 0 || !releases_in_spite_of(error))) return refusal;
  Status status = status_of(cudaErrorMemoryAllocation);
  guarded([&] {
    status = body();
    return cudaSuccess;
  });
  return error == cudaSuccess ? status : refusal;
}

}  // namespace simt::runtime
