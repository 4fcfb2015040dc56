// Device and pinned memory of the stand-in runtime: faults by name, capacity, leaks, the guard against the
// host.
#include <catch2/catch.hpp>

#include <cmath>
#include <cstring>
#include <vector>

#include "runtime_kernels.h"
#include "simt/emulator/asan.h"
#include "simt/seam.h"

using namespace runtime_test;
using Catch::Contains;
using simt::runtime::control;

namespace {

char* allocate(std::size_t bytes) {
  void* pointer = nullptr;
  REQUIRE(cudaMalloc(&pointer, bytes) == cudaSuccess);
  return static_cast<char*>(pointer);
}

#if defined(SIMT_ASAN)
#define SIMT_NO_ASAN __attribute__((no_sanitize("address")))
#else
#define SIMT_NO_ASAN
#endif

SIMT_NO_ASAN void poke(char* address, char value) { *const_cast<volatile char*>(address) = value; }

}  // namespace

TEST_CASE("new device memory is aligned and holds NaN", "[simt]") {
  Runtime runtime;
  for (const std::size_t bytes : {4u, 1000u, 4096u, 5000u}) {
    char* memory = allocate(bytes);
    CHECK(reinterpret_cast<std::uintptr_t>(memory) % 512 == 0);
    float first = 0;
    CHECK(cudaMemcpy(&first, memory, sizeof first, cudaMemcpyDeviceToHost) == cudaSuccess);
    CHECK(std::isnan(first));
    CHECK(cudaFree(memory) == cudaSuccess);
  }
  void* nothing = &runtime;
  CHECK(cudaMalloc(&nothing, 0) == cudaSuccess);
  CHECK(nothing == nullptr);
  CHECK(cudaFree(nullptr) == cudaSuccess);
}

TEST_CASE("device memory is counted, limited and reported when it leaks", "[simt]") {
  Runtime runtime;
  const std::size_t before = simt::runtime::live_bytes();
  simt::runtime::reset_peak();
  char* a = allocate(1000);
  char* b = allocate(3000);
  CHECK(simt::runtime::live_bytes() == before + 4000);
  CHECK(simt::runtime::live_allocations() >= 2);
  CHECK_THAT(simt::runtime::leak_report(), Contains("3,000-byte block #"));
  CHECK(cudaFree(a) == cudaSuccess);
  CHECK(cudaFree(b) == cudaSuccess);
  CHECK(simt::runtime::live_bytes() == before);
  CHECK(simt::runtime::peak_bytes() == before + 4000);

  control().capacity = before + 4096;
  char* all = allocate(4096);
  void* more = nullptr;
  CHECK(cudaMalloc(&more, 1) == cudaErrorMemoryAllocation);
  CHECK(more == nullptr);
  CHECK(cudaGetLastError() == cudaErrorMemoryAllocation);
  std::size_t free = 1, total = 0;
  CHECK(cudaMemGetInfo(&free, &total) == cudaSuccess);
  CHECK(free == 0);
  CHECK(total == before + 4096);
  CHECK(cudaFree(all) == cudaSuccess);
}

TEST_CASE("frees that are wrong", "[simt]") {
  Runtime runtime;
  char* memory = allocate(1024);
  CHECK(cudaFree(memory + 16) == cudaErrorInvalidValue);
  CHECK_THAT(runtime.take_fault(),
             Contains("[not-allocated]") && Contains("byte 16 of the 1,024-byte block"));
  CHECK(cudaFree(&runtime) == cudaErrorInvalidValue);
  CHECK_THAT(runtime.take_fault(), Contains("[not-allocated]") && Contains("host address"));
  CHECK(cudaFree(memory) == cudaSuccess);
  CHECK(cudaFree(memory) == cudaErrorInvalidValue);
  CHECK_THAT(runtime.take_fault(), Contains("[double-free]"));
  CHECK(cudaFreeHost(&runtime) == cudaErrorInvalidValue);
  CHECK_THAT(runtime.take_fault(), Contains("[not-allocated]"));
}

TEST_CASE("writes into the red zones are found at the free and at the next wait", "[simt]") {
  Runtime runtime;
  char* memory = allocate(1000);
  poke(memory + 1003, 1);
  CHECK(cudaDeviceSynchronize() == cudaErrorIllegalAddress);
  CHECK_THAT(runtime.take_fault(),
             Contains("[red-zone]") && Contains("3 bytes past the end of the 1,000-byte block"));
  CHECK(cudaDeviceSynchronize() == cudaSuccess);
  poke(memory - 1, 1);
  CHECK(cudaFree(memory) == cudaErrorIllegalAddress);
  CHECK_THAT(runtime.take_fault(), Contains("[red-zone]") && Contains("1 bytes before the 1,000-byte block"));
}

TEST_CASE("pointers that no kernel may be given", "[simt]") {
  Runtime runtime;
  Stream stream;
  std::vector<float> host(4);
  CHECK(fill(host.data(), 1, 4, stream) == cudaErrorInvalidValue);
  CHECK_THAT(runtime.take_fault(),
             Contains("[host-pointer]") && Contains("fill_kernel") && Contains("argument 0"));
  float* freed = reinterpret_cast<float*>(allocate(16));
  CHECK(cudaFree(freed) == cudaSuccess);
  CHECK(fill(freed, 1, 4, stream) == cudaErrorInvalidValue);
  CHECK_THAT(runtime.take_fault(), Contains("[freed-pointer]") && Contains("freed 16-byte block"));
  void* pinned = nullptr;
  REQUIRE(cudaMallocHost(&pinned, 16) == cudaSuccess);
  CHECK(fill(static_cast<float*>(pinned), 2, 4, stream) == cudaSuccess);
  CHECK(cudaStreamSynchronize(stream) == cudaSuccess);
  CHECK(static_cast<float*>(pinned)[3] == 2);
  CHECK(cudaFreeHost(pinned) == cudaSuccess);
}

TEST_CASE("copies that are wrong", "[simt]") {
  Runtime runtime;
  Floats device(8);
  std::vector<float> host(16);
  CHECK(cudaMemcpy(host.data(), device, 32, cudaMemcpyHostToDevice) == cudaErrorInvalidValue);
  CHECK_THAT(runtime.take_fault(), Contains("[wrong-copy-direction]") && Contains("device to host"));
  CHECK(cudaMemcpy(device, host.data(), 36, cudaMemcpyHostToDevice) == cudaErrorInvalidValue);
  CHECK_THAT(runtime.take_fault(), Contains("[past-the-end]") && Contains("36 bytes"));
  CHECK(cudaMemcpyAsync(host.data(), device + 4, 20, cudaMemcpyDeviceToHost, nullptr) ==
        cudaErrorInvalidValue);
  CHECK_THAT(runtime.take_fault(), Contains("[past-the-end]"));
  CHECK(cudaMemset(device + 7, 0, 8) == cudaErrorInvalidValue);
  CHECK_THAT(runtime.take_fault(), Contains("[past-the-end]"));
  CHECK(cudaMemset(host.data(), 0, 8) == cudaErrorInvalidValue);
  CHECK_THAT(runtime.take_fault(), Contains("[host-pointer]"));
  CHECK(cudaMemcpy(device + 1, device, 8, cudaMemcpyDeviceToDevice) == cudaErrorInvalidValue);
  CHECK_THAT(runtime.take_fault(), Contains("[overlapping-copy]"));
  float* freed = reinterpret_cast<float*>(allocate(16));
  CHECK(cudaFree(freed) == cudaSuccess);
  CHECK(cudaMemcpy(host.data(), freed, 4, cudaMemcpyDefault) == cudaErrorInvalidValue);
  CHECK_THAT(runtime.take_fault(), Contains("[freed-pointer]"));
  CHECK(cudaMemcpy(device, host.data(), 32, cudaMemcpyDefault) == cudaSuccess);
}

TEST_CASE("memory that queued work uses is not to be freed", "[simt]") {
  Runtime runtime;
  Stream stream;
  float* memory = reinterpret_cast<float*>(allocate(400));
  CHECK(fill(memory, 1, 100, stream) == cudaSuccess);
  CHECK(cudaFree(memory) == cudaErrorInvalidValue);
  CHECK_THAT(runtime.take_fault(), Contains("[free-in-use]") && Contains("fill_kernel"));
  CHECK(simt::runtime::queued_operations() == 0);

  memory = reinterpret_cast<float*>(allocate(400));
  Stream other;
  Event event;
  CHECK(fill(memory, 1, 100, stream) == cudaSuccess);
  CHECK(cudaFreeAsync(memory, other) == cudaErrorInvalidValue);
  CHECK_THAT(runtime.take_fault(), Contains("[free-in-use]") && Contains("fill_kernel"));
  CHECK(cudaEventRecord(event, stream) == cudaSuccess);
  CHECK(cudaStreamWaitEvent(other, event, 0) == cudaSuccess);
  CHECK(cudaFreeAsync(memory, other) == cudaSuccess);
  CHECK(cudaStreamSynchronize(other) == cudaSuccess);

  void* pinned = nullptr;
  REQUIRE(cudaMallocHost(&pinned, 16) == cudaSuccess);
  Floats device(4);
  CHECK(cudaMemcpyAsync(device, pinned, 16, cudaMemcpyHostToDevice, stream) == cudaSuccess);
  CHECK(cudaFreeHost(pinned) == cudaErrorInvalidValue);
  CHECK_THAT(runtime.take_fault(), Contains("[free-in-use]"));
}

TEST_CASE("work that comes after the free of its memory breaks the device", "[simt]") {
  Runtime runtime;
  Stream stream, other;
  float* memory = reinterpret_cast<float*>(allocate(400));
  CHECK(cudaFreeAsync(memory, stream) == cudaSuccess);
  CHECK(fill(memory, 1, 100, stream) == cudaSuccess);
  CHECK(cudaStreamSynchronize(stream) == cudaErrorIllegalAddress);
  CHECK_THAT(runtime.take_fault(), Contains("[freed-pointer]"));
  CHECK(cudaDeviceSynchronize() == cudaErrorIllegalAddress);
  simt::runtime::reset();
}

#if !defined(SIMT_ASAN)
TEST_CASE("the host does not reach device memory", "[simt]") {
  Runtime runtime;
  control().host_guard = true;
  {
    Floats memory(16);
    CHECK(fill(memory, 3, 16, nullptr) == cudaSuccess);
    CHECK(memory.at(5) == 3);
    volatile float* stray = memory.get();
    CHECK(stray[2] == 3);
    CHECK_THAT(runtime.take_fault(), Contains("[host-access]") && Contains("byte 8 of the 64-byte block"));
    CHECK(memory.at(6) == 3);
  }
  control().host_guard = false;
}
#endif

TEST_CASE("what a pointer is", "[simt]") {
  Runtime runtime;
  Floats device(4);
  void* pinned = nullptr;
  REQUIRE(cudaHostAlloc(&pinned, 64, cudaHostAllocMapped) == cudaSuccess);
  int host = 0;
  cudaPointerAttributes attributes;
  CHECK(cudaPointerGetAttributes(&attributes, device + 1) == cudaSuccess);
  CHECK(attributes.type == cudaMemoryTypeDevice);
  CHECK(cudaPointerGetAttributes(&attributes, pinned) == cudaSuccess);
  CHECK(attributes.type == cudaMemoryTypeHost);
  CHECK(cudaPointerGetAttributes(&attributes, &host) == cudaSuccess);
  CHECK(attributes.type == cudaMemoryTypeUnregistered);
  void* mapped = nullptr;
  CHECK(cudaHostGetDevicePointer(&mapped, pinned, 0) == cudaSuccess);
  CHECK(mapped == pinned);
  CHECK(cudaFreeHost(pinned) == cudaSuccess);
}
