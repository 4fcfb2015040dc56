// The device: how many there are, and what it says of itself.
#include <cuda_profiler_api.h>

#include <cstring>

#include "simt/runtime/call.h"
#include "simt/runtime/control.h"
#include "simt/runtime/device_limits.h"
#include "simt/runtime/streams.h"

using namespace simt::runtime;

namespace {

cudaDeviceProp properties() {
  cudaDeviceProp p = {};
  std::strncpy(p.name, kDeviceName, sizeof p.name - 1);
  p.major = kComputeMajor;
  p.minor = kComputeMinor;
  p.totalGlobalMem = control().capacity;
  p.sharedMemPerBlock = kDefaultSharedBytes;
  p.sharedMemPerBlockOptin = control().max_shared_bytes;
  p.sharedMemPerMultiprocessor = kSharedBytesPerMultiprocessor;
  p.reservedSharedMemPerBlock = kReservedSharedBytes;
  p.regsPerBlock = p.regsPerMultiprocessor = kRegisters;
  p.warpSize = kWarpThreads;
  p.maxThreadsPerBlock = kMaxBlockThreads;
  p.maxThreadsDim[0] = p.maxThreadsDim[1] = kMaxBlockThreads;
  p.maxThreadsDim[2] = kMaxBlockZ;
  p.maxGridSize[0] = kMaxGridX;
  p.maxGridSize[1] = p.maxGridSize[2] = kMaxGridYZ;
  p.maxThreadsPerMultiProcessor = kThreadsPerMultiprocessor;
  p.maxBlocksPerMultiProcessor = kMaxBlocksPerMultiprocessor;
  p.multiProcessorCount = kMultiprocessors;
  p.l2CacheSize = kCacheBytes;
  p.totalConstMem = 64 << 10;
  p.textureAlignment = 512;
  p.memoryBusWidth = 5120;
  p.asyncEngineCount = 3;
  p.canMapHostMemory = p.concurrentKernels = p.unifiedAddressing = 1;
  p.streamPrioritiesSupported = p.memoryPoolsSupported = p.hostRegisterSupported = 1;
  return p;
}

// False for an attribute that the stand-in does not know.
bool attribute_value(cudaDeviceAttr attribute, int* value) {
  const cudaDeviceProp p = properties();
  const auto is = [&](auto number) {
    *value = static_cast<int>(number);
    return true;
  };
  switch (attribute) {
    case cudaDevAttrComputeCapabilityMajor:
      return is(p.major);
    case cudaDevAttrComputeCapabilityMinor:
      return is(p.minor);
    case cudaDevAttrMultiProcessorCount:
      return is(p.multiProcessorCount);
    case cudaDevAttrWarpSize:
      return is(p.warpSize);
    case cudaDevAttrMaxThreadsPerBlock:
      return is(p.maxThreadsPerBlock);
    case cudaDevAttrMaxBlockDimX:
      return is(p.maxThreadsDim[0]);
    case cudaDevAttrMaxBlockDimY:
      return is(p.maxThreadsDim[1]);
    case cudaDevAttrMaxBlockDimZ:
      return is(p.maxThreadsDim[2]);
    case cudaDevAttrMaxGridDimX:
      return is(p.maxGridSize[0]);
    case cudaDevAttrMaxGridDimY:
      return is(p.maxGridSize[1]);
    case cudaDevAttrMaxGridDimZ:
      return is(p.maxGridSize[2]);
    case cudaDevAttrMaxSharedMemoryPerBlock:
      return is(p.sharedMemPerBlock);
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      return is(p.sharedMemPerBlockOptin);
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
      return is(p.sharedMemPerMultiprocessor);
    case cudaDevAttrReservedSharedMemoryPerBlock:
      return is(p.reservedSharedMemPerBlock);
    case cudaDevAttrMaxThreadsPerMultiProcessor:
      return is(p.maxThreadsPerMultiProcessor);
    case cudaDevAttrMaxBlocksPerMultiprocessor:
      return is(p.maxBlocksPerMultiProcessor);
    case cudaDevAttrMaxRegistersPerBlock:
      return is(p.regsPerBlock);
    case cudaDevAttrMaxRegistersPerMultiprocessor:
      return is(p.regsPerMultiprocessor);
    case cudaDevAttrL2CacheSize:
      return is(p.l2CacheSize);
    case cudaDevAttrClockRate:
      return is(1'755'000);
    case cudaDevAttrMemoryClockRate:
      return is(2'619'000);
    case cudaDevAttrGlobalMemoryBusWidth:
      return is(p.memoryBusWidth);
    case cudaDevAttrUnifiedAddressing:
      return is(p.unifiedAddressing);
    case cudaDevAttrConcurrentKernels:
      return is(p.concurrentKernels);
    case cudaDevAttrMemoryPoolsSupported:
      return is(p.memoryPoolsSupported);
    case cudaDevAttrStreamPrioritiesSupported:
      return is(p.streamPrioritiesSupported);
    case cudaDevAttrCooperativeLaunch:
    case cudaDevAttrManagedMemory:
    case cudaDevAttrPageableMemoryAccess:
      return is(0);
    default:
      return false;
  }
}

cudaError_t check_device(int device) { return device == 0 ? cudaSuccess : cudaErrorInvalidDevice; }

}  // namespace

cudaError_t cudaGetDeviceCount(int* count) {
  return call(__func__, kPlain, [&] {
    if (count == nullptr) return cudaErrorInvalidValue;
    *count = control().devices;
    return cudaSuccess;
  });
}

cudaError_t cudaGetDevice(int* device) {
  return call(__func__, kPlain, [&] {
    if (device == nullptr) return cudaErrorInvalidValue;
    *device = 0;
    return cudaSuccess;
  });
}

cudaError_t cudaSetDevice(int device) {
  return call(__func__, kPlain, [&] { return check_device(device); });
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* result, int device) {
  return call(__func__, kPlain, [&] {
    if (result == nullptr) return cudaErrorInvalidValue;
    if (check_device(device) == cudaSuccess) *result = properties();
    return check_device(device);
  });
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  return call(__func__, kPlain, [&] {
    if (check_device(device) != cudaSuccess) return check_device(device);
    if (value != nullptr && attribute_value(attribute, value)) return cudaSuccess;
    return fault(cudaErrorInvalidValue, "unknown-attribute",
                 "cudaDeviceGetAttribute of attribute " + std::to_string(attribute));
  });
}

cudaError_t cudaDeviceCanAccessPeer(int* can, int device, int peer) {
  return call(__func__, kPlain, [&] {
    if (can == nullptr || check_device(device) != cudaSuccess || check_device(peer) != cudaSuccess) {
      return cudaErrorInvalidDevice;
    }
    *can = 0;
    return cudaSuccess;
  });
}

// Frees nothing: memory that is still allocated is a leak that a test wants to see.
cudaError_t cudaDeviceReset() {
  return call(__func__, kRelease | kSynchronises, [] {
    drop_queued_work();
    clear_errors();
    return cudaSuccess;
  });
}

// Works without a driver, and says so.
cudaError_t cudaDriverGetVersion(int* version) {
  if (version == nullptr) return record_error(cudaErrorInvalidValue);
  *version = control().devices == 0 ? 0 : CUDART_VERSION;
  return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int* version) {
  if (version == nullptr) return record_error(cudaErrorInvalidValue);
  *version = CUDART_VERSION;
  return cudaSuccess;
}

cudaError_t cudaProfilerStart() {
  return call(__func__, kPlain, [] { return cudaSuccess; });
}

cudaError_t cudaProfilerStop() {
  return call(__func__, kPlain, [] { return cudaSuccess; });
}
