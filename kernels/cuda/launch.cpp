#include <algorithm>

#include "cuda/host.h"

namespace reprise::kernels::cuda {

int multiprocessors() {
  // One process uses one model of device: all of them are asked through the current one.
  static const int count = [] {
    int value = 0;
    const int device = current_device("multiprocessors");
    check(cudaDeviceGetAttribute(&value, cudaDevAttrMultiProcessorCount, device), "multiprocessors");
    return std::min(value, kMostMultiprocessors);
  }();
  return count;
}

// Asked for at every call, which costs far less than the launch that follows: nothing is kept that could be
// another device's.
std::size_t max_shared_bytes(const char* operation) {
  int value = 0;
  check(cudaDeviceGetAttribute(&value, cudaDevAttrMaxSharedMemoryPerBlockOptin, current_device(operation)),
        operation);
  return static_cast<std::size_t>(value);
}

}  // namespace reprise::kernels::cuda
