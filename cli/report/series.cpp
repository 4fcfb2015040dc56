#include "cli/report/series.h"

#include <algorithm>
#include <numeric>

namespace reprise::cli {

namespace {

/// The part of the time that a sample begins in.
std::size_t column_of(const MemorySample& sample, std::int64_t end_ns, std::size_t columns) {
  const double share =
      static_cast<double>(sample.time_ns) / static_cast<double>(std::max<std::int64_t>(end_ns, 1));
  return static_cast<std::size_t>(std::clamp(share, 0.0, 1.0) * static_cast<double>(columns - 1));
}

/// The samples of one part that keep its shape.
void keep_extremes(std::span<const MemorySample> samples, std::size_t first, std::size_t end,
                   std::vector<std::size_t>& kept) {
  std::size_t least = first;
  std::size_t greatest = first;
  for (std::size_t i = first; i < end; ++i) {
    if (samples[i].total() < samples[least].total()) least = i;
    if (samples[i].total() > samples[greatest].total()) greatest = i;
  }
  kept.insert(kept.end(), {first, least, greatest, end - 1});
}

void keep_category_peaks(std::span<const MemorySample> samples, std::vector<std::size_t>& kept) {
  for (std::size_t category = 0; category < kCategories; ++category) {
    const auto peak = std::max_element(samples.begin(), samples.end(), [&](const auto& a, const auto& b) {
      return a.by_category[category] < b.by_category[category];
    });
    kept.push_back(static_cast<std::size_t>(peak - samples.begin()));
  }
}

}  // namespace

std::int64_t MemorySample::total() const {
  return std::accumulate(by_category.begin(), by_category.end(), std::int64_t{0});
}

std::vector<MemorySample> memory_samples(const RunReport& run) {
  PoolState pool(run.before);
  std::vector<MemorySample> samples{{0, pool.by_category(), pool.reserved()}};
  for (const MemoryEvent& event : run.events) {
    pool.apply(event);
    const MemorySample& last = samples.back();
    if (pool.by_category() == last.by_category && pool.reserved() == last.reserved) continue;
    samples.push_back({event.time_ns, pool.by_category(), pool.reserved()});
  }
  return samples;
}

std::vector<MemorySample> thinned(std::span<const MemorySample> samples, std::int64_t end_ns,
                                  std::size_t columns) {
  std::vector<std::size_t> kept;
  for (std::size_t first = 0; first < samples.size();) {
    const std::size_t column = column_of(samples[first], end_ns, columns);
    std::size_t end = first + 1;
    while (end < samples.size() && column_of(samples[end], end_ns, columns) == column) ++end;
    keep_extremes(samples, first, end, kept);
    first = end;
  }
  if (!samples.empty()) keep_category_peaks(samples, kept);
  std::sort(kept.begin(), kept.end());
  kept.erase(std::unique(kept.begin(), kept.end()), kept.end());
  std::vector<MemorySample> result;
  result.reserve(kept.size());
  for (const std::size_t i : kept) result.push_back(samples[i]);
  return result;
}

}  // namespace reprise::cli
