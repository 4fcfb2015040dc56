// Device memory: allocation, red zones, and what an address means.
#include "simt/runtime/memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <map>

#include "simt/emulator/asan.h"
#include "simt/runtime/control.h"
#include "simt/runtime/host_guard.h"

#if defined(SIMT_ASAN)
#define SIMT_NO_ASAN __attribute__((no_sanitize("address")))
#else
#define ASAN_POISON_MEMORY_REGION(address, bytes) ((void)(address), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(address, bytes) ((void)(address), (void)(bytes))
#define SIMT_NO_ASAN
#endif

namespace simt {

DeviceHeap device_heap;

}  // namespace simt

namespace simt::runtime {
namespace {

constexpr std::size_t kPage = 4096;
constexpr std::size_t kHeapBytes = std::size_t{1} << 36;
constexpr unsigned char kRedZone = 0xa5;
constexpr unsigned char kNan = 0xff;
constexpr std::size_t kRememberedBlocks = 1 << 16;

// Never destroyed: programs release memory and handles while they exit.
std::map<const char*, Block>&live = *new std::map<const char*, Block>,
                      &freed = *new std::map<const char*, Block>;
std::size_t live_total = 0, peak = 0;
std::size_t next_offset = kPage;
std::uint64_t allocations = 0;

std::size_t round_up(std::size_t bytes, std::size_t multiple) {
  return (bytes + multiple - 1) / multiple * multiple;
}

bool reserve_heap() {
  if (device_heap.base != nullptr) return true;
  for (std::size_t bytes = kHeapBytes; bytes >= kHeapBytes >> 6; bytes /= 2) {
    void* base = mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) continue;
    device_heap = {static_cast<char*>(base), bytes};
    return true;
  }
  return false;
}

// Addresses are used once, so that a stale pointer never meets a new block; only when all were used are gaps
// reused.
char* find_pages(std::size_t bytes) {
  if (next_offset + bytes <= device_heap.bytes) {
    char* pages = device_heap.base + next_offset;
    next_offset += bytes;
    return pages;
  }
  char* gap = device_heap.base + kPage;
  for (const auto& [begin, block] : live) {
    if (gap + bytes <= block.pages) break;
    gap = block.pages + block.page_bytes + kPage;
  }
  if (gap + bytes > device_heap.base + device_heap.bytes) return nullptr;
  std::erase_if(freed, [&](const auto& entry) {
    return entry.second.pages < gap + bytes && gap < entry.second.pages + entry.second.page_bytes;
  });
  return gap;
}

SIMT_NO_ASAN void fill_red_zones(const Block& block) {
  for (char* byte = block.pages; byte < block.begin; ++byte) *byte = static_cast<char>(kRedZone);
  for (char* byte = block.begin + block.bytes; byte < block.pages + block.page_bytes; ++byte) {
    *byte = static_cast<char>(kRedZone);
  }
}

SIMT_NO_ASAN const char* first_changed(const char* begin, const char* end) {
  for (const char* byte = begin; byte < end; ++byte) {
    if (static_cast<unsigned char>(*byte) != kRedZone) return byte;
  }
  return nullptr;
}

std::string block_text(const Block& block) {
  return with_commas(block.bytes) + "-byte block #" + std::to_string(block.number);
}

const Block* nearest(const std::map<const char*, Block>& blocks, const char* address) {
  const Block* best = nullptr;
  std::size_t best_distance = 0;
  const auto consider = [&](const Block& block) {
    const bool before = address < block.begin;
    const auto distance =
        static_cast<std::size_t>(before ? block.begin - address : address - (block.begin + block.bytes));
    if (best == nullptr || distance < best_distance) best = &block, best_distance = distance;
  };
  const auto after = blocks.upper_bound(address);
  if (after != blocks.begin()) {
    const Block& block = std::prev(after)->second;
    if (address < block.begin + block.bytes) return &block;
    consider(block);
  }
  if (after != blocks.end()) consider(after->second);
  return best;
}

std::string position_in(const Block& block, const char* address, const char* state) {
  const std::string text = std::string(state) + block_text(block);
  if (address < block.begin) {
    return with_commas(static_cast<std::size_t>(block.begin - address)) + " bytes before the " + text;
  }
  const auto offset = static_cast<std::size_t>(address - block.begin);
  if (offset >= block.bytes) return with_commas(offset - block.bytes) + " bytes past the end of the " + text;
  return "byte " + with_commas(offset) + " of the " + text;
}

void remember_freed(const Block& block) {
  if (freed.size() == kRememberedBlocks) freed.erase(freed.begin());
  freed[block.begin] = block;
}

}  // namespace

bool is_device_address(const void* address) {
  const auto* byte = static_cast<const char*>(address);
  return device_heap.base != nullptr && byte >= device_heap.base &&
         byte < device_heap.base + device_heap.bytes;
}

const Block* find_block(const void* address) {
  const auto* byte = static_cast<const char*>(address);
  const auto after = live.upper_bound(byte);
  if (after == live.begin()) return nullptr;
  const Block& block = std::prev(after)->second;
  return byte < block.begin + block.bytes ? &block : nullptr;
}

cudaError_t allocate_device(void** pointer, std::size_t bytes) {
  if (pointer == nullptr) return cudaErrorInvalidValue;
  *pointer = nullptr;
  if (bytes == 0) return cudaSuccess;
  if (live_total > control().capacity || bytes > control().capacity - live_total)
    return cudaErrorMemoryAllocation;
  if (!reserve_heap()) return cudaErrorMemoryAllocation;
  const std::size_t aligned = round_up(bytes, kDeviceAlignment);
  Block block;
  block.page_bytes = round_up(aligned, kPage);
  block.pages = find_pages(block.page_bytes + kPage);  // the page after it stays inaccessible
  if (block.pages == nullptr) return cudaErrorMemoryAllocation;
  if (mprotect(block.pages, block.page_bytes, PROT_READ | PROT_WRITE) != 0) return cudaErrorMemoryAllocation;
  // The block ends where the pages end, as near as alignment allows: most overruns fault at once.
  block.begin = block.pages + (block.page_bytes - aligned);
  block.bytes = bytes;
  block.number = ++allocations;
  block.frame_count = take_backtrace(block.frames);
  fill_red_zones(block);
  ASAN_POISON_MEMORY_REGION(block.pages, block.page_bytes);
  ASAN_UNPOISON_MEMORY_REGION(block.begin, block.bytes);
  std::memset(block.begin, kNan, bytes);
  if (race_hooks.set_written != nullptr) race_hooks.set_written(block.begin, bytes, false);
  live[block.begin] = block;
  live_total += bytes;
  peak = std::max(peak, live_total);
  shut_device_memory();
  *pointer = block.begin;
  return cudaSuccess;
}

cudaError_t release_device(void* pointer, const char* who) {
  if (pointer == nullptr) return cudaSuccess;
  const auto* address = static_cast<const char*>(pointer);
  const auto found = live.find(address);
  if (found == live.end()) {
    const auto old = freed.find(address);
    if (old != freed.end()) {
      report_host_fault("double-free", std::string(who) + " of the " + block_text(old->second));
      return cudaErrorInvalidValue;
    }
    report_host_fault("not-allocated", std::string(who) + " of " + describe_device_address(pointer));
    return cudaErrorInvalidValue;
  }
  const Block block = found->second;
  const bool intact = red_zones_are_intact(block, who);
  live.erase(found);
  live_total -= block.bytes;
  remember_freed(block);
  if (race_hooks.forget != nullptr) race_hooks.forget(block.begin, block.bytes);
  madvise(block.pages, block.page_bytes, MADV_DONTNEED);
  mprotect(block.pages, block.page_bytes, PROT_NONE);
  // A fault in memory that is gone shall read as such, not as an ASan report of a red zone that may be
  // reused.
  ASAN_UNPOISON_MEMORY_REGION(block.pages, block.page_bytes);
  return intact ? cudaSuccess : cudaErrorIllegalAddress;
}

bool device_range_is_live(Range bytes, const std::string& who) {
  if (bytes.bytes == 0) return true;
  const Block* block = find_block(bytes.begin);
  if (block == nullptr) {
    const bool was_freed = nearest(freed, bytes.begin) != nullptr &&
                           nearest(freed, bytes.begin)->bytes_range().overlaps({bytes.begin, 1});
    report_host_fault(was_freed ? "freed-pointer" : "stray-pointer",
                      who + ": " + describe_device_address(bytes.begin));
    return false;
  }
  if (bytes.end() > block->begin + block->bytes) {
    report_host_fault("past-the-end", who + ": " + with_commas(bytes.bytes) + " bytes at " +
                                          describe_device_address(bytes.begin));
    return false;
  }
  return true;
}

bool red_zones_are_intact(const Block& block, const std::string& when) {
  const OpenDeviceMemory open;
  const char* changed = first_changed(block.pages, block.begin);
  if (changed == nullptr) changed = first_changed(block.begin + block.bytes, block.pages + block.page_bytes);
  if (changed == nullptr) return true;
  report_host_fault("red-zone", "found by " + when + ": a write " + position_in(block, changed, "") +
                                    ", allocated at " + describe_backtrace(block.frames, block.frame_count));
  fill_red_zones(block);  // one report for one write
  return false;
}

bool all_red_zones_are_intact(const std::string& when) {
  const OpenDeviceMemory open;
  bool intact = true;
  for (const auto& [begin, block] : live) intact = red_zones_are_intact(block, when) && intact;
  return intact;
}

std::string list_device_blocks() {
  std::string text;
  for (const auto& [begin, block] : live) {
    text += "device memory: " + block_text(block) + ", allocated at " +
            describe_backtrace(block.frames, block.frame_count) + '\n';
  }
  return text;
}

std::size_t device_block_count() { return live.size(); }

void mark_written(Range bytes) {
  if (race_hooks.set_written != nullptr && is_device_address(bytes.begin)) {
    race_hooks.set_written(bytes.begin, bytes.bytes, true);
  }
}

void protect_live_blocks(int protection) {
  for (const auto& [begin, block] : live) mprotect(block.pages, block.page_bytes, protection);
}

std::size_t live_bytes() { return live_total; }

std::size_t peak_bytes() { return peak; }

void reset_peak() { peak = live_total; }

}  // namespace simt::runtime

namespace simt {

std::string describe_device_address(const void* pointer) {
  using namespace runtime;
  if (!is_device_address(pointer)) return "host address";
  const auto* address = static_cast<const char*>(pointer);
  if (const Block* block = find_block(pointer)) return position_in(*block, address, "");
  const Block* old = nearest(freed, address);
  if (old != nullptr && address >= old->pages && address < old->pages + old->page_bytes) {
    return position_in(*old, address, "freed ");
  }
  if (const Block* block = nearest(live, address)) return position_in(*block, address, "");
  return "device memory that was never allocated";
}

}  // namespace simt
