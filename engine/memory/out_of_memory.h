// What an OutOfMemory error says.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "reprise/memory/source.h"
#include "reprise/memory/statistics.h"

namespace reprise::detail {

/// What is known when a request cannot be met.
struct Shortage {
  std::size_t asked;
  Category category;
  std::string_view tag;  // empty: none
  bool injected;         // by Pool::fail_after
  const Source& source;
  MemoryStatistics statistics;
  std::size_t largest_free;
};

/// The message of OutOfMemory.
std::string describe(const Shortage& shortage);

}  // namespace reprise::detail
