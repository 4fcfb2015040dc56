// The program's answers about memory, as its user meets them: predict, --report, --segments auto, --arena.
#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>

#include "cli_support.h"
#include "reprise/memory.h"
#include "temporary_folder.h"

using Catch::Matchers::Contains;
namespace fs = std::filesystem;

namespace {

const Arguments kGpt{"gpt",     "--layers", "3",     "--width", "32",        "--heads", "2",
                     "--batch", "2",        "--seq", "32",      "--threads", "1"};
const Arguments kResnet{"resnet", "--layers", "1", "--width", "4", "--batch", "8", "--threads", "1"};
const Arguments kSettings{"--segments", "none,blocks,every:2,sqrt,nested,cheap"};

nlohmann::json run_to_json(const Arguments& arguments) {
  const TemporaryFolder folder;
  const std::string file = (folder.path / "out.json").string();
  const Ended ended = run_program(arguments + Arguments{"--json", file});
  CAPTURE(arguments, ended.output, ended.errors);
  REQUIRE(ended.status == 0);
  return read_json(file);
}

}  // namespace

TEST_CASE("predict says under compare's names what compare measures", "[cli][predict]") {
  if (!available()) return;
  for (const Arguments& model :
       {kGpt + Arguments{"--dropout", "0.1"}, kGpt + Arguments{"--loss-chunk", "20"}, kResnet}) {
    const Arguments run = model + kSettings + Arguments{"--steps", "3"};
    const nlohmann::json measured = run_to_json(Arguments{"compare"} + run);
    const nlohmann::json predicted = run_to_json(Arguments{"predict"} + run);
    CHECK(predicted["description"] == measured["description"]);
    REQUIRE(predicted["rows"].size() == measured["rows"].size());
    for (std::size_t i = 0; i < measured["rows"].size(); ++i) {
      for (const char* name : {"segments", "peak_allocated_bytes", "peak_requested_bytes",
                               "peak_reserved_bytes", "peak_activation_bytes", "replayed_nodes"}) {
        CAPTURE(model, i, name);
        CHECK(predicted["rows"][i][name] == measured["rows"][i][name]);
      }
    }
  }
}

TEST_CASE("predict names the node and the line at the peak, and finds what fits", "[cli][predict]") {
  if (!available()) return;
  const Ended ended = run_program({"predict", "gpt", "--preset", "gpt2", "--seq", "1024", "--device", "24GiB",
                                   "--fit", "batch", "--segments", "none,blocks"});
  CAPTURE(ended.output, ended.errors);
  CHECK(ended.status == 0);
  CHECK_THAT(ended.output,
             Contains("(models/gpt.cpp:") && Contains("24GiB (24.00 GiB)") && Contains("largest"));
  const auto largest = [](const std::string& segments, const std::string& batch) {
    const TemporaryFolder folder;
    const std::string file = (folder.path / "out.json").string();
    const Ended run =
        run_program(Arguments{"predict", "gpt", "--preset", "tiny", "--width", "32", "--capacity", "8",
                              "--fit", "batch", "--segments", segments, "--json", file, "--batch", batch});
    return run.status == 0 ? read_json(file)["rows"][0]["largest"].get<std::int64_t>() : -1;
  };
  for (const std::string segments : {"none", "nested"}) {
    const std::int64_t batch = largest(segments, "1");
    CAPTURE(segments, batch);
    REQUIRE(batch > 0);
    const auto run = [&](std::int64_t of) {
      return run_program({"train", "gpt", "--preset", "tiny", "--width", "32", "--capacity", "8",
                          "--segments", segments, "--batch", std::to_string(of), "--steps", "3", "--sample",
                          "0"})
          .errors;
    };
    CHECK_THAT(run(batch), !Contains("[memory]"));
    CHECK_THAT(run(batch + 1), Contains("[memory]"));
  }
}

TEST_CASE("predict refuses what cannot be in one line", "[cli][predict]") {
  if (!available()) return;
  check_refused(Arguments{"predict"} + kGpt + Arguments{"--device", "h300"}, {"'h300'", "h200"});
  check_refused(Arguments{"predict"} + kGpt + Arguments{"--device", "0GiB"}, {"'0GiB'", "at least one byte"});
  check_refused(Arguments{"predict"} + kGpt + Arguments{"--capacity", "0"}, {"--capacity"});
  check_refused(Arguments{"predict"} + kGpt + Arguments{"--fit", "batch"}, {"--fit needs a capacity"});
  check_refused(Arguments{"predict"} + kResnet + Arguments{"--fit", "seq", "--device", "h100"},
                {"--fit batch"});
  check_refused(Arguments{"predict"} + kGpt + Arguments{"--graph"}, {"--graph"});
  check_refused(Arguments{"predict"} + kGpt + Arguments{"--image", "64"}, {"--image"});
  check_refused(Arguments{"predict"} + kGpt + Arguments{"--json", "/nowhere/at/all.json"}, {"/nowhere"});
  check_refused(Arguments{"predict", "--device", "1MiB"} + kGpt,
                {"no setting fits 1.00 MiB", "the least that a step takes is"});
}

TEST_CASE("a report is a folder of a page, snapshots and a trace", "[cli][report]") {
  if (!available()) return;
  const TemporaryFolder folder;
  const fs::path report = folder.path / "report";
  const Ended ended =
      run_program(Arguments{"compare"} + kGpt +
                  Arguments{"--steps", "2", "--segments", "none,blocks", "--report", report.string()});
  CAPTURE(ended.output, ended.errors);
  CHECK(ended.status == 0);
  CHECK_THAT(ended.output, Contains("report.html"));
  CHECK(fs::file_size(report / "report.html") > 10000);
  CHECK(read_json(report / "snapshot-none.json")["segments"].size() > 0);
  CHECK(read_json(report / "snapshot-blocks.json")["device_traces"][0].size() > 100);
  CHECK(read_json(report / "trace.json")["traceEvents"].size() > 100);
}

TEST_CASE("a report that cannot be written is refused before anything runs", "[cli][report]") {
  if (!available()) return;
  const TemporaryFolder folder;
  std::ofstream(folder.path / "file") << "text";
  for (const fs::path& bad : {folder.path / "file", folder.path / "file" / "under", fs::path("/proc/report")})
    check_refused(Arguments{"compare"} + kGpt + Arguments{"--steps", "2", "--report", bad.string()},
                  {bad.string()});
}

TEST_CASE("training goes on with segments when memory runs out", "[cli][memory]") {
  if (!available()) return;
  const Arguments run{"train", "gpt", "--layers",  "3", "--width",   "32",  "--heads", "2", "--batch",  "8",
                      "--seq", "32",  "--threads", "1", "--dropout", "0.1", "--steps", "5", "--sample", "0"};
  const nlohmann::json plain = run_to_json(run);
  const auto peak = plain["peak_allocated_bytes"].get<std::int64_t>();
  const std::string capacity = std::to_string(peak >> 20);  // a little less
  const Ended refused = run_program(run + Arguments{"--capacity", capacity});
  CAPTURE(capacity, refused.errors);
  CHECK(refused.status == 2);
  CHECK_THAT(refused.errors, Contains("[memory] ") && Contains("these settings of --segments fit: "));
  const nlohmann::json adapted = run_to_json(run + Arguments{"--segments", "auto", "--capacity", capacity});
  CHECK(adapted["losses"] == plain["losses"]);
  CHECK(adapted["segments"] != "none");
  const Ended told = run_program(run + Arguments{"--segments", "auto", "--capacity", capacity});
  CHECK_THAT(told.output, Contains("out of memory without segments; going on with "));
  const Ended hopeless = run_program(run + Arguments{"--segments", "auto", "--capacity", "1"});
  CHECK(hopeless.status == 2);
  CHECK_THAT(hopeless.errors, Contains("[memory] "));
}

TEST_CASE("train and compare say which settings fit, once, and those do", "[cli][memory]") {
  if (!available()) return;
  const Arguments shallow{"gpt", "--layers",  "4",  "--width",   "48", "--heads",
                          "4",   "--seq",     "64", "--batch",   "4",  "--steps",
                          "4",   "--threads", "1",  "--dropout", "0.1"};
  const Arguments deep{"gpt", "--layers", "24", "--width", "48", "--heads",   "4", "--seq",
                       "64",  "--batch",  "4",  "--steps", "2",  "--threads", "1"};
  const std::vector<std::string> settings{"none", "cheap", "blocks", "sqrt", "nested"};
  const auto status = [](const Arguments& run, const std::string& setting) {
    const Ended ended = run_program(Arguments{"train"} + run +
                                    Arguments{"--segments", setting, "--sample", "0", "--eval-every", "0"});
    return std::pair{ended.status, ended.errors};
  };
  int named = 0, unnamed = 0;
  const std::vector<std::pair<Arguments, std::vector<std::string>>> cases{{shallow, {"3", "4", "5"}},
                                                                          {deep, {"10", "13", "16"}}};
  for (const auto& [model, capacities] : cases) {
    for (const std::string& capacity : capacities) {
      const Arguments run = model + Arguments{"--capacity", capacity};
      const std::string error = status(run, "none").second;
      CAPTURE(run, error);
      REQUIRE_THAT(error, Contains("[memory] "));
      CHECK_THAT(error, !Contains("checkpoint::") && !Contains("from the tape"));
      const std::size_t answer = error.find("under segments none; ");
      REQUIRE(answer != std::string::npos);
      const std::string said = error.substr(answer);
      const bool none_fits = said.find("no setting of --segments fits") != std::string::npos;
      CHECK(none_fits != (said.find("these settings of --segments fit: ") != std::string::npos));
      CHECK_THAT(run_program(Arguments{"compare"} + run + Arguments{"--segments", "none"}).errors,
                 Contains(said));
      if (none_fits) {
        const Ended ended = run_program(Arguments{"train"} + run + Arguments{"--segments", "auto"});
        CHECK(ended.status == 2);
        CHECK_THAT(ended.errors, Contains(said));
      }
      for (const std::string& setting : settings) {
        if (setting == "none") continue;
        const bool fits = said.find(setting + " (at most ") != std::string::npos;
        CAPTURE(setting);
        CHECK(status(run, setting).first == (fits ? 0 : 2));
        ++(fits ? named : unnamed);
      }
    }
  }
  CHECK(named >= 5);
  CHECK(unnamed >= 5);
}

TEST_CASE("an arena reserves what was planned, evaluations aside, and changes no bit", "[cli][arena]") {
  if (!available()) return;
  for (const Arguments& model :
       {kGpt + Arguments{"--dropout", "0.1"}, kResnet + Arguments{"--segments", "blocks"}}) {
    const Arguments run =
        Arguments{"train"} + model + Arguments{"--steps", "6", "--sample", "10", "--eval-every", "2"};
    const nlohmann::json plain = run_to_json(run);
    const nlohmann::json planned = run_to_json(run + Arguments{"--arena"});
    CAPTURE(model);
    CHECK(planned["losses"] == plain["losses"]);
    CHECK(planned["val_loss"] == plain["val_loss"]);
    CHECK(planned["arena"]["misses"] == 0);
    CHECK(planned["arena"]["slab_bytes"].get<double>() <=
          1.01 * planned["arena"]["live_bytes"].get<double>());
    const nlohmann::json alone =
        run_to_json(Arguments{"train"} + model + Arguments{"--steps", "6", "--arena"});
    if (!reprise::passthrough_by_default())  // such a pool follows no plan
      CHECK(alone["peak_reserved_bytes"] == alone["arena"]["slab_bytes"]);
  }
  check_refused(Arguments{"train"} + kGpt + Arguments{"--arena", "--segments", "auto"},
                {"--arena", "--segments auto"});
}
