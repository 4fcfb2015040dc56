// Kernel launches: what a device could not take, and the attributes of kernels.
#include <algorithm>
#include <map>
#include <utility>

#include "simt/runtime/call.h"
#include "simt/runtime/control.h"
#include "simt/runtime/device_limits.h"
#include "simt/runtime/host_memory.h"
#include "simt/runtime/streams.h"

namespace simt::runtime {
namespace {

// Never destroyed: programs release memory and handles while they exit.
std::map<const void*, std::size_t>& allowed_shared_bytes = *new std::map<const void*, std::size_t>;

// The pointers that were checked for the launch that comes next on this thread.
struct CheckedArguments {
  const char* kernel = nullptr;
  int last_index = 0;
  std::vector<Range> memory;
};
thread_local CheckedArguments checked;

void remember_argument(const char* kernel, int index, Range memory) {
  if (checked.kernel != kernel || index <= checked.last_index) checked.memory.clear();
  checked.kernel = kernel;
  checked.last_index = index;
  checked.memory.push_back(memory);
}

std::string shape_text(const dim3& shape) {
  return "(" + std::to_string(shape.x) + ", " + std::to_string(shape.y) + ", " + std::to_string(shape.z) +
         ")";
}

bool shape_is_good(const Launch& launch) {
  const dim3 &grid = launch.grid, &block = launch.block;
  const bool some = grid.x != 0 && grid.y != 0 && grid.z != 0 && block.x != 0 && block.y != 0 && block.z != 0;
  const bool grid_fits = grid.x <= kMaxGridX && grid.y <= kMaxGridYZ && grid.z <= kMaxGridYZ;
  const bool block_fits = block.x <= kMaxBlockThreads && block.y <= kMaxBlockThreads &&
                          block.z <= kMaxBlockZ &&
                          std::size_t{block.x} * block.y * block.z <= kMaxBlockThreads;
  return some && grid_fits && block_fits;
}

std::size_t shared_limit(const void* function) {
  const auto found = allowed_shared_bytes.find(function);
  const std::size_t allowed = found != allowed_shared_bytes.end()
                                  ? std::max(found->second, kDefaultSharedBytes)
                                  : kDefaultSharedBytes;
  // What was allowed may be from before a test chose another device.
  return std::min(allowed, control().max_shared_bytes);
}

cudaError_t check_launch(const Launch& launch) {
  if (!shape_is_good(launch)) {
    return fault(cudaErrorInvalidConfiguration, "launch-shape",
                 std::string(launch.name) + ": grid " + shape_text(launch.grid) + ", block " +
                     shape_text(launch.block));
  }
  if (launch.shared_bytes > shared_limit(launch.function)) {
    return fault(cudaErrorInvalidValue, "shared-memory",
                 std::string(launch.name) + ": " + with_commas(launch.shared_bytes) + " bytes, where " +
                     with_commas(shared_limit(launch.function)) +
                     " are allowed; cudaFuncSetAttribute allows up to " +
                     with_commas(control().max_shared_bytes));
  }
  return cudaSuccess;
}

cudaError_t blocks_that_fit(int* count, const void* function, int threads, std::size_t shared_bytes) {
  if (count == nullptr || threads <= 0 || static_cast<unsigned>(threads) > kMaxBlockThreads)
    return cudaErrorInvalidValue;
  const std::size_t warps = (static_cast<std::size_t>(threads) + kWarpThreads - 1) / kWarpThreads;
  std::size_t fit =
      std::min<std::size_t>(kMaxBlocksPerMultiprocessor, kThreadsPerMultiprocessor / (warps * kWarpThreads));
  if (shared_bytes > shared_limit(function)) fit = 0;
  fit = std::min(fit, kSharedBytesPerMultiprocessor / (shared_bytes + kReservedSharedBytes));
  *count = static_cast<int>(fit);
  return cudaSuccess;
}

}  // namespace
}  // namespace simt::runtime

namespace simt {

using namespace runtime;

bool check_pointer_argument(const void* pointer, const char* kernel, int index) {
  if (pointer == nullptr) return true;
  const std::lock_guard lock(runtime_mutex());
  const std::string who = std::string(kernel) + ", argument " + std::to_string(index);
  if (is_device_address(pointer)) {
    const Block* block = find_block(pointer);
    // One past the end is a good pointer too.
    if (block == nullptr) block = find_block(static_cast<const char*>(pointer) - 1);
    if (block == nullptr) return device_range_is_live(range(pointer, 1), who);
    remember_argument(kernel, index, block->bytes_range());
    return true;
  }
  if (is_pinned(pointer)) {
    remember_argument(kernel, index, pinned_range(pointer));
    return true;
  }
  report_host_fault("host-pointer", who + " points to host memory");
  return false;
}

cudaError_t enqueue_kernel(const Launch& launch, void (*destroy)(void* parameters), cudaStream_t stream) {
  const std::shared_ptr<void> parameters(const_cast<void*>(launch.parameters), destroy);
  const CheckedArguments arguments = std::exchange(checked, {});
  return call("cudaLaunchKernel", kPlain, [&] {
    Work work;
    work.name = launch.name;
    work.type = cudaGraphNodeTypeKernel;
    if (arguments.kernel == launch.name) work.touches = arguments.memory;
    if (const cudaError_t error = check_launch(launch); error != cudaSuccess) return error;
    // The launch keeps its own copy of the name, and of the parameters, for as long as a graph may repeat it.
    work.run = [launch, parameters, name = work.name] {
      Launch named = launch;
      named.name = name.c_str();
      const OpenDeviceMemory open;
      return run_kernel(named);
    };
    return enqueue(stream, std::move(work));
  });
}

}  // namespace simt

using namespace simt::runtime;

cudaError_t cudaFuncSetAttribute(const void* function, cudaFuncAttribute attribute, int value) {
  return call(__func__, kPlain, [&] {
    if (function == nullptr) return cudaErrorInvalidDeviceFunction;
    if (attribute == cudaFuncAttributePreferredSharedMemoryCarveout) return cudaSuccess;
    if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudaErrorInvalidValue;
    if (value < 0 || static_cast<std::size_t>(value) > control().max_shared_bytes) {
      return fault(cudaErrorInvalidValue, "shared-memory",
                   "cudaFuncSetAttribute asks for " + std::to_string(value) + " bytes of " +
                       with_commas(control().max_shared_bytes));
    }
    allowed_shared_bytes[function] = static_cast<std::size_t>(value);
    return cudaSuccess;
  });
}

cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, const void* function) {
  return call(__func__, kPlain, [&] {
    if (attributes == nullptr) return cudaErrorInvalidValue;
    if (function == nullptr) return cudaErrorInvalidDeviceFunction;
    *attributes = cudaFuncAttributes();
    attributes->maxThreadsPerBlock = static_cast<int>(kMaxBlockThreads);
    attributes->maxDynamicSharedSizeBytes = static_cast<int>(shared_limit(function));
    attributes->numRegs = 32;
    attributes->ptxVersion = attributes->binaryVersion = kComputeMajor * 10 + kComputeMinor;
    return cudaSuccess;
  });
}

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* count, const void* function, int threads,
                                                          std::size_t shared_bytes) {
  return call(__func__, kPlain, [&] { return blocks_that_fit(count, function, threads, shared_bytes); });
}

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* count, const void* function,
                                                                   int threads, std::size_t shared_bytes,
                                                                   unsigned) {
  return call(__func__, kPlain, [&] { return blocks_that_fit(count, function, threads, shared_bytes); });
}
