// Placement as a puzzle without bytes or times: strips that cover columns, stacked as low as possible.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace reprise::packing {

/// A buffer: alive in the columns [first, last), `size` units high.
struct Strip {
  int first = 0;
  int last = 0;
  std::int64_t size = 0;

  int width() const { return last - first; }
  bool meets(const Strip& other) const { return first < other.last && other.first < last; }
};

/// Columns are the moments at which a set of strips is alive that is part of no larger one: two strips are
/// alive at the same time when they share a column.
struct Puzzle {
  std::vector<Strip> strips;
  int columns = 0;
};

/// The bottom of each strip.
using Offsets = std::vector<std::int64_t>;

/// The height of each column if nothing were lost.
std::vector<std::int64_t> loads_of(const Puzzle& puzzle);

/// The highest end of a strip.
std::int64_t height_of(const Puzzle& puzzle, const Offsets& offsets);

/// A puzzle of its own, and which strips of the whole it is made of.
struct Part {
  Puzzle puzzle;
  std::vector<std::size_t> strips;
};

/// Cuts the puzzle between columns that no strip spans.
std::vector<Part> independent_parts(const Puzzle& puzzle);

}  // namespace reprise::packing
