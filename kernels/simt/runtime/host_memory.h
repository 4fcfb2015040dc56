// Pinned host memory.
#pragma once

#include <string>

#include "simt/runtime/memory.h"

namespace simt::runtime {

/// True when pinned memory holds the address.
bool is_pinned(const void* address);

/// All bytes of the pinned memory that holds the address; none when there is no such memory.
Range pinned_range(const void* address);

/// False, with a fault reported, when bytes that begin in pinned memory run past its end.
bool pinned_range_is_live(Range bytes, const std::string& who);

/// One line for each live block of pinned memory.
std::string list_pinned_blocks();

std::size_t pinned_block_count();

}  // namespace simt::runtime
