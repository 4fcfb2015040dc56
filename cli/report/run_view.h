// What the parts of the page share of a run.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "cli/report/phases.h"
#include "cli/report/report.h"
#include "cli/report/series.h"

namespace reprise::cli {

/// The categories as they are stacked, from the ground up: what stays through a step comes first.
inline constexpr std::array<Category, kCategories> kStack{
    Category::parameters,  Category::optimiser,  Category::other,    Category::gradients,
    Category::activations, Category::recomputed, Category::workspace};

/// A run with what was found out about it.
struct RunView {
  explicit RunView(const RunReport& report);

  const RunReport& run;
  std::vector<MemorySample> samples;
  MemoryPeak peak;
  std::vector<PhaseBand> phases;
  std::int64_t end_ns = 0;

  /// When most bytes were live for the first time.
  std::int64_t peak_ns() const;
  /// Whether nothing was traced.
  bool empty() const { return run.events.empty() && peak.allocated == 0; }
};

/// "gelu (8, 256, 768) float32, forward in h.3.mlp (models/gpt.cpp:98)": what made the peak.
std::string peak_text(const RunView& view);

}  // namespace reprise::cli
