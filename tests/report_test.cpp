// The page of a report: what it says, that it stands alone, and that it stands whatever it is given.
#include "cli/report/report.h"

#include <sys/wait.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <regex>
#include <sstream>
#include <string>
#include <vector>

#include "cli/report/page.h"
#include "cli/report/phases.h"
#include "cli/report/series.h"
#include "cli/utf8.h"
#include "report_support.h"
#include "reprise/error.h"
#include "temporary_folder.h"

using namespace report_test;
using Catch::Matchers::Contains;
namespace fs = std::filesystem;

namespace {

std::string content_of(const fs::path& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

std::size_t occurrences(const std::string& text, std::string_view word) {
  std::size_t count = 0;
  for (std::size_t at = text.find(word); at != std::string::npos; at = text.find(word, at + 1)) ++count;
  return count;
}

/// The page without what is not markup: the script.
std::string markup_of(const std::string& page) {
  const std::size_t from = page.find("//<![CDATA[");
  const std::size_t to = page.find("//]]>");
  REQUIRE(from != std::string::npos);
  REQUIRE(to != std::string::npos);
  return page.substr(0, from) + page.substr(to + 5);
}

/// Tags are balanced, attributes quoted, "<" and "&" nowhere but in markup, and no number is missing.
void check_well_formed(const std::string& page) {
  static const std::regex kTag(R"re(^(\w+)((\s+[\w-]+="[^"<]*")*)\s*(/?)$)re");
  static const std::regex kEntity("&(?!(amp|lt|gt|quot);)");
  const std::string text = markup_of(page);
  CHECK_FALSE(std::regex_search(text, kEntity));
  REQUIRE(text.starts_with("<!DOCTYPE html>\n"));
  std::vector<std::string> open;
  for (std::size_t at = text.find('<', 1); at != std::string::npos; at = text.find('<', at + 1)) {
    const std::size_t end = text.find('>', at);
    REQUIRE(end != std::string::npos);
    const std::string tag = text.substr(at + 1, end - at - 1);
    CAPTURE(tag.substr(0, 200));
    if (tag.front() == '/') {
      REQUIRE_FALSE(open.empty());
      REQUIRE(open.back() == tag.substr(1));
      open.pop_back();
      continue;
    }
    // Drawings are long, and a regular expression goes deep.
    const std::string head = tag.substr(0, tag.find(" d=\""));
    std::smatch match;
    const bool path = head.size() < tag.size();
    REQUIRE(std::regex_match(head, match, kTag));
    if (!path && match[4].length() == 0) open.push_back(match[1]);
    if (path) REQUIRE(tag.ends_with("\"/"));
  }
  CHECK(open.empty());
  CHECK_FALSE(std::regex_search(text, std::regex("\\b(nan|inf)\\b")));
}

/// It asks nothing of any other place.
void check_self_contained(const std::string& page) {
  CHECK(occurrences(page, "http://") == occurrences(page, "xmlns=\"http://"));
  CHECK(occurrences(page, "url(") == occurrences(page, "url(#"));
  for (const char* word : {"https://", "src=", "@import", "<link", "//cdn", "fetch(", "XMLHttp"})
    CHECK_THAT(page, !Contains(word));
}

std::int64_t greatest(const RunReport& run) {
  std::int64_t most = 0;
  for (const MemoryEvent& event : run.events) most = std::max(most, event.live_allocated);
  return most;
}

/// Blocks of made-up addresses that come and go at random.
RunReport random_run(std::size_t events, unsigned seed) {
  RunReport run;
  run.segments = "random";
  std::vector<MemoryEvent> live;
  std::int64_t bytes = 0;
  for (std::size_t i = 0; i < events; ++i) {
    seed = seed * 1664525 + 1013904223;
    MemoryEvent event;
    if (live.size() > 50 && seed >> 30 != 0) {
      std::swap(live[seed % live.size()], live.back());
      event = live.back();
      live.pop_back();
      event.action = MemoryEvent::Action::free;
    } else {
      event.address = reinterpret_cast<const void*>((i + 1) << 20);
      event.category = static_cast<Category>(seed % kCategories);
      event.requested = event.allocated = 256 * (1 + seed % 4096);
      event.origin = {.operation = "noise", .phase = static_cast<Phase>(seed % 5), .shape = {7}};
      live.push_back(event);
    }
    bytes += event.action == MemoryEvent::Action::free ? -event.allocated : event.allocated;
    event.live_allocated = bytes;
    event.time_ns = static_cast<std::int64_t>(i) * 977;
    run.events.push_back(event);
  }
  return run;
}

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

/// Two settings of a small model; its steps must live as long as the report.
struct Sample {
  Step none{"none"}, blocks{"blocks"};
  Transformer plain{none, 6, 192, false}, replayed{blocks, 6, 192, true};
  Report report;

  Sample() {
    for (auto [step, model] : {std::pair(&none, &plain), std::pair(&blocks, &replayed)}) {
      step->begin();
      model->run();
      step->finish();
    }
    report = report_of({none.run, blocks.run});
  }
};

}  // namespace

TEST_CASE("the page says the result, and the peaks are those of the events", "[report]") {
  const Sample sample;
  const std::string page = report_page(sample.report);
  check_well_formed(page);
  check_self_contained(page);
  CHECK(page.size() < 300000);
  for (const RunReport& run : sample.report.runs) {
    const std::string peak = format_bytes(greatest(run));
    CHECK_THAT(page, Contains(">peak " + peak + "<") && Contains("<b>" + peak + "</b> at the peak: "));
  }
  const RunReport& none = sample.none.run;
  const RunReport& blocks = sample.blocks.run;
  CHECK_THAT(page, Contains("blocks: activations " + format_bytes(blocks.peak_activations) + " instead of " +
                            format_bytes(none.peak_activations) + " ("));
  CHECK_THAT(page, Contains(" % time</p>") && Contains("equal to the last bit"));
  CHECK_THAT(page, Contains("gelu (8, 256, 192) float32, backward in transformer.h.5 (models/gpt.cpp:118)"));
  CHECK(occurrences(page, "<th scope=\"row\">none</th>") == 2);  // the comparison, and the categories
  CHECK(occurrences(page, "<figure ") == 2);
  CHECK(occurrences(page, "class=\"memory\"") == occurrences(page, "<desc>Peak "));
  CHECK(occurrences(page, "data-name=\"value\"") == 20);
  CHECK(page == report_page(sample.report));
}

TEST_CASE("bars show every phase of each operation and segment", "[report]") {
  const Sample sample;
  const std::string page = report_page(sample.report);
  CHECK_THAT(page, Contains("<title>attention: forward 840 µs</title>"));
  CHECK_THAT(page, Contains("<title>attention: forward 840 µs, replay 700 µs</title>"));
  CHECK_THAT(page, Contains("<title>AdamW: optimiser 720 µs</title>"));
  CHECK_THAT(page, Contains("<title>block 1: forward 580 µs, replay 580 µs, backward 1.62 ms</title>"));
  CHECK_THAT(page, Contains("<title>block 6: forward 580 µs, backward 1.46 ms</title>"));
  CHECK_THAT(page, Contains("<th scope=\"row\">outside segments</th>"));
}

TEST_CASE("more operations than there is room for are summed", "[report]") {
  static const std::vector<std::string> kNames = [] {
    std::vector<std::string> names;
    for (int i = 0; i < 30; ++i) names.push_back("operation " + std::to_string(i));
    return names;
  }();
  RunReport run;
  run.segments = "many";
  for (int i = 0; i < 30; ++i)
    run.spans.push_back({kNames[static_cast<std::size_t>(i)], Phase::forward, nullptr, "", 1000000 * i,
                         1000000 * i + 1000 * (i + 1)});
  const std::string page = report_page(report_of({run}));
  CHECK_THAT(page, Contains(">operation 18</th>") && !Contains(">operation 17</th>"));
  CHECK_THAT(page, Contains("<title>other (18): forward 171 µs</title>"));
}

TEST_CASE("the page stands whatever it is given", "[report]") {
  const std::string odd = "<b>&\"'\x01\xFF</b> 記憶";
  Step step(odd);
  step.begin();
  step.at(Phase::forward, place_in(place_in(nullptr, odd, odd.c_str(), 1), odd, odd.c_str(), 2), odd);
  step.allocate("<op>", {3, 4}, Category::activations);
  step.work("<op>", 10);
  step.finish();
  Report report = report_of({step.run, {}, step.run});
  report.title = report.description = report.data = report.device = report.verdict = odd;
  report.columns = {{.title = odd, .unit = odd}};
  report.runs[0].cells = {Cell(odd, Tone::bad), "beyond the last column"};
  report.runs[2].truncated = true;
  const std::string page = report_page(report);
  check_well_formed(page);
  check_self_contained(page);
  CHECK_THAT(page, !Contains("<b>&\"") && !Contains("\x01") && !Contains("\xFF") && !Contains("<op>"));
  CHECK_THAT(page, Contains("&lt;op&gt; (3, 4) float32") && Contains("記憶") && Contains("differs"));
  CHECK_THAT(page, Contains("The trace ends after 2 events") && Contains("nothing was traced"));

  const Report empty;
  check_well_formed(report_page(empty));
  CHECK_THAT(report_page(empty), Contains("Nothing was measured."));
  const Report without_events = report_of({RunReport{}});
  check_well_formed(report_page(without_events));
}

TEST_CASE("a setting whose step was not timed is compared by memory alone", "[report]") {
  Report report = report_of({RunReport{}, RunReport{}});
  report.runs[0].peak_activations = 4 << 20;
  report.runs[1].peak_activations = 1 << 20;
  report.runs[1].segments = "blocks";
  CHECK_THAT(report_page(report), Contains(">blocks: activations 1.00 MiB instead of 4.00 MiB (25 %)</p>"));
}

TEST_CASE("the page of very many events stays below a megabyte", "[report]") {
  std::vector<RunReport> runs;
  for (unsigned i = 0; i < 12; ++i) runs.push_back(random_run(20000, i));
  const Report report = report_of(runs);
  const std::string page = report_page(report);
  check_self_contained(page);
  CHECK(page.size() < 1000000);
  for (const RunReport& run : report.runs)
    CHECK_THAT(page, Contains(">peak " + format_bytes(greatest(run)) + "<"));
}

TEST_CASE("thinned series keep every peak", "[report]") {
  const RunReport run = random_run(50000, 7);
  const std::vector<MemorySample> samples = memory_samples(run);
  CHECK(samples.size() == run.events.size() + 1);
  for (std::size_t i = 0; i < run.events.size(); ++i)
    REQUIRE(samples[i + 1].total() == run.events[i].live_allocated);
  const std::int64_t end = run.events.back().time_ns;
  for (const std::size_t columns : {1U, 7U, 500U}) {
    const std::vector<MemorySample> thin = thinned(samples, end, columns);
    CAPTURE(columns);
    CHECK(thin.size() <= 4 * columns + kCategories);
    CHECK(thin.front().time_ns == 0);
    CHECK(thin.back().time_ns == end);
    const auto most = [](const std::vector<MemorySample>& all, auto value) {
      std::int64_t result = 0;
      for (const MemorySample& sample : all) result = std::max(result, value(sample));
      return result;
    };
    const auto total = [](const MemorySample& sample) { return sample.total(); };
    CHECK(most(thin, total) == most(samples, total));
    for (std::size_t c = 0; c < kCategories; ++c) {
      const auto bytes = [c](const MemorySample& sample) { return sample.by_category[c]; };
      CHECK(most(thin, bytes) == most(samples, bytes));
    }
  }
  CHECK(thinned({}, 10, 500).empty());
}

TEST_CASE("phases follow each other, and the optimiser takes its time even where it allocates nothing",
          "[report]") {
  const Sample sample;
  const std::vector<PhaseBand> bands = phase_bands(sample.blocks.run);
  std::vector<Phase> order;
  for (const PhaseBand& band : bands) order.push_back(band.phase);
  CHECK(std::vector<Phase>(order.begin(), order.begin() + 3) ==
        std::vector<Phase>{Phase::forward, Phase::backward, Phase::replay});
  CHECK(order.back() == Phase::optimiser);
  for (std::size_t i = 1; i < bands.size(); ++i) CHECK(bands[i].start_ns == bands[i - 1].end_ns);
  const Span& update = sample.blocks.run.spans.back();
  CHECK(bands.back().start_ns == sample.blocks.run.events.back().time_ns);
  CHECK(bands.back().end_ns - bands.back().start_ns == update.end_ns - update.start_ns);

  // A timed step that took twice as long says the same.
  RunReport slow = sample.blocks.run;
  for (Span& span : slow.spans) {
    span.start_ns *= 2;
    span.end_ns *= 2;
  }
  CHECK(phase_bands(slow).back().end_ns == bands.back().end_ns);

  // Where the optimiser allocates, it begins there, and still takes its time.
  RunReport clipping = sample.blocks.run;
  MemoryEvent scratch = clipping.events.back();
  scratch.origin.phase = Phase::optimiser;
  scratch.time_ns += 5 * kMicrosecond;
  clipping.events.push_back(scratch);
  CHECK(phase_bands(clipping).size() == bands.size());
  CHECK(phase_bands(clipping).back().start_ns == scratch.time_ns);
  CHECK(phase_bands(clipping).back().end_ns == scratch.time_ns + update.end_ns - update.start_ns);
  clipping.spans.clear();
  CHECK(phase_bands(clipping).back().end_ns == scratch.time_ns);
  CHECK(phase_bands({}).empty());
}

TEST_CASE("a report is a folder of files", "[report]") {
  const Sample sample;
  const TemporaryFolder folder;
  const fs::path target = folder.path / "new" / "report";
  write_report(target, sample.report);
  write_report(target, sample.report);
  CHECK(names_in(target) ==
        std::vector<std::string>{"report.html", "snapshot-blocks.json", "snapshot-none.json", "trace.json"});
  const std::string page = content_of(target / "report.html");
  CHECK(page == report_page(sample.report));
  for (const std::string& name : names_in(target)) {
    if (name != "report.html") CHECK_THAT(page, Contains("href=\"" + name + "\""));
  }
}

TEST_CASE("a folder that cannot be is refused in one line", "[report]") {
  const TemporaryFolder folder;
  std::ofstream(folder.path / "file") << "text";
  const auto message = [](const fs::path& path) -> std::string {
    try {
      write_report(path, Report{});
    } catch (const Error& error) {
      return error.what();
    }
    return {};
  };
  CHECK_THAT(message(folder.path / "file"), Contains("[report] ") && Contains("is a file; name a folder"));
  CHECK_THAT(message(folder.path / "file" / "inside"), Contains("cannot be made") && !Contains("\n"));
  CHECK_THAT(message("/proc/none"), Contains("/proc/none") && Contains("may write"));
  CHECK(names_in(folder.path) == std::vector<std::string>{"file"});
}

TEST_CASE("a browser shows the page on every screen", "[report]") {
  const Sample sample;
  const TemporaryFolder folder;
  write_report(folder.path, sample.report);
  const fs::path script = fs::path(__FILE__).parent_path() / "report" / "render.py";
  const fs::path log = folder.path / "log";
  const std::string command = "python3 '" + script.string() + "' '" + (folder.path / "report.html").string() +
                              "' '" + (folder.path / "pictures").string() + "' > '" + log.string() + "' 2>&1";
  const int status = std::system(command.c_str());
  const int exit_status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  CAPTURE(command, content_of(log));
  if (exit_status == 77 || exit_status == 127) {
    WARN("skipped: there is no Chromium or no Python here");
    return;
  }
  CHECK(exit_status == 0);
  CHECK(fs::file_size(folder.path / "pictures" / "phone-dark.png") > 10000);
}
