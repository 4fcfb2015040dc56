// Launches that a device could not take, and the device's description of itself.
#include <catch2/catch.hpp>

#include <cstring>

#include "runtime_kernels.h"

using namespace runtime_test;
using Catch::Contains;
using simt::runtime::control;

TEST_CASE("launch shapes that a device refuses", "[simt]") {
  Runtime runtime;
  const dim3 bad_shapes[][2] = {{dim3(0), dim3(32)},         {dim3(1), dim3(0)},
                                {dim3(1), dim3(1025)},       {dim3(1), dim3(64, 32)},
                                {dim3(1), dim3(1, 1, 65)},   {dim3(1, 65536), dim3(1)},
                                {dim3(1, 1, 65536), dim3(1)}};
  for (const auto& shape : bad_shapes) {
    CHECK(launch_shape(shape[0], shape[1], 0) == cudaErrorInvalidConfiguration);
    CHECK(cudaGetLastError() == cudaErrorInvalidConfiguration);
    CHECK_THAT(runtime.take_fault(), Contains("[launch-shape]") && Contains("shape_kernel"));
  }
  CHECK(launch_shape(dim3(2, 3, 2), dim3(16, 8, 8), 0) == cudaSuccess);
  CHECK(cudaDeviceSynchronize() == cudaSuccess);
}

TEST_CASE("dynamic shared memory must be asked for", "[simt]") {
  Runtime runtime;
  const void* kernel = shape_kernel_address();
  CHECK(launch_shape(dim3(1), dim3(32), 48 << 10) == cudaSuccess);
  CHECK(launch_shape(dim3(1), dim3(32), (48 << 10) + 16) == cudaErrorInvalidValue);
  CHECK_THAT(runtime.take_fault(), Contains("[shared-memory]") && Contains("49,168 bytes"));
  CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (227 << 10) + 1) ==
        cudaErrorInvalidValue);
  CHECK_THAT(runtime.take_fault(), Contains("[shared-memory]"));
  CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, 100 << 10) == cudaSuccess);
  CHECK(launch_shape(dim3(1), dim3(32), 100 << 10) == cudaSuccess);
  CHECK(launch_shape(dim3(1), dim3(32), (100 << 10) + 4) == cudaErrorInvalidValue);
  CHECK_THAT(runtime.take_fault(), Contains("[shared-memory]"));
  cudaFuncAttributes attributes;
  CHECK(cudaFuncGetAttributes(&attributes, kernel) == cudaSuccess);
  CHECK(attributes.maxDynamicSharedSizeBytes == 100 << 10);
  int blocks = 0;
  CHECK(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel, 256, 0) == cudaSuccess);
  CHECK(blocks == 8);
  CHECK(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel, 256, 100 << 10) == cudaSuccess);
  CHECK(blocks == 2);
  CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, 0) == cudaSuccess);
  CHECK(cudaDeviceSynchronize() == cudaSuccess);
}

TEST_CASE("a device with little shared memory", "[simt]") {
  Runtime runtime;
  const void* kernel = shape_kernel_address();
  const auto allow = [&](int bytes) {
    return cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
  };
  CHECK(allow(100 << 10) == cudaSuccess);
  control().max_shared_bytes = 99 << 10;
  int value = 0;
  CHECK(cudaDeviceGetAttribute(&value, cudaDevAttrMaxSharedMemoryPerBlockOptin, 0) == cudaSuccess);
  CHECK(value == 99 << 10);
  cudaDeviceProp properties;
  CHECK(cudaGetDeviceProperties(&properties, 0) == cudaSuccess);
  CHECK(properties.sharedMemPerBlockOptin == 99 << 10);
  // What the larger device allowed is of no use here.
  CHECK(launch_shape(dim3(1), dim3(32), 100 << 10) == cudaErrorInvalidValue);
  CHECK_THAT(runtime.take_fault(), Contains("[shared-memory]") && Contains("allows up to 101,376"));
  int blocks = -1;
  CHECK(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel, 256, 100 << 10) == cudaSuccess);
  CHECK(blocks == 0);
  CHECK(allow((99 << 10) + 1) == cudaErrorInvalidValue);
  CHECK_THAT(runtime.take_fault(), Contains("[shared-memory]") && Contains("of 101,376"));
  CHECK(allow(99 << 10) == cudaSuccess);
  CHECK(launch_shape(dim3(1), dim3(32), 99 << 10) == cudaSuccess);
  CHECK(allow(0) == cudaSuccess);
  CHECK(cudaDeviceSynchronize() == cudaSuccess);
}

TEST_CASE("the device describes itself", "[simt]") {
  Runtime runtime;
  int count = 0, value = 0, device = -1;
  CHECK(cudaGetDeviceCount(&count) == cudaSuccess);
  CHECK(count == 1);
  CHECK(cudaGetDevice(&device) == cudaSuccess);
  CHECK(device == 0);
  CHECK(cudaSetDevice(1) == cudaErrorInvalidDevice);
  cudaDeviceProp properties;
  CHECK(cudaGetDeviceProperties(&properties, 0) == cudaSuccess);
  CHECK(std::strcmp(properties.name, "Reprise stand-in") == 0);
  CHECK(properties.major == 9);
  CHECK(properties.totalGlobalMem == control().capacity);
  CHECK(properties.sharedMemPerBlockOptin == 227 << 10);
  CHECK(cudaDeviceGetAttribute(&value, cudaDevAttrMultiProcessorCount, 0) == cudaSuccess);
  CHECK(value == properties.multiProcessorCount);
  CHECK(cudaRuntimeGetVersion(&value) == cudaSuccess);
  CHECK(value == CUDART_VERSION);
  CHECK(std::strcmp(cudaGetErrorName(cudaErrorMemoryAllocation), "cudaErrorMemoryAllocation") == 0);
  CHECK(std::strcmp(cudaGetErrorString(cudaErrorMemoryAllocation), "out of memory") == 0);
  cudaGetLastError();
}

TEST_CASE("a machine without a driver", "[simt]") {
  Runtime runtime;
  control().devices = 0;
  int count = 77, version = 1;
  CHECK(cudaGetDeviceCount(&count) == cudaErrorInsufficientDriver);
  CHECK(count == 77);
  CHECK(cudaDriverGetVersion(&version) == cudaSuccess);
  CHECK(version == 0);
  void* memory = nullptr;
  CHECK(cudaMalloc(&memory, 4) == cudaErrorInsufficientDriver);
  CHECK(launch_shape(dim3(1), dim3(1), 0) == cudaErrorInsufficientDriver);
  cudaStream_t stream = nullptr;
  CHECK(cudaStreamCreate(&stream) == cudaErrorInsufficientDriver);
  CHECK(cudaDeviceSynchronize() == cudaErrorInsufficientDriver);
  CHECK(cudaGetLastError() == cudaErrorInsufficientDriver);
  CHECK(cudaGetLastError() == cudaSuccess);
}
