// The trace of time against Chrome's format, and against the spans and events that it came from.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "cli/report/chrome_trace.h"
#include "cli/report/work_times.h"
#include "report_support.h"

using namespace report_test;
using nlohmann::json;

namespace {

using Track = std::pair<int, int>;  // process and thread

std::int64_t ns(const json& microseconds) { return std::llround(microseconds.get<double>() * 1000); }

/// The keys that each kind of event needs, with values that are not negative.
void check_format(const json& trace) {
  REQUIRE(trace["traceEvents"].is_array());
  for (const json& event : trace["traceEvents"]) {
    CAPTURE(event.dump());
    const std::string kind = event.at("ph");
    REQUIRE((kind == "M" || kind == "X" || kind == "C"));
    REQUIRE(event.at("pid").is_number_unsigned());
    REQUIRE(event.at("name").is_string());
    REQUIRE(event.at("args").is_object());
    if (kind != "C") REQUIRE(event.at("tid").is_number_unsigned());
    if (kind != "M") REQUIRE(event.at("ts").get<double>() >= 0);
    if (kind == "X") REQUIRE(event.at("dur").get<double>() >= 0);
    if (kind == "X") REQUIRE(event.at("cat").is_string());
    if (kind == "C") {
      for (const auto& [name, value] : event.at("args").items()) REQUIRE(value.get<std::int64_t>() >= 0);
    }
  }
}

/// On each track a span begins after the last one ended, or ends before it does; those around others come
/// first.
void check_nesting(const json& trace) {
  std::map<Track, std::vector<std::int64_t>> open;  // the ends of the spans under way
  std::map<Track, std::int64_t> last_start;
  for (const json& event : trace["traceEvents"]) {
    if (event["ph"] != "X") continue;
    const Track track{event["pid"], event["tid"]};
    const std::int64_t start = ns(event["ts"]);
    const std::int64_t end = start + ns(event["dur"]);
    std::vector<std::int64_t>& ends = open[track];
    REQUIRE(start >= last_start[track]);
    last_start[track] = start;
    while (!ends.empty() && ends.back() <= start) ends.pop_back();
    if (!ends.empty()) REQUIRE(end <= ends.back());
    ends.push_back(end);
  }
}

std::vector<json> events_of(const json& trace, int process, std::string_view key, std::string_view value) {
  std::vector<json> found;
  for (const json& event : trace["traceEvents"]) {
    if (event["pid"] == process && event.contains(key) && event[key] == value) found.push_back(event);
  }
  return found;
}

std::int64_t sum_of_values(const json& counters) {
  std::int64_t sum = 0;
  for (const auto& [name, value] : counters.items()) sum += value.get<std::int64_t>();
  return sum;
}

/// The last value of a counter up to each moment is that of the last event up to then.
void check_counter(const std::vector<json>& counters, const RunReport& run,
                   std::int64_t MemoryEvent::*value) {
  std::map<std::int64_t, std::int64_t> shown, expected;
  for (const json& counter : counters) shown[ns(counter["ts"])] = sum_of_values(counter["args"]);
  for (const MemoryEvent& event : run.events) expected[event.time_ns] = event.*value;
  REQUIRE(shown.contains(0));
  for (const auto& [time, bytes] : expected) REQUIRE(std::prev(shown.upper_bound(time))->second == bytes);
}

/// Every span lies inside one of its checkpoint segment, on the same track, if it has one.
void check_segments(const json& trace, int process, const RunReport& run) {
  const std::vector<json> segments = events_of(trace, process, "cat", "segment");
  const std::vector<json> operations = events_of(trace, process, "cat", "operation");
  REQUIRE(operations.size() == run.spans.size());
  std::size_t inside = 0;
  for (const json& segment : segments) inside += segment["args"]["spans"].get<std::size_t>();
  const auto named = std::count_if(run.spans.begin(), run.spans.end(),
                                   [](const Span& span) { return !span.segment.empty(); });
  CHECK(inside == static_cast<std::size_t>(named));
  for (const json& operation : operations) {
    const json& name = operation["args"]["segment"];
    if (name == "") continue;
    REQUIRE(std::any_of(segments.begin(), segments.end(), [&](const json& segment) {
      return segment["name"] == name && segment["tid"] == operation["tid"] &&
             ns(segment["ts"]) <= ns(operation["ts"]) &&
             ns(segment["ts"]) + ns(segment["dur"]) >= ns(operation["ts"]) + ns(operation["dur"]);
    }));
  }
}

}  // namespace

TEST_CASE("a trace has the format, and its numbers are those of the runs", "[report]") {
  Step none("none"), blocks("blocks <&\"\n>");
  Transformer plain(none, 5, 64, false), replayed(blocks, 5, 64, true);
  for (auto [step, model] : {std::pair(&none, &plain), std::pair(&blocks, &replayed)}) {
    step->begin();
    model->run();
    step->release_cached();
    step->finish();
  }
  const std::vector<RunReport> runs{none.run, blocks.run};
  const json trace = json::parse(chrome_trace(runs));
  check_format(trace);
  check_nesting(trace);
  for (int process = 1; process <= 2; ++process) {
    const RunReport& run = runs[static_cast<std::size_t>(process) - 1];
    CHECK(events_of(trace, process, "name", "process_name").at(0)["args"]["name"] == run.segments);
    check_counter(events_of(trace, process, "name", "allocated bytes"), run, &MemoryEvent::live_allocated);
    check_counter(events_of(trace, process, "name", "reserved bytes"), run, &MemoryEvent::reserved);
    check_segments(trace, process, run);
  }
  CHECK(events_of(trace, 1, "cat", "segment").empty());
  // Five blocks forward and back, four of them replayed; forward and backward of the last one follow each
  // other.
  CHECK(events_of(trace, 2, "cat", "segment").size() == 14);
}

TEST_CASE("the tracks of a trace bear the names of the phases", "[report]") {
  Step step("none");
  Transformer model(step, 2, 64, true);
  step.begin();
  model.run();
  step.finish();
  const json trace = json::parse(chrome_trace({step.run}));
  std::map<int, std::string> names;
  for (const json& event : events_of(trace, 1, "name", "thread_name"))
    names[event["tid"]] = event["args"]["name"];
  CHECK(names == std::map<int, std::string>{
                     {1, "forward"}, {2, "replay"}, {3, "backward"}, {4, "optimiser"}, {5, "other"}});
  std::map<std::string, double> shown;
  for (const json& event : events_of(trace, 1, "cat", "operation"))
    shown[names[event["tid"]]] += event["dur"].get<double>();
  const WorkTime sum = sum_of(times_by_operation(step.run.spans));
  for (const Phase phase : {Phase::forward, Phase::replay, Phase::backward, Phase::optimiser})
    CHECK(shown[std::string(name_of(phase))] * 1000 == Approx(static_cast<double>(sum.of(phase))));
}

TEST_CASE("spans inside others stay inside, in whatever order they come", "[report]") {
  RunReport run;
  run.segments = "nested";
  run.spans = {{"inner", Phase::optimiser, nullptr, "", 1500, 2001},
               {"outer", Phase::optimiser, nullptr, "", 1000, 5003},
               {"unfinished", Phase::other, nullptr, "s", 7000, 0},
               {"inner", Phase::optimiser, nullptr, "", 2001, 5003}};
  const json trace = json::parse(chrome_trace({run}));
  check_format(trace);
  check_nesting(trace);
  CHECK(events_of(trace, 1, "name", "outer").at(0)["ts"] == 1.0);
  CHECK(events_of(trace, 1, "name", "unfinished").at(0)["dur"] == 0.0);

  const std::vector<WorkTime> times = times_by_operation(run.spans);
  CHECK(times.at(0).name == "inner");
  CHECK(times.at(0).total() == 3503);
  CHECK(times.at(1).name == "outer");
  CHECK(times.at(1).total() == 500);
}

TEST_CASE("a trace of nothing is still a trace", "[report]") {
  check_format(json::parse(chrome_trace({})));
  const json trace = json::parse(chrome_trace({RunReport{}, RunReport{}}));
  check_format(trace);
  CHECK(events_of(trace, 2, "ph", "C").size() == 2);
}
