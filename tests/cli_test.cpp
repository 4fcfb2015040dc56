// The program `reprise` as its user meets it: results, messages, exit statuses, files.
#include <algorithm>
#include <catch2/catch.hpp>
#include <chrono>
#include <csignal>
#include <fstream>
#include <thread>

#include "cli/dry_run.h"
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

TEST_CASE("sizes that cannot be are refused", "[cli]") {
  if (!available()) return;
  const Folder folder;
  const std::string data = folder.write("text", text(1000));
  check_refused({"train", "gpt", "--width", "16", "--heads", "3"}, {"16", "3 heads"});
  check_refused({"train", "gpt", "--dropout", "1"}, {"dropout"});
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
    CHECK(files_of(folder.path).empty());
  }
}
