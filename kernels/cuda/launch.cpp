#include <stdexcept>

#include "cuda/host.h"

namespace reprise::kernels::cuda {

int multiprocessors() {
  // One process uses one model of device: all of them are asked through the current one.
  static const int count = [] {
    int value = 0;
    const int device = current_device("multiprocessors");
    check(cudaDeviceGetAttribute(&value, cudaDevAttrMultiProcessorCount, device), "multiprocessors");
    return value;
  }();
  return count;
}

void require_workspace(const char* operation, const Workspace& workspace, std::size_t bytes) {
  if (workspace.bytes < bytes)
    throw std::logic_error(std::string("[") + operation + "] workspace of " +
                           std::to_string(workspace.bytes) + " bytes, " + std::to_string(bytes) +
                           " are needed");
}

}  // namespace reprise::kernels::cuda
