// Streams and events of the stand-in runtime: what is ordered, what is not, and what a host sees too early.
#include <catch2/catch.hpp>

#include <cmath>
#include <set>
#include <vector>

#include "runtime_kernels.h"

using namespace runtime_test;
using Catch::Contains;
using simt::runtime::control;
using simt::runtime::Schedule;

namespace {

float* pinned_floats(int count) {
  void* memory = nullptr;
  REQUIRE(cudaMallocHost(&memory, static_cast<std::size_t>(count) * sizeof(float)) == cudaSuccess);
  return static_cast<float*>(memory);
}

}  // namespace

TEST_CASE("work runs when something waits for it", "[simt]") {
  Runtime runtime;
  Stream stream, other;
  Floats a(4), b(4);
  CHECK(fill(a, 1, 4, stream) == cudaSuccess);
  CHECK(fill(b, 1, 4, other) == cudaSuccess);
  CHECK(simt::runtime::queued_operations() == 2);
  CHECK(cudaStreamQuery(stream) == cudaErrorNotReady);
  CHECK(cudaStreamSynchronize(stream) == cudaSuccess);
  CHECK(cudaStreamQuery(stream) == cudaSuccess);
  CHECK(simt::runtime::queued_operations() == 1);
  CHECK(cudaDeviceSynchronize() == cudaSuccess);
  CHECK(simt::runtime::queued_operations() == 0);
  control().schedule = Schedule::kEager;
  CHECK(fill(b, 2, 4, other) == cudaSuccess);
  CHECK(simt::runtime::queued_operations() == 0);
  CHECK(cudaGetLastError() == cudaSuccess);
}

TEST_CASE("polling a stream or an event ends", "[simt]") {
  Runtime runtime;
  Stream stream;
  Event event;
  Floats a(4);
  for (int i = 0; i < 5; ++i) CHECK(fill(a, 1, 4, stream) == cudaSuccess);
  CHECK(cudaEventRecord(event, stream) == cudaSuccess);
  int polls = 0;
  while (cudaEventQuery(event) == cudaErrorNotReady) ++polls;
  CHECK(polls == 6);
}

TEST_CASE("two streams without an event meet in either order, with an event in one", "[simt]") {
  Runtime runtime;
  control().schedule = Schedule::kShuffled;
  const bool ordered = GENERATE(false, true);
  std::set<float> results;
  Stream first, second;
  Event event;
  Floats a(1);
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    control().seed = seed;
    CHECK(fill(a, 1, 1, first) == cudaSuccess);
    if (ordered) {
      CHECK(cudaEventRecord(event, first) == cudaSuccess);
      CHECK(cudaStreamWaitEvent(second, event, 0) == cudaSuccess);
    }
    CHECK(fill(a, 2, 1, second) == cudaSuccess);
    results.insert(a.at(0));
  }
  CHECK(results == (ordered ? std::set<float>{2} : std::set<float>{1, 2}));
}

TEST_CASE("an event stands for what was recorded last before the wait", "[simt]") {
  Runtime runtime;
  Stream first, second;
  Event event;
  Floats a(1), b(1);
  CHECK(cudaStreamWaitEvent(second, event, 0) == cudaSuccess);  // never recorded: nothing to wait for
  CHECK(cudaEventQuery(event) == cudaSuccess);
  CHECK(fill(a, 1, 1, first) == cudaSuccess);
  CHECK(cudaEventRecord(event, first) == cudaSuccess);
  CHECK(cudaStreamWaitEvent(second, event, 0) == cudaSuccess);
  CHECK(fill(a, 5, 1, first) == cudaSuccess);
  CHECK(cudaEventRecord(event, first) == cudaSuccess);
  CHECK(affine(b, a, 1, 0, 1, second) == cudaSuccess);
  CHECK(cudaStreamSynchronize(second) == cudaSuccess);
  CHECK(simt::runtime::queued_operations() == 2);  // the second fill and record were not needed
  CHECK(b.at(0) == 1);
  CHECK(a.at(0) == 5);
}

TEST_CASE("the legacy stream and blocking streams come after one another", "[simt]") {
  Runtime runtime;
  const auto schedule = GENERATE(Schedule::kLazy, Schedule::kShuffled);
  control().schedule = schedule;
  Stream blocking(cudaStreamDefault), free;
  Floats a(1), b(1);
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    control().seed = seed;
    CHECK(fill(a, 1, 1, blocking) == cudaSuccess);
    CHECK(affine(a, a, 2, 0, 1, nullptr) == cudaSuccess);
    CHECK(affine(a, a, 1, 3, 1, blocking) == cudaSuccess);
    CHECK(cudaStreamSynchronize(blocking) == cudaSuccess);
    CHECK(a.at(0) == 5);
  }
  control().schedule = Schedule::kLazy;
  CHECK(fill(b, 1, 1, free) == cudaSuccess);
  CHECK(cudaStreamSynchronize(nullptr) == cudaSuccess);
  CHECK(simt::runtime::queued_operations() == 1);  // it does not wait for the stream that does not block
  CHECK(cudaDeviceSynchronize() == cudaSuccess);
}

TEST_CASE("pinned memory holds NaN until the copy runs", "[simt]") {
  Runtime runtime;
  Stream stream;
  Floats a(4);
  float* host = pinned_floats(4);
  host[0] = 7;
  CHECK(fill(a, 3, 4, stream) == cudaSuccess);
  CHECK(cudaMemcpyAsync(host, a, 16, cudaMemcpyDeviceToHost, stream) == cudaSuccess);
  CHECK(std::isnan(host[0]));
  CHECK(cudaStreamSynchronize(stream) == cudaSuccess);
  CHECK(host[0] == 3);

  // A copy that reads the memory first must still find what was there.
  host[0] = 9;
  CHECK(cudaMemcpyAsync(a, host, 16, cudaMemcpyHostToDevice, stream) == cudaSuccess);
  CHECK(cudaMemcpyAsync(host, a, 16, cudaMemcpyDeviceToHost, stream) == cudaSuccess);
  CHECK(cudaStreamSynchronize(stream) == cudaSuccess);
  CHECK(host[0] == 9);

  // A copy from pinned memory takes what is there when it runs.
  host[0] = 1;
  CHECK(cudaMemcpyAsync(a, host, 16, cudaMemcpyHostToDevice, stream) == cudaSuccess);
  host[0] = 2;
  CHECK(a.at(0) == 2);
  CHECK(cudaFreeHost(host) == cudaSuccess);
}

TEST_CASE("copies of pageable memory are staged or waited for", "[simt]") {
  Runtime runtime;
  Stream stream;
  Floats a(4);
  std::vector<float> host(4, 1.0f);
  CHECK(cudaMemcpyAsync(a, host.data(), 16, cudaMemcpyHostToDevice, stream) == cudaSuccess);
  host.assign(4, 2.0f);
  CHECK(simt::runtime::synchronisations() == 0);
  CHECK(cudaMemcpyAsync(host.data(), a, 16, cudaMemcpyDeviceToHost, stream) == cudaSuccess);
  CHECK(host[3] == 1);
  CHECK(simt::runtime::synchronisations() == 1);
}

TEST_CASE("host functions run in their place", "[simt]") {
  Runtime runtime;
  Stream stream;
  Floats a(1);
  std::vector<int> order;
  CHECK(fill(a, 1, 1, stream) == cudaSuccess);
  CHECK(cudaLaunchHostFunc(
            stream, [](void* list) { static_cast<std::vector<int>*>(list)->push_back(1); }, &order) ==
        cudaSuccess);
  CHECK(order.empty());
  CHECK(cudaStreamSynchronize(stream) == cudaSuccess);
  CHECK(order == std::vector<int>{1});
  CHECK(cudaLaunchHostFunc(
            stream, [](void*) { cudaDeviceSynchronize(); }, nullptr) == cudaSuccess);
  CHECK(cudaStreamSynchronize(stream) == cudaSuccess);
  CHECK_THAT(runtime.take_fault(),
             Contains("[call-from-host-function]") && Contains("cudaDeviceSynchronize"));
}

TEST_CASE("a destroyed stream finishes its work, and is not to be used", "[simt]") {
  Runtime runtime;
  Floats a(1);
  cudaStream_t stream = nullptr;
  CHECK(cudaStreamCreateWithPriority(&stream, cudaStreamNonBlocking, -3) == cudaSuccess);
  int priority = 0;
  CHECK(cudaStreamGetPriority(stream, &priority) == cudaSuccess);
  CHECK(priority == -3);
  CHECK(fill(a, 4, 1, stream) == cudaSuccess);
  CHECK(cudaStreamDestroy(stream) == cudaSuccess);
  CHECK(a.at(0) == 4);
  CHECK(fill(a, 4, 1, stream) == cudaErrorInvalidResourceHandle);
  CHECK_THAT(runtime.take_fault(), Contains("[invalid-stream]"));
  cudaEvent_t event = nullptr;
  CHECK(cudaEventCreate(&event) == cudaSuccess);
  CHECK(cudaEventDestroy(event) == cudaSuccess);
  CHECK(cudaEventRecord(event, nullptr) == cudaErrorInvalidResourceHandle);
  CHECK_THAT(runtime.take_fault(), Contains("[invalid-event]"));
}

TEST_CASE("elapsed time needs two timed events that happened", "[simt]") {
  Runtime runtime;
  Stream stream;
  Event start(cudaEventDefault), end(cudaEventDefault), untimed;
  Floats a(1);
  float ms = -1;
  CHECK(cudaEventRecord(start, stream) == cudaSuccess);
  CHECK(cudaEventElapsedTime(&ms, start, end) == cudaErrorInvalidResourceHandle);
  CHECK(fill(a, 1, 1, stream) == cudaSuccess);
  CHECK(cudaEventRecord(end, stream) == cudaSuccess);
  CHECK(cudaEventElapsedTime(&ms, start, end) == cudaErrorNotReady);
  CHECK(cudaEventSynchronize(end) == cudaSuccess);
  CHECK(cudaEventElapsedTime(&ms, start, end) == cudaSuccess);
  CHECK(ms >= 0);
  CHECK(cudaEventRecord(untimed, stream) == cudaSuccess);
  CHECK(cudaEventElapsedTime(&ms, start, untimed) == cudaErrorInvalidResourceHandle);
  CHECK(cudaDeviceSynchronize() == cudaSuccess);
  cudaGetLastError();
}

TEST_CASE("a broken device stays broken", "[simt]") {
  Runtime runtime;
  Stream stream;
  float* memory = nullptr;
  REQUIRE(cudaMallocAsync(reinterpret_cast<void**>(&memory), 4, stream) == cudaSuccess);
  CHECK(cudaFreeAsync(memory, stream) == cudaSuccess);
  CHECK(fill(memory, 1, 1, stream) == cudaSuccess);
  CHECK(cudaDeviceSynchronize() == cudaErrorIllegalAddress);
  CHECK(cudaGetLastError() == cudaErrorIllegalAddress);
  CHECK(cudaGetLastError() == cudaErrorIllegalAddress);
  void* more = nullptr;
  CHECK(cudaMalloc(&more, 4) == cudaErrorIllegalAddress);
  CHECK_THAT(runtime.take_fault(), Contains("[freed-pointer]"));
  CHECK(cudaDeviceReset() == cudaErrorIllegalAddress);
  CHECK(cudaDeviceSynchronize() == cudaSuccess);
  cudaGetLastError();
}
