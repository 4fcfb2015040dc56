#include "cli/report/chrome_trace.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "cli/report/series.h"
#include "cli/report/words.h"
#include "cli/report/work_times.h"

namespace reprise::cli {

namespace {

/// The tracks from top to bottom; a track's number is its place here, from 1 on.
constexpr std::array kTracks{Phase::forward, Phase::replay, Phase::backward, Phase::optimiser, Phase::other};

std::size_t track_of(Phase phase) {
  return static_cast<std::size_t>(std::find(kTracks.begin(), kTracks.end(), phase) - kTracks.begin()) + 1;
}

/// Microseconds, exact to the nanosecond.
std::string microseconds(std::int64_t ns) { return fmt::format("{}.{:03}", ns / 1000, ns % 1000); }

/// Collects the events of one process.
class Process {
 public:
  Process(std::size_t number, std::string& text) : number_(number), text_(text) {}

  void name_tracks(std::string_view name) {
    metadata("process_name", 0, "\"name\":" + json_string(name));
    metadata("process_sort_index", 0, fmt::format("\"sort_index\":{}", number_));
    for (const Phase phase : kTracks) {
      metadata("thread_name", track_of(phase), "\"name\":" + json_string(name_of(phase)));
      metadata("thread_sort_index", track_of(phase), fmt::format("\"sort_index\":{}", track_of(phase)));
    }
  }

  void add_spans(const std::vector<Span>& spans) {
    for (std::size_t first = 0; first < spans.size();) {
      std::size_t end = first + 1;
      while (end < spans.size() && spans[end].phase == spans[first].phase &&
             spans[end].segment == spans[first].segment)
        ++end;
      if (!spans[first].segment.empty())
        add_segment({spans.begin() + static_cast<std::ptrdiff_t>(first),
                     spans.begin() + static_cast<std::ptrdiff_t>(end)});
      for (; first < end; ++first) add_span(spans[first]);
    }
  }

  void add_counters(const std::vector<MemorySample>& samples) {
    for (std::size_t i = 0; i < samples.size(); ++i) {
      const MemorySample& sample = samples[i];
      if (i == 0 || sample.by_category != samples[i - 1].by_category)
        counter("allocated bytes", sample.time_ns, categories(sample.by_category));
      if (i == 0 || sample.reserved != samples[i - 1].reserved)
        counter("reserved bytes", sample.time_ns, fmt::format("\"reserved\":{}", sample.reserved));
    }
  }

 private:
  void metadata(std::string_view kind, std::size_t track, const std::string& arguments) {
    event(fmt::format(R"("ph":"M","pid":{},"tid":{},"name":"{}","args":{{{}}})", number_, track, kind,
                      arguments));
  }

  void add_span(const Span& span) {
    const std::string arguments =
        fmt::format(R"("module":{},"at":{},"segment":{})", json_string(path_of(span.place)),
                    json_string(location_of(span.place)), json_string(span.segment));
    complete(span.operation, "operation", span.phase, span.start_ns, span.end_ns, arguments);
  }

  /// One around consecutive spans of a checkpoint segment.
  void add_segment(std::span<const Span> spans) {
    std::int64_t end = 0;
    for (const Span& span : spans) end = std::max(end, span.end_ns);
    const Span& first = spans.front();
    complete(first.segment, "segment", first.phase, first.start_ns, end,
             fmt::format("\"spans\":{}", spans.size()));
  }

  void complete(std::string_view name, std::string_view kind, Phase phase, std::int64_t start,
                std::int64_t end, const std::string& arguments) {
    event(fmt::format(R"("ph":"X","pid":{},"tid":{},"ts":{},"dur":{},"name":{},"cat":"{}","args":{{{}}})",
                      number_, track_of(phase), microseconds(start),
                      microseconds(std::max<std::int64_t>(end - start, 0)), json_string(name), kind,
                      arguments));
  }

  void counter(std::string_view name, std::int64_t time, const std::string& values) {
    event(fmt::format(R"("ph":"C","pid":{},"ts":{},"name":"{}","args":{{{}}})", number_, microseconds(time),
                      name, values));
  }

  static std::string categories(const CategoryBytes& bytes) {
    std::string values;
    for (std::size_t i = 0; i < kCategories; ++i)
      values += fmt::format("{}\"{}\":{}", i == 0 ? "" : ",", name_of(static_cast<Category>(i)), bytes[i]);
    return values;
  }

  void event(const std::string& members) { text_ += (text_.ends_with('[') ? "\n{" : ",\n{") + members + "}"; }

  std::size_t number_;
  std::string& text_;
};

}  // namespace

std::string chrome_trace(const std::vector<RunReport>& runs) {
  std::string text = "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[";
  for (std::size_t i = 0; i < runs.size(); ++i) {
    Process process(i + 1, text);
    process.name_tracks(runs[i].segments);
    process.add_spans(in_order(runs[i].spans));
    process.add_counters(memory_samples(runs[i]));
  }
  return text + "\n]}\n";
}

}  // namespace reprise::cli
