// Memory for the tape's own small records (nodes, values, storages), recycled per thread: a step makes and
// frees thousands of them, always of the same few sizes.
#pragma once

#include <cstddef>

namespace reprise::detail {

inline constexpr std::size_t kRecordAlignment = 64;

/// At least `bytes` bytes, aligned to kRecordAlignment.
void* recycled_allocate(std::size_t bytes);

/// Gives back what `recycled_allocate(bytes)` returned; any thread may do so.
void recycled_free(void* memory, std::size_t bytes) noexcept;

}  // namespace reprise::detail
