// Pinned host memory: allocation, and what a host address is to the device.
#include "simt/runtime/host_memory.h"

#include <cstdlib>
#include <cstring>
#include <map>

#include "simt/runtime/call.h"
#include "simt/runtime/streams.h"

namespace simt::runtime {
namespace {

constexpr std::size_t kPinnedAlignment = 4096;

struct Pinned {
  std::size_t bytes = 0;
  bool owned = false;  // allocated here, rather than registered
  unsigned flags = 0;
};
// Never destroyed: programs release memory and handles while they exit.
std::map<const char*, Pinned>& pinned = *new std::map<const char*, Pinned>;

const std::pair<const char* const, Pinned>* find_pinned(const void* address) {
  const auto* byte = static_cast<const char*>(address);
  const auto after = pinned.upper_bound(byte);
  if (after == pinned.begin()) return nullptr;
  const auto found = std::prev(after);
  return byte < found->first + found->second.bytes ? &*found : nullptr;
}

cudaError_t allocate_pinned(void** pointer, std::size_t bytes, unsigned flags) {
  if (pointer == nullptr) return cudaErrorInvalidValue;
  *pointer = nullptr;
  if (bytes == 0) return cudaSuccess;
  void* memory = nullptr;
  if (posix_memalign(&memory, kPinnedAlignment, bytes) != 0) return cudaErrorMemoryAllocation;
  std::memset(memory, 0xff, bytes);
  pinned[static_cast<const char*>(memory)] = {bytes, true, flags};
  *pointer = memory;
  return cudaSuccess;
}

cudaError_t release_pinned(void* pointer, bool owned, const char* who) {
  const auto found = pinned.find(static_cast<const char*>(pointer));
  if (found == pinned.end() || found->second.owned != owned) {
    report_host_fault("not-allocated",
                      std::string(who) + " of a pointer that is not pinned memory of its kind");
    return owned ? cudaErrorInvalidValue : cudaErrorHostMemoryNotRegistered;
  }
  const cudaError_t in_use = finish_work_on(range(pointer, found->second.bytes), who);
  pinned.erase(found);
  if (owned) std::free(pointer);
  return in_use;
}

}  // namespace

bool is_pinned(const void* address) { return find_pinned(address) != nullptr; }

Range pinned_range(const void* address) {
  const auto* block = find_pinned(address);
  return block != nullptr ? Range{block->first, block->second.bytes} : Range{};
}

bool pinned_range_is_live(Range bytes, const std::string& who) {
  const auto* block = find_pinned(bytes.begin);
  if (block == nullptr || bytes.end() <= block->first + block->second.bytes) return true;
  report_host_fault("past-the-end", who + ": " + with_commas(bytes.bytes) + " bytes at byte " +
                                        with_commas(static_cast<std::size_t>(bytes.begin - block->first)) +
                                        " of " + with_commas(block->second.bytes) +
                                        " bytes of pinned memory");
  return false;
}

std::string list_pinned_blocks() {
  std::string text;
  for (const auto& [begin, block] : pinned) {
    text += std::string(block.owned ? "pinned" : "registered") + " memory: " + with_commas(block.bytes) +
            " bytes\n";
  }
  return text;
}

std::size_t pinned_block_count() { return pinned.size(); }

}  // namespace simt::runtime

bool simt::kernels_may_reach(const void* host_address, std::size_t bytes) {
  const auto* block = simt::runtime::find_pinned(host_address);
  return block != nullptr &&
         static_cast<const char*>(host_address) + bytes <= block->first + block->second.bytes;
}

using namespace simt::runtime;

cudaError_t cudaMallocHost(void** pointer, std::size_t bytes) {
  return call(__func__, kAllocates | kUnsafe,
              [&] { return allocate_pinned(pointer, bytes, cudaHostAllocDefault); });
}

cudaError_t cudaHostAlloc(void** pointer, std::size_t bytes, unsigned flags) {
  return call(__func__, kAllocates | kUnsafe, [&] { return allocate_pinned(pointer, bytes, flags); });
}

cudaError_t cudaFreeHost(void* pointer) {
  return call(__func__, kRelease | kSynchronises | kUnsafe, [&] {
    return pointer == nullptr ? cudaSuccess : release_pinned(pointer, true, "cudaFreeHost");
  });
}

cudaError_t cudaHostRegister(void* pointer, std::size_t bytes, unsigned flags) {
  return call(__func__, kUnsafe, [&] {
    if (pointer == nullptr || bytes == 0) return cudaErrorInvalidValue;
    if (is_pinned(pointer)) return cudaErrorHostMemoryAlreadyRegistered;
    pinned[static_cast<const char*>(pointer)] = {bytes, false, flags};
    return cudaSuccess;
  });
}

cudaError_t cudaHostUnregister(void* pointer) {
  return call(__func__, kRelease | kSynchronises | kUnsafe,
              [&] { return release_pinned(pointer, false, "cudaHostUnregister"); });
}

cudaError_t cudaHostGetDevicePointer(void** device, void* host, unsigned flags) {
  return call(__func__, kPlain, [&] {
    if (device == nullptr || flags != 0 || !is_pinned(host)) return cudaErrorInvalidValue;
    *device = host;  // unified addresses
    return cudaSuccess;
  });
}

cudaError_t cudaHostGetFlags(unsigned* flags, void* host) {
  return call(__func__, kPlain, [&] {
    const auto* block = find_pinned(host);
    if (flags == nullptr || block == nullptr) return cudaErrorInvalidValue;
    *flags = block->second.flags;
    return cudaSuccess;
  });
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* pointer) {
  return call(__func__, kPlain, [&] {
    if (attributes == nullptr) return cudaErrorInvalidValue;
    *attributes = cudaPointerAttributes();
    auto* address = const_cast<void*>(pointer);
    if (find_block(pointer) != nullptr) {
      attributes->type = cudaMemoryTypeDevice;
      attributes->devicePointer = address;
    } else if (is_pinned(pointer)) {
      attributes->type = cudaMemoryTypeHost;
      attributes->devicePointer = attributes->hostPointer = address;
    } else {
      attributes->type = cudaMemoryTypeUnregistered;
      attributes->hostPointer = address;
      attributes->device = cudaInvalidDeviceId;
    }
    return cudaSuccess;
  });
}
