// The program `reprise` as its user meets it: results, messages, exit statuses, files.
#include <fmt/format.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <chrono>
#include <cmath>
#include <csignal>
#include <fstream>
#include <limits>
#include <thread>

#include "cli/dry_run.h"
#include "cli/session.h"
#include "cli_support.h"
#include "temporary_folder.h"

using Catch::Matchers::Contains;
namespace fs = std::filesystem;

namespace {

/// A GPT of a step in milliseconds.
Arguments small_gpt(const std::string& layers = "1", const std::string& width = "16") {
  return {"gpt",     "--layers", layers,  "--width", width,       "--heads", "2",
          "--batch", "2",        "--seq", "16",      "--threads", "1"};
}
const Arguments kResnet{"resnet", "--layers", "1", "--width", "4", "--batch", "8", "--threads", "1"};

/// The names of all that is in a folder, temporary files too.
std::vector<std::string> files_of(const fs::path& folder) {
  std::vector<std::string> names;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder))
    names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

struct Folder : TemporaryFolder {
  std::string operator/(const char* name) const { return (path / name).string(); }
  std::string write(const char* name, const std::string& bytes) const {
    std::ofstream(path / name, std::ios::binary) << bytes;
    return *this / name;
  }
};

std::string text(std::size_t bytes) {
  std::string all;
  for (std::size_t i = 0; i < bytes; ++i) all += "abcdefgh \n"[i * 7 % 10];
  return all;
}

/// MNIST's four files, the last one cut short.
void write_cut_images(const fs::path& folder) {
  const auto word = [](unsigned value) {
    return std::string{0, 0, static_cast<char>(value >> 8), static_cast<char>(value)};
  };
  const std::string images = word(0x803) + word(4) + word(8) + word(8) + std::string(4 * 8 * 8, 'x');
  const std::string labels = word(0x801) + word(4) + std::string{0, 1, 0, 1};
  for (const std::string part : {"train", "t10k"}) {
    std::ofstream(folder / (part + "-images-idx3-ubyte"), std::ios::binary) << images;
    std::ofstream(folder / (part + "-labels-idx1-ubyte"), std::ios::binary)
        << (part == "train" ? labels : labels.substr(0, labels.size() - 1));
  }
}

}  // namespace

TEST_CASE("misuse of the program ends with one line and status 2", "[cli]") {
  if (!available()) return;
  check_refused({}, {"ubcommand"});
  check_refused({"evaluate"}, {"--help"});
  check_refused({"train"}, {"model"});
  check_refused({"train", "lstm"}, {"gpt", "resnet"});
  check_refused({"train", "gpt", "--colour", "red"}, {"--colour"});
  check_refused({"train", "gpt", "--steps", "many"}, {"--steps"});
  check_refused({"train", "gpt", "--steps", "0"}, {"--steps"});
  check_refused({"train", "gpt", "--steps"}, {"--steps"});
  check_refused({"train", "gpt", "--preset", "gpt9"}, {"'gpt9'", "gpt2-xl"});
  check_refused({"train", "resnet", "--preset", "gpt2"}, {"'gpt2'", "resnet20"});
  check_refused({"train", "gpt", "--segments", "some"}, {"'some'", "every:"});
  check_refused({"train", "gpt", "--segments", "every:0"}, {"every:0"});
  check_refused({"compare", "gpt", "--segments", "none,some"}, {"'some'"});
  check_refused({"train", "gpt", "--schedule", "steep"}, {"'steep'", "cosine"});
  check_refused({"train", "gpt", "--lr", "inf"}, {"--lr"});
  check_refused({"train", "resnet", "--heads", "2"}, {"--heads"});
  check_refused({"train", "gpt", "--augment"}, {"--augment"});
}

TEST_CASE("misuse is explained by what was given and what there is", "[cli]") {
  if (!available()) return;
  check_refused({"train", "gpt", "--layrs", "3"},
                {"--layrs is no option (did you mean --layers?)", "see reprise train --help"});
  check_refused({"predict", "gpt", "--zzzzzzzz"}, {"--zzzzzzzz is no option; see reprise predict --help"});
  check_refused({"train", "gpt", "more"}, {"'more' is not expected here; see reprise train --help"});
  check_refused({"nosuch"}, {"'nosuch' is no subcommand; there are train, compare, predict, info"});
  check_refused({"--nosuch"}, {"--nosuch is no option"});
  check_refused({}, {"a subcommand is required: train, compare, predict, info"});
  check_refused({"predict", "gpt", "--fit", "foo"}, {"--fit", "'foo' is none of batch, seq"});
  check_refused({"train", "lstm"}, {"'lstm' is none of gpt, resnet"});
  check_refused({"train", "gpt", "--lr", "1", "--lr", "2"}, {"--lr is given 2 times; give it once"});
  check_refused({"compare", "gpt", "--layers", "1", "--layers", "2"}, {"--layers is given 2 times"});
  check_refused({"train", "gpt", "--segments", "blok"}, {"'blok' is not a setting", "or auto"});
  check_refused({"predict", "gpt", "--device", "24gb"}, {"'24gb' is no device or capacity"});
  check_refused({"train", "gpt", "--device", "24gb"}, {"'24gb' is no device; give cpu"});
}

TEST_CASE("help says what each option is by default", "[cli]") {
  if (!available()) return;
  for (const std::string command : {"train", "compare", "predict"}) {
    std::string help;  // with single spaces, whatever the columns
    for (const char c : run_program({command, "--help"}).output) {
      if (c != '\n' && (c != ' ' || !help.ends_with(' '))) help += c;
      if (c == '\n' && !help.ends_with(' ')) help += ' ';
    }
    CAPTURE(help);
    for (const char* part :
         {"tiny (default)", "resnet20 (default)", "--seed", "(default: 1)", "(default: cpu)",
          "(default: float32)", "gpt 0.001, resnet 0.05", "cosine (default)", "gpt 0.1, resnet 0.0005",
          "default: no limit", "gpt 1, resnet 0", "at most 256", "default 8", "default 64"})
      CHECK_THAT(help, Contains(part));
    CHECK_THAT(help, !Contains("[0, 1]") && !Contains("[]"));
  }
  CHECK_THAT(run_program({"train", "--help"}).output,
             Contains("(default: none)") && Contains("(default: 300)"));
  CHECK_THAT(run_program({"predict", "--help"}).output, !Contains("batch->"));
}

TEST_CASE("settings may stand apart, and one is one", "[cli]") {
  if (!available()) return;
  const Ended ended = run_program(Arguments{"compare"} + small_gpt() +
                                  Arguments{"--steps", "1", "--segments", "none, blocks"});
  CAPTURE(ended.output, ended.errors);
  CHECK(ended.status == 0);
  CHECK_THAT(ended.output, Contains("GPT: 1 layer,") && Contains("; 1 step\n") && Contains("\nblocks "));
}

TEST_CASE("a run that has diverged says so at the end", "[cli]") {
  if (!available()) return;
  const auto output = [](const std::string& command, const std::string& rate) {
    return run_program({command,          "resnet", "--layers",   "1",        "--width",  "4",
                        "--batch",        "8",      "--threads",  "1",        "--lr",     rate,
                        "--steps",        "4",      "--schedule", "constant", "--warmup", "0",
                        "--weight-decay", "0"})
        .output;
  };
  CHECK_THAT(output("train", "1000000"), Contains("the run has diverged"));
  CHECK_THAT(output("train", "0.001"), Contains("held-out loss") && !Contains("diverged"));
  CHECK(reprise::cli::remark_on_loss(1e6).empty());
  CHECK_FALSE(reprise::cli::remark_on_loss(std::numeric_limits<double>::infinity()).empty());
  CHECK_FALSE(reprise::cli::remark_on_loss(std::nan("")).empty());
}

TEST_CASE("a compare that was interrupted leaves no empty folder that it made", "[cli]") {
  if (!available()) return;
  const Folder folder;
  fs::create_directory(folder.path / "mine");
  for (const std::string report : {"made", "made/within", "mine", "mine/within"}) {
    CAPTURE(report);
    Program program(Arguments{"compare"} + small_gpt() +
                    Arguments{"--steps", "10000000", "--report", (folder.path / report).string()});
    REQUIRE(program.wait_until_catches(SIGINT));
    for (int i = 0; i < 1000 && !fs::exists(folder.path / report); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    program.send(SIGINT);
    CHECK(program.wait().status == 130);
    CHECK(files_of(folder.path) == std::vector<std::string>{"mine"});
    CHECK(files_of(folder.path / "mine").empty());
  }
}

TEST_CASE("sizes that cannot be are refused", "[cli]") {
  if (!available()) return;
  const Folder folder;
  const std::string data = folder.write("text", text(1000));
  check_refused({"train", "gpt", "--width", "16", "--heads", "3"}, {"16", "3 heads"});
  check_refused({"train", "gpt", "--dropout", "1.5"}, {"dropout"});
  check_refused({"train", "gpt", "--dropout", "nan"}, {"dropout"});
  check_refused({"train", "gpt", "--vocab", "3", "--data", data}, {"--vocab 3", "10"});
  check_refused({"train", "gpt", "--seq", "100", "--data", data}, {"--seq 100", "validation"});
  check_refused({"train", "gpt", "--layers", "0"}, {"--layers"});
  check_refused({"train", "resnet", "--batch", "1"}, {"--batch 1"});
  check_refused({"train", "resnet", "--batch", "1000000"}, {"--batch 1000000", "4000"});
  CHECK(files_of(folder.path) == std::vector<std::string>{"text"});
}

TEST_CASE("a run that does not fit says who asked, what there is, and what is live", "[cli]") {
  if (!available()) return;
  const Ended built = run_program(Arguments{"train"} + small_gpt("1", "2048") + Arguments{"--capacity", "4"});
  CAPTURE(built.output, built.errors);
  CHECK(built.status == 2);
  CHECK_THAT(built.errors, Catch::Matchers::StartsWith("reprise: [memory] ") &&
                               Contains(" asked for parameters by ") && Contains(" free of 4.00 MiB\n") &&
                               Contains("\n  largest live values:\n"));
  const Ended stepped = run_program(Arguments{"train"} + small_gpt("5", "64") + Arguments{"--capacity", "4"});
  CAPTURE(stepped.output, stepped.errors);
  CHECK(stepped.status == 2);
  CHECK_THAT(stepped.errors, Contains(" in transformer.h.") && Contains(" (models/gpt.cpp:") &&
                                 Contains("transformer.h.0.mlp.c_fc.weight (64, 256) float32") &&
                                 Contains("\n  parameters ") && Contains(", optimiser "));
}

TEST_CASE("files that are missing or malformed are named", "[cli]") {
  if (!available()) return;
  const Folder folder;
  const std::string json = folder / "result.json";
  const auto refused = [&](const Arguments& arguments, const std::vector<std::string>& message) {
    check_refused(Arguments{"train"} + arguments + Arguments{"--steps", "1", "--json", json}, message);
    CHECK_FALSE(fs::exists(json));
  };
  refused({"gpt", "--data", folder / "absent.txt"}, {"absent.txt"});
  refused({"gpt", "--data", folder.write("empty.txt", "")}, {"empty.txt"});
  refused({"gpt", "--data", folder.path.string()}, {folder.path.string()});
  refused({"resnet", "--data", folder / "absent"}, {"absent"});
  refused({"resnet", "--data", folder.path.string()}, {folder.path.string()});
  fs::create_directory(folder.path / "cut");
  write_cut_images(folder.path / "cut");
  refused({"resnet", "--data", folder / "cut"}, {"t10k-labels-idx1-ubyte"});
  CHECK(files_of(folder.path) == std::vector<std::string>{"cut", "empty.txt"});
}

TEST_CASE("where the project's sources are gone, gpt asks for a text, and a prediction for a vocabulary",
          "[cli]") {
  const Folder gone;
  reprise::cli::RunOptions options;
  options.model = "gpt";
  options.layers = 1;
  options.sources = gone.path.string();
  CHECK_THROWS_WITH(reprise::cli::task_factory(options),
                    Contains(gone.path.string()) && Contains("--data FILE") && !Contains("--vocab"));
  options.dry = options.only_predicted = true;
  CHECK_THROWS_WITH(reprise::cli::task_factory(options), Contains("--data FILE") && Contains("--vocab N"));
  options.vocab = 100;
  const auto predicted = [&] {
    return reprise::cli::dry_run(options, {}, {}, 1).memory.by_category[0].allocated.peak;
  };
  const std::int64_t without_text = predicted();
  options.data = gone.write("text", text(4000));
  CHECK(predicted() == without_text);
  CHECK(without_text > 0);
  options.dry = options.only_predicted = false;
  options.data.clear();
  CHECK_THROWS_WITH(reprise::cli::task_factory(options), Contains("--data FILE"));
}

TEST_CASE("results that cannot be written are refused before the work", "[cli]") {
  if (!available()) return;
  const Folder folder;
  for (const std::string command : {"train", "compare"}) {
    const Arguments long_run = Arguments{command} + small_gpt() + Arguments{"--steps", "1000000"};
    check_refused(long_run + Arguments{"--json", folder / "absent/result.json"}, {"absent"});
    check_refused(long_run + Arguments{"--json", folder.path.string()}, {folder.path.string()});
  }
  check_refused(Arguments{"compare"} + small_gpt() + Arguments{"--plot", folder / "absent/plot.svg"},
                {"absent"});
  CHECK(files_of(folder.path).empty());
}

TEST_CASE("train gpt writes text and losses", "[cli]") {
  if (!available()) return;
  const Folder folder;
  const std::string json = folder / "result.json";
  const Ended ended = run_program(Arguments{"train"} + small_gpt() +
                                  Arguments{"--steps", "3", "--sample", "10", "--json", json});
  CAPTURE(ended.errors);
  REQUIRE(ended.status == 0);
  CHECK_THAT(ended.output, Contains("GPT") && Contains("train loss") && Contains("held-out loss"));
  const nlohmann::json result = read_json(json);
  CHECK(result.at("train_loss").get<double>() > 0);
  CHECK(result.at("val_loss").get<double>() > 0);
  CHECK(result.at("losses").size() == 3);
  CHECK(result.at("interrupted") == false);
  CHECK(result.at("peak_activation_bytes").get<std::int64_t>() > 0);
  CHECK(files_of(folder.path) == std::vector<std::string>{"result.json"});
}

TEST_CASE("train resnet measures its accuracy", "[cli]") {
  if (!available()) return;
  const Folder folder;
  const std::string json = folder / "result.json";
  const Ended ended = run_program(Arguments{"train"} + kResnet + Arguments{"--steps", "2", "--json", json});
  CAPTURE(ended.errors);
  REQUIRE(ended.status == 0);
  CHECK_THAT(ended.output, Contains("ResNet") && Contains("test accuracy"));
  const double accuracy = read_json(json).at("test_accuracy").get<double>();
  CHECK((accuracy >= 0 && accuracy <= 1));
}

TEST_CASE("looking at held-out data does not change the training", "[cli]") {
  if (!available()) return;
  const Folder folder;
  const auto losses = [&](const Arguments& more) {
    const std::string json = folder / "result.json";
    const Ended ended = run_program(Arguments{"train"} + small_gpt() +
                                    Arguments{"--dropout", "0.3", "--steps", "4", "--json", json} + more);
    REQUIRE(ended.status == 0);
    return read_json(json).at("losses");
  };
  CHECK(losses({"--eval-every", "1"}) == losses({}));
}

TEST_CASE("compare shows equal digests and all that was measured", "[cli]") {
  if (!available()) return;
  const Folder folder;
  const std::string json = folder / "result.json";
  const std::string plot = folder / "plot.svg";
  const bool gpt = GENERATE(true, false);
  const Arguments model = gpt ? small_gpt("4") + Arguments{"--dropout", "0.1"} : kResnet;
  const Ended ended = run_program(Arguments{"compare"} + model +
                                  Arguments{"--steps", "2", "--segments", "none,blocks,every:2,sqrt,nested",
                                            "--json", json, "--plot", plot});
  CAPTURE(ended.output, ended.errors);
  REQUIRE(ended.status == 0);
  CHECK_THAT(ended.output, Contains("equal to the last bit"));
  const nlohmann::json result = read_json(json);
  const nlohmann::json& rows = result.at("rows");
  std::vector<std::string> segments;
  for (const nlohmann::json& row : rows) {
    segments.push_back(row.at("segments").get<std::string>());
    for (const char* bytes :
         {"peak_allocated_bytes", "peak_requested_bytes", "peak_reserved_bytes", "peak_activation_bytes"})
      CHECK(row.at(bytes).get<std::int64_t>() > 0);
    CHECK(row.at("peak_requested_bytes") <= row.at("peak_allocated_bytes"));
    CHECK(row.at("peak_requested_bytes") <= row.at("peak_reserved_bytes"));
    CHECK(row.at("step_ms_median").get<double>() > 0);
    CHECK(row.at("overhead").is_number());
    CHECK((row.at("replayed_nodes").get<std::int64_t>() > 0) == (segments.back() != "none"));
    for (const char* digest : {"losses", "gradient_digest", "parameter_digest"}) {
      CHECK(row.at(digest).get<std::string>().size() == 16);
      CHECK(row.at(digest) == rows[0].at(digest));
    }
  }
  CHECK(segments == std::vector<std::string>{"none", "blocks", "every:2", "sqrt", "nested"});
  CHECK(rows[1].at("peak_activation_bytes") < rows[0].at("peak_activation_bytes"));
  CHECK(fs::file_size(plot) > 1000);
  CHECK(files_of(folder.path) == std::vector<std::string>{"plot.svg", "result.json"});
}

TEST_CASE("Ctrl-C ends a run cleanly", "[cli]") {
  if (!available()) return;
  using Clock = std::chrono::steady_clock;
  for (const std::string command : {"train", "compare"}) {
    CAPTURE(command);
    const Folder folder;
    Program program(Arguments{command} + small_gpt() +
                    Arguments{"--steps", "10000000", "--json", folder / "result.json"});
    REQUIRE(program.wait_until_catches(SIGINT));
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    const Clock::time_point sent = Clock::now();
    program.send(SIGINT);
    const Ended ended = program.wait();
    CHECK(Clock::now() - sent < std::chrono::seconds(2));
    CHECK(ended.status == 130);
    CHECK_THAT(ended.output, Contains("interrupted"));
    if (command == "compare") {
      CHECK(files_of(folder.path).empty());
      continue;
    }
    const nlohmann::json kept = read_json(folder / "result.json");
    CHECK(kept.at("interrupted") == true);
    CHECK(kept.at("val_loss").is_null());
    REQUIRE(kept.at("losses").size() > 0);
    CHECK(kept.at("steps") == kept.at("losses").size());
    const std::string last = fmt::format("last loss {:.4f}\n", kept.at("losses").back().get<double>());
    CHECK_THAT(ended.output, Contains("interrupted after ") && Contains(last));
    CHECK(files_of(folder.path) == std::vector<std::string>{"result.json"});
  }
}
