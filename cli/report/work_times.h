// How long each kind of work took.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "reprise/span.h"

namespace reprise::cli {

inline constexpr std::size_t kPhases = 5;

/// The time of all work of one name, by phase.
struct WorkTime {
  std::string name;
  std::array<std::int64_t, kPhases> ns{};
  std::size_t rank = 0;  // which of all names came first

  std::int64_t of(Phase phase) const { return ns[static_cast<std::size_t>(phase)]; }
  std::int64_t total() const;
};

/// The spans in the order of their starts, those around others first.
std::vector<Span> in_order(std::vector<Span> spans);

/// The times of operations, longest first; time inside a nested span counts for that one alone.
std::vector<WorkTime> times_by_operation(const std::vector<Span>& spans);

/// The times of checkpoint segments, longest first; work outside all of them has the name "".
std::vector<WorkTime> times_by_segment(const std::vector<Span>& spans);

/// The sum of all times, by phase.
WorkTime sum_of(const std::vector<WorkTime>& times);

}  // namespace reprise::cli
