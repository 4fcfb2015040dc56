// What a pool counts.
#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace reprise {

/// What an allocation is for.
enum class Category : std::uint8_t {
  parameters,
  gradients,
  optimiser,
  activations,
  recomputed,
  workspace,
  other
};

inline constexpr std::size_t kCategories = 7;

/// "parameters", "gradients", ...
std::string_view name_of(Category category);

/// Bytes: now, at most, and summed over all allocations (2^63 - 1 where that is more).
struct Counter {
  std::int64_t current = 0;
  std::int64_t peak = 0;
  std::int64_t total = 0;

  bool operator==(const Counter&) const = default;
};

/// Bytes asked for, and bytes of the blocks that serve them.
struct Usage {
  Counter requested;
  Counter allocated;

  bool operator==(const Usage&) const = default;
};

/// What a pool, or a part of its life, has used.
struct MemoryStatistics {
  Usage all;
  Usage activations;  // Category::activations and Category::recomputed together: the peak of their sum
  Counter reserved;   // taken from the source
  std::array<Usage, kCategories> by_category{};
  std::int64_t allocations = 0;
  std::int64_t frees = 0;
  std::int64_t source_allocations = 0;
  std::int64_t source_frees = 0;
  std::int64_t retries = 0;   // requests for which cached memory was given back to the source first
  std::int64_t failures = 0;  // requests that ended in OutOfMemory

  const Usage& of(Category category) const { return by_category[static_cast<std::size_t>(category)]; }
  bool operator==(const MemoryStatistics&) const = default;
};

namespace detail {
std::string format_byte_count(double bytes);
}

/// "512 B", "1.50 KiB", "20.00 MiB".
template <std::integral Integer>
std::string format_bytes(Integer bytes) {
  return detail::format_byte_count(static_cast<double>(bytes));
}

}  // namespace reprise
