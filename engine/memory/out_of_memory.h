// What an OutOfMemory error says.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "reprise/memory/pool.h"

namespace reprise::detail {

/// What is known when a request cannot be met.
struct Shortage {
  std::size_t asked;
  Category category;
  std::string_view tag;  // empty: none
  bool injected;         // by Pool::fail_after
  const Origin& origin;
  std::vector<SegmentInfo> segments;  // of the pool
  const Source& source;
  MemoryStatistics statistics;
  std::size_t largest_free;
};

/// The message of OutOfMemory.
std::string describe(const Shortage& shortage);

}  // namespace reprise::detail
