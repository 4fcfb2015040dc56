// Memory over the time of a traced step.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "cli/report/report.h"
#include "reprise/memory/pool_state.h"

namespace reprise::cli {

/// What was live from a moment on, until the next sample.
struct MemorySample {
  std::int64_t time_ns = 0;
  CategoryBytes by_category{};
  std::int64_t reserved = 0;

  std::int64_t total() const;
};

/// The start of the trace, and each event that changed something.
std::vector<MemorySample> memory_samples(const RunReport& run);

/// At most four samples in each of `columns` equal parts of the time up to `end_ns`, and the first peak of
/// each category: the greatest and the least total of each part stay.
std::vector<MemorySample> thinned(std::span<const MemorySample> samples, std::int64_t end_ns,
                                  std::size_t columns);

}  // namespace reprise::cli
