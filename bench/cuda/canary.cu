// Deliberately wrong: `reprise_bench_canary memory | race | initial` does what compute-sanitizer's memcheck,
// racecheck or initcheck must report. A tool that says nothing here would say nothing about our kernels
// either.
#include <cuda_runtime.h>

#include <cstdio>
#include <cstring>

namespace {

constexpr unsigned kThreads = 128;

/// The last thread writes past the end.
__global__ void write_past(int* data) { data[threadIdx.x + 1] = 1; }

/// Each thread reads what its neighbour in another warp writes, without a barrier.
__global__ void race(int* data) {
  __shared__ int shared[kThreads];
  shared[threadIdx.x] = static_cast<int>(threadIdx.x);
  data[threadIdx.x] = shared[(threadIdx.x + kThreads / 2) % kThreads];
}

/// Reads what nothing has written.
__global__ void read_unwritten(const int* from, int* to) { to[threadIdx.x] = from[threadIdx.x]; }

}  // namespace

int main(int argc, char** argv) {
  const char* const kind = argc == 2 ? argv[1] : "";
  int *data = nullptr, *other = nullptr;
  if (cudaMalloc(&data, kThreads * sizeof(int)) != cudaSuccess ||
      cudaMalloc(&other, kThreads * sizeof(int)) != cudaSuccess) {
    std::fprintf(stderr, "canary: no device memory\n");
    return 2;
  }
  if (std::strcmp(kind, "memory") == 0) {
    write_past<<<1, kThreads>>>(data);
  } else if (std::strcmp(kind, "race") == 0) {
    race<<<1, kThreads>>>(data);
  } else if (std::strcmp(kind, "initial") == 0) {
    read_unwritten<<<1, kThreads>>>(data, other);
  } else {
    std::fprintf(stderr, "usage: reprise_bench_canary memory | race | initial\n");
    return 2;
  }
  cudaDeviceSynchronize();  // says nothing by itself: the tool must
  return 0;
}
