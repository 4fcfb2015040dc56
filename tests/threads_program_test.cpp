// The program under OpenMP's settings: as with the number of threads that they leave, asked for outright.
#include <map>

#include "cli_support.h"
#include "temporary_folder.h"

#if !defined(REPRISE_STD_THREADS)

namespace {

struct Setting {
  std::vector<std::string> environment;
  int asked = 0;  // 0: no --threads
  int expected = 0;
};

const std::vector<Setting> kSettings{
    {{"OMP_THREAD_LIMIT=1"}, 4, 1},
    {{"OMP_THREAD_LIMIT=2"}, 4, 2},
    {{"OMP_THREAD_LIMIT=3"}, 3, 3},
    {{"OMP_DYNAMIC=true"}, 4, 4},
    {{"OMP_DYNAMIC=true", "OMP_THREAD_LIMIT=2"}, 3, 2},
    {{"OMP_MAX_ACTIVE_LEVELS=0"}, 4, 1},
    {{"OMP_MAX_ACTIVE_LEVELS=1"}, 3, 3},
    {{"OMP_NESTED=false"}, 3, 3},
    {{"OMP_NESTED=true"}, 2, 2},
    {{"OMP_NUM_THREADS=3"}, 0, 3},
    {{"OMP_NUM_THREADS=4,2"}, 0, 4},
    {{"OMP_NUM_THREADS=4", "OMP_THREAD_LIMIT=2"}, 0, 2},
    {{"OMP_NUM_THREADS=2", "OMP_DYNAMIC=true"}, 4, 4},
    {{"OMP_NUM_THREADS=4", "OMP_MAX_ACTIVE_LEVELS=0"}, 0, 1},
};

const Arguments kGpt{"gpt",   "--layers", "2",       "--width", "64",        "--heads", "4",
                     "--seq", "32",       "--batch", "4",       "--dropout", "0.1"};
const Arguments kResnet{"resnet", "--preset", "resnet20", "--batch", "4"};

Arguments threads_option(int threads) {
  return threads == 0 ? Arguments{} : Arguments{"--threads", std::to_string(threads)};
}

/// What a run leaves in its --json: for `compare` the digests of every row, for `train` the losses.
nlohmann::json results(const std::string& command, const Arguments& model, int threads,
                       const std::vector<std::string>& environment) {
  const TemporaryFolder folder;
  const std::string json = (folder.path / "result.json").string();
  const Ended ended = run_program(
      Arguments{command} + model + threads_option(threads) + Arguments{"--steps", "2", "--json", json} +
          Arguments{"--segments", command == "compare" ? "none,blocks" : "blocks"},
      environment);
  CAPTURE(command, model, threads, environment, ended.output, ended.errors);
  REQUIRE(ended.status == 0);
  const nlohmann::json all = read_json(json);
  if (command == "train") return all.at("losses");
  nlohmann::json digests;
  for (const nlohmann::json& row : all.at("rows"))
    digests.push_back({row.at("losses"), row.at("gradient_digest"), row.at("parameter_digest")});
  return digests;
}

}  // namespace

TEST_CASE("training under OpenMP's settings is that of the threads that they leave", "[cli][threads]") {
  if (!available()) return;
  const bool gpt = GENERATE(true, false);
  const std::string command = gpt ? "train" : "compare";
  const Arguments model = gpt ? kGpt : kResnet;
  std::map<int, nlohmann::json> outright;
  for (const int threads : {1, 2, 3, 4}) outright[threads] = results(command, model, threads, {});
  if (!gpt) CHECK(outright[1] != outright[4]);  // or the rest would show nothing
  for (const Setting& setting : kSettings) {
    CAPTURE(command, model, setting.environment, setting.asked);
    CHECK(results(command, model, setting.asked, setting.environment) == outright[setting.expected]);
  }
}

TEST_CASE("the program says how many threads there are", "[cli][threads]") {
  if (!available()) return;
  const Ended info = run_program({"info"}, {"OMP_NUM_THREADS=4", "OMP_THREAD_LIMIT=2"});
  CHECK_THAT(info.output, Catch::Matchers::Contains("cpu      2 threads"));
  const Arguments predict = Arguments{"predict"} + kGpt + Arguments{"--threads", "4"};
  CHECK(run_program(predict, {"OMP_THREAD_LIMIT=2"}).errors ==
        "reprise: 2 of 4 threads: OMP_THREAD_LIMIT or OMP_MAX_ACTIVE_LEVELS allows no more\n");
  CHECK(run_program(predict).errors.empty());
}

#endif
