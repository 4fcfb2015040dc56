// Checks of what a library call is given: pointers, extents, workspace.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>

#include "simt/runtime/memory.h"
#include "simt/runtime/streams.h"

namespace simt::runtime {

/// False, with a fault reported, unless all bytes lie in one live block of device memory.
inline bool operand_is_good(Range bytes, const std::string& who) {
  if (is_device_address(bytes.begin)) return device_range_is_live(bytes, who);
  report_host_fault("host-pointer", who + " is no device memory");
  return false;
}

/// False, with a fault reported, for an address that is not a multiple of the alignment.
inline bool operand_is_aligned(const void* address, std::size_t alignment, const std::string& who) {
  if (alignment == 0 || reinterpret_cast<std::uintptr_t>(address) % alignment == 0) return true;
  report_host_fault("misaligned-operand", who + " is not aligned to the " + std::to_string(alignment) +
                                              " bytes that were promised");
  return false;
}

/// False, with a fault reported, when a result lies over an operand.
inline bool operands_are_apart(Range result, Range operand, const std::string& who) {
  if (!result.overlaps(operand)) return true;
  report_host_fault("overlapping-operands", who);
  return false;
}

/// What a library leaves in its workspace is nothing that a caller may read.
inline void spoil_workspace(Range workspace) {
  if (workspace.bytes == 0) return;
  std::memset(const_cast<char*>(workspace.begin), 0xff, workspace.bytes);
  mark_written(workspace);
}

}  // namespace simt::runtime
