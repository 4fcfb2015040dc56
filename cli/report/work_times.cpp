#include "cli/report/work_times.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <string_view>

namespace reprise::cli {

namespace {

std::int64_t length_of(const Span& span) { return std::max<std::int64_t>(span.end_ns - span.start_ns, 0); }

/// What each span took without the spans inside it. The spans must be in order.
std::vector<std::int64_t> own_times(const std::vector<Span>& spans) {
  std::vector<std::int64_t> own;
  std::vector<std::size_t> open;
  for (std::size_t i = 0; i < spans.size(); ++i) {
    while (!open.empty() && spans[open.back()].end_ns <= spans[i].start_ns) open.pop_back();
    own.push_back(length_of(spans[i]));
    if (!open.empty()) own[open.back()] -= own[i];
    open.push_back(i);
  }
  return own;
}

template <class Name>
std::vector<WorkTime> times_by(const std::vector<Span>& spans, Name&& name_of_span) {
  const std::vector<Span> ordered = in_order(spans);
  const std::vector<std::int64_t> own = own_times(ordered);
  std::vector<WorkTime> times;
  std::map<std::string_view, std::size_t> known;
  for (std::size_t i = 0; i < ordered.size(); ++i) {
    const std::string_view name = name_of_span(ordered[i]);
    const auto [found, fresh] = known.emplace(name, times.size());
    if (fresh) times.push_back({.name = std::string(name), .rank = times.size()});
    times[found->second].ns[static_cast<std::size_t>(ordered[i].phase)] += own[i];
  }
  std::stable_sort(times.begin(), times.end(),
                   [](const WorkTime& a, const WorkTime& b) { return a.total() > b.total(); });
  return times;
}

}  // namespace

std::int64_t WorkTime::total() const { return std::accumulate(ns.begin(), ns.end(), std::int64_t{0}); }

std::vector<Span> in_order(std::vector<Span> spans) {
  std::stable_sort(spans.begin(), spans.end(), [](const Span& a, const Span& b) {
    return a.start_ns != b.start_ns ? a.start_ns < b.start_ns : a.end_ns > b.end_ns;
  });
  return spans;
}

std::vector<WorkTime> times_by_operation(const std::vector<Span>& spans) {
  return times_by(spans, [](const Span& span) { return span.operation; });
}

std::vector<WorkTime> times_by_segment(const std::vector<Span>& spans) {
  return times_by(spans, [](const Span& span) { return span.segment; });
}

WorkTime sum_of(const std::vector<WorkTime>& times) {
  WorkTime sum;
  for (const WorkTime& time : times) {
    for (std::size_t phase = 0; phase < kPhases; ++phase) sum.ns[phase] += time.ns[phase];
  }
  return sum;
}

}  // namespace reprise::cli
