// Calls that a test makes fail, and the counts that a sweep over them needs.
#include <catch2/catch.hpp>

#include "runtime_kernels.h"

using namespace runtime_test;
using simt::runtime::control;

namespace {

// A step as an engine makes it: true when every call succeeded. Gives back what it took, whatever happens.
bool step() {
  void *device = nullptr, *pinned = nullptr;
  cudaStream_t stream = nullptr;
  const bool done = cudaStreamCreate(&stream) == cudaSuccess && cudaMalloc(&device, 64) == cudaSuccess &&
                    cudaMallocHost(&pinned, 64) == cudaSuccess &&
                    fill(static_cast<float*>(device), 1, 16, stream) == cudaSuccess &&
                    cudaMemcpyAsync(pinned, device, 64, cudaMemcpyDeviceToHost, stream) == cudaSuccess &&
                    cudaStreamSynchronize(stream) == cudaSuccess;
  simt::runtime::drain();
  bool released = true;
  if (device != nullptr) released = cudaFree(device) == cudaSuccess && released;
  if (pinned != nullptr) released = cudaFreeHost(pinned) == cudaSuccess && released;
  if (stream != nullptr) released = cudaStreamDestroy(stream) == cudaSuccess && released;
  return done && released;
}

}  // namespace

TEST_CASE("calls are counted by name", "[simt]") {
  Runtime runtime;
  CHECK(step());
  CHECK(simt::runtime::calls("cudaMalloc") == 1);
  CHECK(simt::runtime::calls("cudaLaunchKernel") == 1);
  CHECK(simt::runtime::calls("cudaFree") == 1);
  CHECK(simt::runtime::calls("cudaEventCreate") == 0);
  CHECK(simt::runtime::calls_total() == 6);
  CHECK(simt::runtime::allocations_total() == 2);
  CHECK(simt::runtime::synchronisations() == 3);  // the wait and the two frees
  simt::runtime::reset_calls();
  CHECK(simt::runtime::calls("cudaMalloc") == 0);
}

TEST_CASE("every call of a step can be made to fail, and the step recovers", "[simt]") {
  Runtime runtime;
  const bool releases = GENERATE(false, true);
  control().fail_releases = releases;
  CHECK(step());
  const std::int64_t calls = simt::runtime::calls_total();
  CHECK(calls == (releases ? 9 : 6));
  for (std::int64_t n = 0; n < calls; ++n) {
    control().fail_call = n;
    CAPTURE(n);
    CHECK_FALSE(step());
    CHECK(control().fail_call == -1);
    CHECK(cudaGetLastError() == cudaErrorUnknown);
  }
  control().fail_call = calls;
  CHECK(step());
  CHECK(control().fail_call == 0);
}

TEST_CASE("the n-th allocation fails", "[simt]") {
  Runtime runtime;
  void *first = nullptr, *second = nullptr;
  control().fail_allocation = 1;
  CHECK(cudaMalloc(&first, 4) == cudaSuccess);
  CHECK(cudaMallocHost(&second, 4) == cudaErrorMemoryAllocation);
  CHECK(cudaMallocHost(&second, 4) == cudaSuccess);
  CHECK(cudaFree(first) == cudaSuccess);
  CHECK(cudaFreeHost(second) == cudaSuccess);
  cudaGetLastError();
}

TEST_CASE("a chosen call fails with a chosen error, once or for good", "[simt]") {
  Runtime runtime;
  control().fail_name = "cudaStreamSynchronize";
  control().fail_call = 1;
  control().fail_cuda = cudaErrorLaunchTimeout;
  CHECK(cudaDeviceSynchronize() == cudaSuccess);
  CHECK(cudaStreamSynchronize(nullptr) == cudaSuccess);
  CHECK(cudaStreamSynchronize(nullptr) == cudaErrorLaunchTimeout);
  CHECK(cudaGetLastError() == cudaErrorLaunchTimeout);
  CHECK(cudaStreamSynchronize(nullptr) == cudaSuccess);
  control().fail_call = 0;
  control().fail_for_good = true;
  CHECK(cudaStreamSynchronize(nullptr) == cudaErrorLaunchTimeout);
  CHECK(cudaDeviceSynchronize() == cudaErrorLaunchTimeout);
  CHECK(cudaPeekAtLastError() == cudaErrorLaunchTimeout);
  simt::runtime::reset();
  CHECK(cudaDeviceSynchronize() == cudaSuccess);
}
