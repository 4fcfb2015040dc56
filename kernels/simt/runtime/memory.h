// Device memory: blocks between red zones and guard pages, in one reserved range of addresses.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "simt/seam.h"

namespace simt::runtime {

/// Bytes somewhere in memory.
struct Range {
  const char* begin = nullptr;
  std::size_t bytes = 0;

  const char* end() const { return begin + bytes; }
  bool overlaps(const Range& other) const { return begin < other.end() && other.begin < end(); }
};

inline Range range(const void* begin, std::size_t bytes) { return {static_cast<const char*>(begin), bytes}; }

/// One allocation of device memory.
struct Block {
  char* begin = nullptr;
  std::size_t bytes = 0;
  char* pages = nullptr;  // the red zones lie between the pages and the bytes
  std::size_t page_bytes = 0;
  std::uint64_t number = 0;
  std::array<void*, 16> frames{};  // where it was allocated
  int frame_count = 0;

  Range bytes_range() const { return range(begin, bytes); }
};

/// Every allocation of device memory is aligned to this many bytes.
constexpr std::size_t kDeviceAlignment = 512;

/// True for every address of the device's range, allocated or not.
bool is_device_address(const void* address);

/// The live block that holds the address; null when there is none.
const Block* find_block(const void* address);

/// Allocates device memory, filled with NaN.
cudaError_t allocate_device(void** pointer, std::size_t bytes);

/// Frees a block; reports a pointer that no block begins at.
cudaError_t release_device(void* pointer, const char* who);

/// False, with a fault reported, unless one live block holds all the bytes.
bool device_range_is_live(Range bytes, const std::string& who);

/// Reports a block whose red zones were written to; returns false then.
bool red_zones_are_intact(const Block& block, const std::string& when);

/// The same for every live block.
bool all_red_zones_are_intact(const std::string& when);

/// One line for each live block.
std::string list_device_blocks();

std::size_t device_block_count();

/// Tells the race checker that bytes were written from outside a kernel.
void mark_written(Range bytes);

/// Takes a backtrace that leak_report can name.
int take_backtrace(std::array<void*, 16>& frames);

/// "program(function+0x12) < ..." for the callers of the runtime.
std::string describe_backtrace(const std::array<void*, 16>& frames, int count);

/// "4,096" for messages.
std::string with_commas(std::size_t number);

/// Device memory is accessible while one of these lives.
class OpenDeviceMemory {
 public:
  OpenDeviceMemory() { open_device_memory(true); }
  ~OpenDeviceMemory() { open_device_memory(false); }
  OpenDeviceMemory(const OpenDeviceMemory&) = delete;
  OpenDeviceMemory& operator=(const OpenDeviceMemory&) = delete;
};

}  // namespace simt::runtime
