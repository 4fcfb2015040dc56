// Copies and fills.
#include <cstring>
#include <memory>

#include "simt/runtime/capture.h"
#include "simt/runtime/host_memory.h"
#include "simt/runtime/streams.h"

using namespace simt::runtime;

namespace {

struct Copy {
  void* to = nullptr;
  const void* from = nullptr;
  std::size_t bytes = 0;
  bool to_device = false, from_device = false;

  Range written() const { return range(to, bytes); }
  Range read() const { return range(from, bytes); }
  // What the host may swap out: a device cannot reach it by itself.
  bool to_pageable() const { return !to_device && !is_pinned(to); }
  bool from_pageable() const { return !from_device && !is_pinned(from); }
};

bool direction_is_right(const Copy& copy, cudaMemcpyKind kind) {
  switch (kind) {
    case cudaMemcpyHostToHost:
      return !copy.to_device && !copy.from_device;
    case cudaMemcpyHostToDevice:
      return copy.to_device && !copy.from_device;
    case cudaMemcpyDeviceToHost:
      return !copy.to_device && copy.from_device;
    case cudaMemcpyDeviceToDevice:
      return copy.to_device && copy.from_device;
    case cudaMemcpyDefault:
      return true;
  }
  return false;
}

std::string direction_text(const Copy& copy) {
  return std::string(copy.from_device ? "device" : "host") + " to " + (copy.to_device ? "device" : "host");
}

cudaError_t check_copy(const Copy& copy, cudaMemcpyKind kind, const char* who) {
  if (kind < cudaMemcpyHostToHost || kind > cudaMemcpyDefault) return cudaErrorInvalidMemcpyDirection;
  if (copy.to == nullptr || copy.from == nullptr) return cudaErrorInvalidValue;
  if (!direction_is_right(copy, kind)) {
    return fault(
        cudaErrorInvalidValue, "wrong-copy-direction",
        std::string(who) + " of kind " + std::to_string(kind) + " for pointers from " + direction_text(copy));
  }
  if (copy.written().overlaps(copy.read())) {
    return fault(cudaErrorInvalidValue, "overlapping-copy",
                 std::string(who) + " of " + with_commas(copy.bytes) + " bytes");
  }
  const auto is_live = [&](Range bytes, bool device, const char* end) {
    const std::string text = std::string(who) + end;
    return device ? device_range_is_live(bytes, text) : pinned_range_is_live(bytes, text);
  };
  const bool good = is_live(copy.written(), copy.to_device, ", destination") &&
                    is_live(copy.read(), copy.from_device, ", source");
  return good ? cudaSuccess : cudaErrorInvalidValue;
}

cudaError_t run_copy(const Copy& copy) {
  const OpenDeviceMemory open;
  std::memcpy(copy.to, copy.from, copy.bytes);
  mark_written(copy.written());
  return cudaSuccess;
}

Work copy_work(Copy copy, bool stage) {
  Work work;
  work.name = "copy from " + direction_text(copy);
  work.type = cudaGraphNodeTypeMemcpy;
  if (!copy.to_pageable()) work.touches.push_back(copy.written());
  if (!copy.from_pageable()) work.touches.push_back(copy.read());
  if (is_pinned(copy.to)) work.lands = copy.written();
  if (stage) {
    auto staged = std::make_shared<std::vector<char>>(copy.bytes);
    std::memcpy(staged->data(), copy.from, copy.bytes);
    work.run = [copy, staged]() mutable {
      copy.from = staged->data();
      return run_copy(copy);
    };
  } else {
    work.run = [copy] { return run_copy(copy); };
  }
  return work;
}

cudaError_t copy_on(cudaStream_t handle, const Copy& copy, bool wait) {
  const StreamPointer stream = find_stream(handle);
  if (stream == nullptr) return cudaErrorInvalidResourceHandle;
  const bool pageable = copy.to_pageable() || copy.from_pageable();
  // A graph would go on reading memory that the program may have given back.
  if (stream->capture != nullptr && pageable)
    return invalidate(*stream->capture, cudaErrorStreamCaptureUnsupported);
  const cudaError_t error = enqueue(handle, copy_work(copy, copy.from_pageable() && !wait));
  if (error != cudaSuccess || !(wait || copy.to_pageable())) return error;
  if (!wait) count_synchronisation();
  return run_until(end_of(stream));
}

cudaError_t copy_call(const char* who, Copy copy, cudaMemcpyKind kind, cudaStream_t stream, bool wait) {
  if (copy.bytes == 0) return cudaSuccess;
  copy.to_device = is_device_address(copy.to);
  copy.from_device = is_device_address(copy.from);
  const cudaError_t error = check_copy(copy, kind, who);
  return error == cudaSuccess ? copy_on(stream, copy, wait) : error;
}

cudaError_t fill(const char* who, void* to, int value, std::size_t bytes, cudaStream_t stream) {
  if (bytes == 0) return cudaSuccess;
  const Range filled = range(to, bytes);
  if (!is_device_address(to) && !is_pinned(to)) {
    return fault(cudaErrorInvalidValue, "host-pointer",
                 std::string(who) + " of memory that is not the device's");
  }
  if (is_device_address(to) ? !device_range_is_live(filled, who) : !pinned_range_is_live(filled, who)) {
    return cudaErrorInvalidValue;
  }
  Work work;
  work.name = "fill";
  work.type = cudaGraphNodeTypeMemset;
  work.touches = {filled};
  work.run = [=] {
    const OpenDeviceMemory open;
    std::memset(to, value, bytes);
    mark_written(filled);
    return cudaSuccess;
  };
  return enqueue(stream, std::move(work));
}

}  // namespace

cudaError_t cudaMemcpy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
  return call(__func__, kSynchronises | kUnsafe, [&] {
    return copy_call("cudaMemcpy", {to, from, bytes}, kind, nullptr, true);
  });
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  return call(__func__, kPlain, [&] {
    return copy_call("cudaMemcpyAsync", {to, from, bytes}, kind, stream, false);
  });
}

cudaError_t cudaMemset(void* to, int value, std::size_t bytes) {
  return call(__func__, kUnsafe, [&] { return fill("cudaMemset", to, value, bytes, nullptr); });
}

cudaError_t cudaMemsetAsync(void* to, int value, std::size_t bytes, cudaStream_t stream) {
  return call(__func__, kPlain, [&] { return fill("cudaMemsetAsync", to, value, bytes, stream); });
}
