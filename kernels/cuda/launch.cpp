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

}  // namespace reprise::kernels::cuda
