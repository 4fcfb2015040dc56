// Learning is real, and segments change nothing but memory and time, at the size at which both matter.
#include <catch2/catch.hpp>
#include <cstdlib>

#include "program.h"
#include "temporary_folder.h"

namespace fs = std::filesystem;

namespace {

/// Data that stands beside the sources, or where the environment says; nothing where it is not.
std::optional<std::string> data(const char* name) {
  const char* const given = std::getenv("REPRISE_DATA");
  const fs::path folder =
      given != nullptr ? fs::path(given) : fs::path(__FILE__).parent_path() / "../../shared/data";
  const fs::path path = folder / name;
  if (fs::exists(path)) return path.string();
  WARN("skipped: there is no " << path.string() << "; REPRISE_DATA names the folder");
  return std::nullopt;
}

/// What the program writes for `--json`; it must end with status 0.
nlohmann::json result_of(std::vector<std::string> arguments) {
  const TemporaryFolder folder;
  const fs::path json = folder.path / "result.json";
  arguments.insert(arguments.end(), {"--json", json.string()});
  const Ended ended = run_program(arguments);
  CAPTURE(arguments, ended.output, ended.errors);
  REQUIRE(ended.status == 0);
  return read_json(json);
}

bool available() {
  if (reprise_program()) return true;
  WARN("skipped: the tests were built without the program");
  return false;
}

}  // namespace

TEST_CASE("a small ResNet learns digits", "[slow][learning]") {
  const std::optional<std::string> digits = data("digits");
  if (!available() || !digits) return;
  const nlohmann::json result =
      result_of({"train", "resnet", "--data", *digits, "--layers", "1", "--width", "24", "--steps", "1000",
                 "--lr", "0.1", "--weight-decay", "0.01", "--augment"});
  CHECK(result.at("test_accuracy").get<double>() >= 0.97);
}

TEST_CASE("a small GPT learns to spell", "[slow][learning]") {
  const std::optional<std::string> text = data("text/tinyshakespeare.txt");
  if (!available() || !text) return;
  const nlohmann::json result =
      result_of({"train", "gpt", "--data",  *text, "--layers", "4",   "--width", "128",  "--heads",  "4",
                 "--seq", "64",  "--batch", "16",  "--steps",  "250", "--lr",    "3e-3", "--sample", "0"});
  CHECK(result.at("val_loss").get<double>() < 2.4);
}

TEST_CASE("segments give the same bits at full size", "[slow][learning]") {
  if (!available()) return;
  const auto& [model, most_blocks] = GENERATE(table<std::vector<std::string>, double>({
      {{"gpt", "--layers", "12", "--width", "192", "--heads", "6", "--seq", "256", "--batch", "8",
        "--dropout", "0.1"},
       0.35},
      {{"resnet", "--preset", "resnet20", "--batch", "64"}, 0.5},
      {{"resnet", "--preset", "resnet56", "--batch", "64"}, 0.35},
  }));
  const std::string threads = GENERATE("1", "2");
  CAPTURE(model, threads);
  std::vector<std::string> arguments{"compare"};
  arguments.insert(arguments.end(), model.begin(), model.end());
  arguments.insert(arguments.end(), {"--steps", "10", "--threads", threads});
  const nlohmann::json rows = result_of(arguments).at("rows");  // unequal digests end with status 1
  REQUIRE(rows.size() == 4);
  const auto peak = [&](std::size_t row) { return rows[row].at("peak_activation_bytes").get<double>(); };
  CHECK(rows[1].at("segments") == "blocks");
  CHECK(peak(1) <= most_blocks * peak(0));
  CHECK(peak(3) <= peak(1));  // nested halving
}
