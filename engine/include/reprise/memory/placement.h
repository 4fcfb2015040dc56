// Where buffers of known lifetimes lie in one slab.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace reprise {

/// A buffer that is alive from `lower` until just before `upper`. One of no bytes or no lifetime takes no
/// space.
struct PlacementItem {
  std::int64_t lower = 0;
  std::int64_t upper = 0;
  std::int64_t bytes = 0;
};

struct PlacementOptions {
  /// Of every offset and of the slab; items take multiples of it.
  std::int64_t alignment = 1;
  /// A slab of so many bytes is good enough. Whether items fit into a capacity is asked by making it the
  /// target.
  std::int64_t target_bytes = 0;
  /// How many items the search may look at, over and over; 50 million take about a second. 0: no search.
  std::int64_t effort = 100'000'000;
  /// A safety net: the search ends when it is over, and the result then depends on the machine. 0: none.
  double time_limit_s = 0;
};

struct Placement {
  std::vector<std::int64_t> offsets;   // of the items, in their order
  std::int64_t slab_bytes = 0;         // the highest end, rounded up to the alignment
  std::int64_t lower_bound_bytes = 0;  // most bytes alive at once, each item rounded up: no slab is smaller
};

/// Finds offsets at which items that are alive at the same time do not overlap, in as small a slab as it can;
/// the same items and options give the same offsets on every machine.
Placement place(std::span<const PlacementItem> items, const PlacementOptions& options = {});

/// Throws a ValueError that names the first flaw: an offset that is negative or not aligned, items that
/// overlap in time and memory, or a slab that is not the highest end.
void check_placement(std::span<const PlacementItem> items, const Placement& placement,
                     std::int64_t alignment = 1);

}  // namespace reprise
