// The entry points for streams.
#include <algorithm>
#include <utility>

#include "simt/runtime/capture.h"
#include "simt/runtime/streams.h"

using namespace simt::runtime;

namespace {

constexpr int kLeastPriority = 0, kGreatestPriority = -5;

cudaError_t make_stream(cudaStream_t* stream, unsigned flags, int priority) {
  if (stream == nullptr || (flags & ~unsigned{cudaStreamNonBlocking}) != 0) return cudaErrorInvalidValue;
  *stream = create_stream(flags, std::clamp(priority, kGreatestPriority, kLeastPriority)).get();
  return cudaSuccess;
}

/// Runs the body with the stream of a handle.
template <class Body>
cudaError_t stream_call(const char* name, unsigned traits, cudaStream_t handle, Body body) {
  return call(name, traits, [&]() -> cudaError_t {
    const StreamPointer stream = find_stream(handle);
    return stream == nullptr ? cudaErrorInvalidResourceHandle : body(stream);
  });
}

// Waiting for a captured stream would wait for work that does not run.
cudaError_t check_wait(const StreamPointer& stream) {
  if (stream->capture != nullptr) return invalidate(*stream->capture, cudaErrorStreamCaptureUnsupported);
  return check_implicit_capture(stream);
}

}  // namespace

cudaError_t cudaStreamCreate(cudaStream_t* stream) {
  return call(__func__, kPlain, [&] { return make_stream(stream, cudaStreamDefault, 0); });
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  return call(__func__, kPlain, [&] { return make_stream(stream, flags, 0); });
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned flags, int priority) {
  return call(__func__, kPlain, [&] { return make_stream(stream, flags, priority); });
}

cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  return call(__func__, kPlain, [&] {
    if (least != nullptr) *least = kLeastPriority;
    if (greatest != nullptr) *greatest = kGreatestPriority;
    return cudaSuccess;
  });
}

cudaError_t cudaStreamGetFlags(cudaStream_t handle, unsigned* flags) {
  return stream_call(__func__, kPlain, handle, [&](const StreamPointer& stream) {
    *flags = stream->flags;
    return cudaSuccess;
  });
}

cudaError_t cudaStreamGetPriority(cudaStream_t handle, int* priority) {
  return stream_call(__func__, kPlain, handle, [&](const StreamPointer& stream) {
    *priority = stream->priority;
    return cudaSuccess;
  });
}

cudaError_t cudaStreamDestroy(cudaStream_t handle) {
  return stream_call(__func__, kRelease, handle, [&](const StreamPointer& stream) {
    if (stream == legacy_stream() || handle == cudaStreamPerThread) return cudaErrorInvalidResourceHandle;
    if (stream->capture != nullptr) {
      invalidate(*stream->capture, cudaErrorStreamCaptureUnsupported);
      stream->capture = nullptr;
    }
    destroy_stream(stream);
    return cudaSuccess;
  });
}

cudaError_t cudaStreamSynchronize(cudaStream_t handle) {
  return stream_call(__func__, kSynchronises, handle, [&](const StreamPointer& stream) {
    if (const cudaError_t error = check_wait(stream); error != cudaSuccess) return error;
    Mark end = end_of(stream);
    // The legacy stream's end is also the end of the blocking streams.
    if (stream == legacy_stream()) {
      enqueue_now(stream, std::make_shared<Work>());
      end = end_of(stream);
    }
    const cudaError_t error = run_until(end);
    return all_red_zones_are_intact("cudaStreamSynchronize") ? error : cudaErrorIllegalAddress;
  });
}

cudaError_t cudaStreamQuery(cudaStream_t handle) {
  return stream_call(__func__, kPlain, handle, [&](const StreamPointer& stream) {
    if (const cudaError_t error = check_wait(stream); error != cudaSuccess) return error;
    const Mark end = end_of(stream);
    if (is_done(end)) return sticky_error();
    run_a_little(end);  // so that a loop that polls comes to an end
    return cudaErrorNotReady;
  });
}

cudaError_t cudaDeviceSynchronize() {
  return call(__func__, kSynchronises, [] {
    if (const cudaError_t error = check_device_wait(); error != cudaSuccess) return error;
    const cudaError_t error = run_everything();
    return all_red_zones_are_intact("cudaDeviceSynchronize") ? error : cudaErrorIllegalAddress;
  });
}

cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void* argument) {
  return call(__func__, kPlain, [&] {
    if (function == nullptr) return cudaErrorInvalidValue;
    Work work;
    work.name = "host function";
    work.type = cudaGraphNodeTypeHost;
    work.run = [function, argument] {
      in_host_function = true;
      function(argument);
      in_host_function = false;
      return cudaSuccess;
    };
    return enqueue(stream, std::move(work));
  });
}

cudaError_t cudaStreamBeginCapture(cudaStream_t handle, cudaStreamCaptureMode mode) {
  return stream_call(__func__, kPlain, handle,
                     [&](const StreamPointer& stream) { return begin_capture(stream, mode); });
}

cudaError_t cudaStreamIsCapturing(cudaStream_t handle, cudaStreamCaptureStatus* status) {
  return stream_call(__func__, kPlain, handle, [&](const StreamPointer& stream) {
    if (status == nullptr) return cudaErrorInvalidValue;
    if (stream->capture == nullptr) {
      *status = cudaStreamCaptureStatusNone;
      return implicit_capture(stream) == nullptr ? cudaSuccess : cudaErrorStreamCaptureImplicit;
    }
    *status =
        stream->capture->invalidated ? cudaStreamCaptureStatusInvalidated : cudaStreamCaptureStatusActive;
    return cudaSuccess;
  });
}

cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode* mode) {
  return call(__func__, kPlain, [&] {
    if (mode == nullptr) return cudaErrorInvalidValue;
    std::swap(*mode, thread_capture_mode);
    return cudaSuccess;
  });
}
