// The entry points that allocate and free device memory.
#include <algorithm>

#include "simt/runtime/capture.h"
#include "simt/runtime/control.h"
#include "simt/runtime/memory.h"
#include "simt/runtime/streams.h"

using namespace simt::runtime;

namespace {

cudaError_t free_now(void* pointer, const char* who) {
  const Block* block = find_block(pointer);
  cudaError_t error = cudaSuccess;
  // A device may wait here for all of its work, or not.
  if (block != nullptr && block->begin == pointer) error = finish_work_on(block->bytes_range(), who);
  const cudaError_t released = release_device(pointer, who);
  return released != cudaSuccess ? released : error;
}

cudaError_t free_in_order(void* pointer, cudaStream_t handle) {
  const StreamPointer stream = find_stream(handle);
  if (stream == nullptr) return cudaErrorInvalidResourceHandle;
  if (stream->capture != nullptr) return invalidate(*stream->capture, cudaErrorStreamCaptureUnsupported);
  const Block* block = find_block(pointer);
  std::string user;
  if (block != nullptr && is_in_use(block->bytes_range(), &user, stream)) {
    return fault(cudaErrorInvalidValue, "free-in-use",
                 "cudaFreeAsync of " + with_commas(block->bytes) +
                     " bytes that work uses which the stream does not wait for: " + user);
  }
  Work work;
  work.name = "cudaFreeAsync";
  work.releases = true;
  work.run = [pointer] { return release_device(pointer, "cudaFreeAsync"); };
  return enqueue(handle, std::move(work));
}

cudaError_t allocate_in_order(void** pointer, std::size_t bytes, cudaStream_t handle) {
  const StreamPointer stream = find_stream(handle);
  if (stream == nullptr) return cudaErrorInvalidResourceHandle;
  if (stream->capture != nullptr) return invalidate(*stream->capture, cudaErrorStreamCaptureUnsupported);
  return allocate_device(pointer, bytes);
}

}  // namespace

cudaError_t cudaMalloc(void** pointer, std::size_t bytes) {
  return call(__func__, kAllocates | kUnsafe, [&] { return allocate_device(pointer, bytes); });
}

cudaError_t cudaFree(void* pointer) {
  return call(__func__, kRelease | kSynchronises | kUnsafe, [&] { return free_now(pointer, "cudaFree"); });
}

cudaError_t cudaMallocAsync(void** pointer, std::size_t bytes, cudaStream_t stream) {
  return call(__func__, kAllocates, [&] { return allocate_in_order(pointer, bytes, stream); });
}

cudaError_t cudaFreeAsync(void* pointer, cudaStream_t stream) {
  return call(__func__, kRelease, [&] { return free_in_order(pointer, stream); });
}

cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  return call(__func__, kPlain, [&] {
    if (free == nullptr || total == nullptr) return cudaErrorInvalidValue;
    *total = control().capacity;
    *free = *total - std::min(*total, live_bytes());
    return cudaSuccess;
  });
}
