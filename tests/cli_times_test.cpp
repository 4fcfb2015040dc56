// What compare says of times: a cost where there is one, and no number where it would be chance.
#include <catch2/catch.hpp>
#include <fstream>

#include "cli/report/page.h"
#include "cli/step_times.h"
#include "cli_support.h"
#include "temporary_folder.h"

using namespace reprise::cli;
using Catch::Matchers::Contains;

TEST_CASE("the first step warms up, and is no part of the times", "[cli][times]") {
  const StepTimes times = summarise_times({900, 10, 14, 12, 18});
  CHECK(times.median_ms == 13);
  CHECK(times.least_ms == 10);
  CHECK(times.most_ms == 18);
  CHECK(times.timed == 4);
  CHECK(spread_text(times) == "10.0–18.0 ms");
  CHECK(summarise_times({7}).median_ms == 7);
  CHECK(summarise_times({7}).timed == 0);
}

TEST_CASE("an overhead is a number only where the steps allow one", "[cli][times]") {
  const StepTimes steady = summarise_times({50, 10, 10, 11, 10});
  const StepTimes slower = summarise_times({50, 12, 12, 13, 12});
  const StepTimes wild = summarise_times({50, 10, 12, 21, 13});
  const StepTimes two = summarise_times({50, 10, 11});
  const StepTimes one = summarise_times({50});
  struct Case {
    StepTimes row, first;
    std::string overhead, remark;
  };
  for (const Case& c : {Case{slower, steady, "+20.0 %", ""},
                        {steady, steady, "+0.0 %", ""},
                        {wild, steady, "noisy", "OMP_WAIT_POLICY=passive"},
                        {steady, wild, "noisy", "more --steps"},
                        {two, two, "–", "--steps 4 or more"},
                        {one, steady, "–", "--steps 4 or more"},
                        {wild, one, "–", "--steps 4 or more"}}) {
    CAPTURE(c.row.median_ms, c.first.median_ms);
    CHECK(overhead_text(c.row, c.first) == c.overhead);
    const std::string remark = remark_on_times({c.first, c.row});
    if (c.remark.empty())
      CHECK(remark.empty());
    else
      CHECK_THAT(remark, Contains(c.remark));
  }
  CHECK(spread_text(one) == "–");
}

TEST_CASE("the page's headline gives no time where that would be chance", "[cli][times][report]") {
  Report report;
  report.runs.resize(2);
  report.runs[0].segments = "none";
  report.runs[1].segments = "blocks";
  report.runs[0].peak_activations = 4 << 20;
  report.runs[1].peak_activations = 1 << 20;
  report.runs[0].step_ms = 10;
  report.runs[1].step_ms = 12;
  CHECK_THAT(report_page(report), Contains("(25 %), +20.0 % time</p>"));
  report.runs[0].certain_time = false;
  report.remark = "noisy: the machine was busy";
  CHECK_THAT(report_page(report), Contains("(25 %), times not comparable</p>") && !Contains("% time</p>") &&
                                      Contains("noisy: the machine was busy</p>"));
}

TEST_CASE("compare of few steps gives no overhead, and says what would", "[cli][times]") {
  if (!available()) return;
  const TemporaryFolder folder;
  const std::string json = (folder.path / "out.json").string();
  for (const std::string steps : {"1", "2"}) {
    const Ended ended = run_program(
        {"compare", "gpt", "--layers",  "1", "--width", "16",  "--heads",    "2",         "--batch", "2",
         "--seq",   "16",  "--threads", "1", "--steps", steps, "--segments", "none,none", "--json",  json});
    CAPTURE(steps, ended.output, ended.errors);
    CHECK(ended.status == 0);
    CHECK_THAT(ended.output, Contains("--steps 4 or more") && !Contains("+0.0 %"));
    CHECK(read_json(json)["rows"][1]["overhead_certain"] == false);
  }
}
