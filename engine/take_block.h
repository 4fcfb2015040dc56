// The one way in which the engine takes memory.
#pragma once

#include "reprise/memory.h"

namespace reprise::detail {

/// A block of the device's pool, booked under the open segment and what this thread is doing, which is added
/// to `origin`. Lets go of spared segments first. Throws OutOfMemory, which also says what the tape knows of
/// a remedy.
MemoryBlock* take_block(Device device, std::size_t bytes, Category category, Origin origin);

}  // namespace reprise::detail
