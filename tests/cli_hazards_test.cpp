// The program in a hostile world: signals, disks that fill up, readers that go, names and texts that would
// act on a terminal, numbers that make no sense. No result that is there is lost.
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>

#include "cli/signals.h"
#include "cli_support.h"
#include "reprise/memory.h"
#include "temporary_folder.h"

using Catch::Matchers::Contains;
using Catch::Matchers::StartsWith;
namespace fs = std::filesystem;

namespace {

const Arguments kGpt{"gpt", "--layers", "1",  "--width",   "16", "--heads",
                     "2",   "--seq",    "16", "--threads", "1"};
const Arguments kLittle = kGpt + Arguments{"--batch", "2", "--sample", "0"};
const Arguments kEndless = kGpt + Arguments{"--batch", "2", "--steps", "100000000"};

std::string content_of(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::size_t entries(const fs::path& folder) {
  return static_cast<std::size_t>(std::distance(fs::directory_iterator(folder), fs::directory_iterator()));
}

/// Nothing in it acts on a terminal, turns its text, or is no UTF-8.
void check_harmless(const std::string& text) {
  for (const char c : text) CHECK((static_cast<unsigned char>(c) >= 0x20 || c == '\n' || c == '\t'));
  for (const char* bad : {"\x7f", "\xC2\x9B", "\u202E", "\u2066", "\u2028", "\xff"})
    CHECK(text.find(bad) == std::string::npos);
}

}  // namespace

TEST_CASE("numbers that make no sense are refused before anything runs", "[cli]") {
  if (!available()) return;
  struct Case {
    const char* option;
    std::vector<const char*> values;
    const char* message;
  };
  const std::vector<const char*> no_count{
      "0", "-1", "1e30", "1.5", "nan", "inf", "", "0x10", "99999999999999999999", "-9223372036854775809"};
  const std::string of_items = "is not a whole number from 1 to 16,777,216";
  const std::vector<Case> cases{
      {"--steps", no_count, "is not a whole number from 1 to 100,000,000"},
      {"--batch", no_count, of_items.c_str()},
      {"--batch", {"16777217"}, of_items.c_str()},
      {"--layers", no_count, "is not a whole number from 1 to 100,000"},
      {"--width", no_count, "is not a whole number from 1 to 1,048,576"},
      {"--heads", no_count, "is not a whole number from 1 to 65,536"},
      {"--seq", no_count, of_items.c_str()},
      {"--vocab", no_count, of_items.c_str()},
      {"--threads", no_count, "is not a whole number from 1 to 4,096"},
      {"--threads", {"1000000"}, "is not a whole number from 1 to 4,096"},
      {"--capacity", no_count, "is not a whole number from 1 to 1,073,741,824"},
      {"--loss-chunk",
       {"-1", "9223372036854775807", "9223372036854775808", "1e30", ""},
       "is not a whole number from 0 to 281,474,976,710,656"},
      {"--warmup", {"-1", "9223372036854775807", "1e3", ""}, "is not a whole number from 0 to 100,000,000"},
      {"--eval-every", {"-1", "9223372036854775807", ""}, "is not a whole number from 0 to 100,000,000"},
      {"--sample", {"-1", "1048577", ""}, "is not a whole number from 0 to 1,048,576"},
      {"--seed",
       {"-1", "18446744073709551616", "1e3", ""},
       "is not a whole number from 0 to 18446744073709551615"},
      {"--lr",
       {"0", "-1", "nan", "inf", "1e300", "1e999", "fast", ""},
       "is not a number above 0, up to 1e+06"},
      {"--weight-decay", {"-1", "nan", "inf", "1e300", ""}, "is not a number from 0 to 1e+06"},
      {"--clip", {"-1", "nan", "inf", "1e300", ""}, "is not a number from 0 to 1e+30"},
      {"--dropout", {"-0.1", "1.1", "nan", "inf", ""}, "is not a number from 0 to 1"},
      {"--json", {""}, "the name is empty"},
      {"--data", {""}, "the name is empty"}};
  for (const Case& c : cases) {
    for (const std::string value : c.values)
      check_refused({"train", "gpt", c.option, value}, {std::string(c.option) + ": ", c.message});
  }
  check_refused({"compare", "gpt", "--plot", ""}, {"--plot: the name is empty"});
  check_refused({"compare", "gpt", "--report", ""}, {"--report: the name is empty"});
  check_refused({"predict", "resnet", "--image", "16385"}, {"from 1 to 16,384"});
  check_refused({"train", "gpt", "--steps", "\x1b[31m\n\u202E"}, {"--steps: ' [31m "});
}

TEST_CASE("runs that this machine cannot hold are refused before the first step", "[cli]") {
  if (!available()) return;
  const Arguments huge{"gpt", "--layers", "100", "--seq", "256", "--batch", "16777216"};  // a PiB and more
  for (const std::string command : {"train", "compare"})
    check_refused(Arguments{command} + huge, {"a step takes", "PiB, and this machine has"});
  check_refused({"train", "gpt", "--layers", "1", "--width", "1048576", "--heads", "1"},
                {"this machine has"});
  check_refused({"train", "resnet", "--layers", "1", "--width", "1048576"}, {"this machine has"});
  check_refused({"train", "gpt", "--seq", "16777216"}, {"--seq 16777216", "shorter --seq"});
}

TEST_CASE("more threads than the machine gives are refused before the first step", "[cli]") {
  if (!available() || reprise::passthrough_by_default()) return;  // sanitizers need more addresses
  const Ended ended = run_shell("ulimit -v 4000000; \"$0\" \"$@\"", {"train", "gpt", "--threads", "4096"});
  CAPTURE(ended.output, ended.errors);
  CHECK(ended.status == 2);
  CHECK_THAT(ended.errors,
             StartsWith("reprise: [gpt] --threads 4096: this machine gives ") && Contains(" at most"));
}

TEST_CASE("numbers are read as decimals, and large ones that make sense are taken", "[cli]") {
  if (!available()) return;
  const TemporaryFolder folder;
  const std::string json = (folder.path / "out.json").string();
  const auto losses = [&](const Arguments& more) {
    const Ended ended = run_program(Arguments{"train"} + kLittle + more + Arguments{"--json", json});
    CAPTURE(more, ended.errors);
    REQUIRE(ended.status == 0);
    return read_json(json).at("losses");
  };
  const nlohmann::json plain = losses({"--steps", "10"});
  CHECK(plain.size() == 10);
  CHECK(losses({"--steps", "010"}) == plain);
  CHECK(losses({"--steps", "10", "--loss-chunk", "281474976710656"}) ==
        losses({"--steps", "10", "--loss-chunk", "32"}));
  CHECK(losses({"--steps", "10", "--capacity", "1073741824"}) == plain);
}

TEST_CASE("evaluation takes no more images at a time than a step", "[cli]") {
  if (!available()) return;
  const TemporaryFolder folder;
  const std::string json = (folder.path / "out.json").string();
  // A step takes 4 MiB; a hundred images at a time, more than 12.
  const Ended ended =
      run_program({"train", "resnet", "--layers", "1", "--width", "16", "--batch", "4", "--threads", "1",
                   "--steps", "2", "--eval-every", "1", "--capacity", "6", "--json", json});
  CAPTURE(ended.output, ended.errors);
  CHECK(ended.status == 0);
  CHECK(read_json(json).at("val_loss").is_number());
}

TEST_CASE("an evaluation that fails costs no result and has a status of its own", "[cli]") {
  if (!available()) return;
  const TemporaryFolder folder;
  const std::string json = (folder.path / "out.json").string();
  const Ended ended = run_program(
      Arguments{"train"} + kGpt +
      Arguments{"--batch", "2", "--dtype", "float16", "--lr", "1e6", "--steps", "1", "--json", json});
  CAPTURE(ended.output, ended.errors);
  CHECK(ended.status == 3);
  CHECK_THAT(ended.errors,
             Contains("reprise: the evaluation failed, the work before it did not: [train] the held-out "
                      "loss is NaN: the model has diverged; lower --lr\n") &&
                 Contains("reprise: the sample failed"));
  CHECK_THAT(ended.output, Contains("train loss"));
  const nlohmann::json result = read_json(json);
  CHECK(result.at("losses").size() == 1);
  CHECK(result.at("val_loss").is_null());
  CHECK(entries(folder.path) == 1);
}

TEST_CASE("an evaluation on the way that fails does not end the run", "[cli]") {
  if (!available() || reprise::passthrough_by_default()) return;  // such a pool takes no slab
  const TemporaryFolder folder;
  const std::string json = (folder.path / "out.json").string();
  const Arguments run =
      Arguments{"train",        "gpt", "--layers", "2", "--width",   "64",     "--heads", "2",
                "--seq",        "64",  "--batch",  "8", "--threads", "1",      "--steps", "4",
                "--eval-every", "2",   "--sample", "0", "--arena",   "--json", json};
  const Ended plain = run_program(run);
  CAPTURE(plain.errors);
  REQUIRE(plain.status == 0);
  const nlohmann::json wanted = read_json(json);
  // The slab takes all that there is, so that nothing is left for an evaluation.
  const std::int64_t slab = wanted.at("arena").at("slab_bytes").get<std::int64_t>();
  const Ended full = run_program(run + Arguments{"--capacity", std::to_string((slab >> 20) + 1)});
  CAPTURE(slab, full.output, full.errors);
  CHECK(full.status == 3);
  CHECK_THAT(full.errors, Contains("the evaluation after step 2 failed") &&
                              Contains("the evaluation failed") && Contains("[memory]"));
  CHECK(read_json(json).at("losses") == wanted.at("losses"));
  CHECK(read_json(json).at("val_loss").is_null());
}

TEST_CASE("every signal that asks a run to stop is heard, and has its status", "[cli]") {
  if (!available()) return;
  const TemporaryFolder folder;
  const std::string json = (folder.path / "out.json").string();
  const Arguments train = Arguments{"train"} + kEndless;
  const Arguments compare = Arguments{"compare"} + kEndless;
  const Arguments predict{"predict", "gpt", "--layers", "300", "--device", "h100", "--fit", "batch"};
  for (const Arguments& command : {train, compare, predict}) {
    for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
      CAPTURE(command, signal);
      Program program(command + Arguments{"--json", json});
      REQUIRE(program.wait_until_catches(SIGHUP));
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
      program.send(signal);
      const Ended ended = program.wait();
      CAPTURE(ended.output, ended.errors);
      CHECK(ended.status == 128 + signal);
      CHECK_THAT(ended.output, Contains("interrupted"));
      const bool trained = command == train && ended.output.find("last loss") != std::string::npos;
      CHECK(entries(folder.path) == (trained ? 1 : 0));
      if (trained) CHECK(read_json(json).at("interrupted") == true);
      fs::remove(json);
    }
  }
}

TEST_CASE("a run that was started to ignore a hang-up goes on", "[cli]") {
  if (!available()) return;
  Program program("trap '' HUP; exec \"$0\" \"$@\"", Arguments{"train"} + kEndless);
  REQUIRE(program.wait_until_catches(SIGTERM));
  program.send(SIGHUP);
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  program.send(SIGTERM);
  CHECK(program.wait().status == 128 + SIGTERM);
}

TEST_CASE("Ctrl-C after the last step keeps the results", "[cli]") {
  if (!available()) return;
  const TemporaryFolder folder;
  const fs::path json = folder.path / "out.json";
  Program program(Arguments{"train"} + kGpt +
                  Arguments{"--batch", "2", "--steps", "2", "--sample", "1048576", "--json", json.string()});
  for (int i = 0; i < 2000 && !fs::exists(json); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  program.send(SIGINT);
  const Ended ended = program.wait();
  CHECK(ended.status == 130);
  CHECK_THAT(ended.output, Contains("train loss") && Contains("interrupted"));
  CHECK(read_json(json).at("losses").size() == 2);
  CHECK(entries(folder.path) == 1);
}

TEST_CASE("a second signal ends the program at once and leaves no temporary file", "[cli]") {
  for (const std::vector<int>& signals : {std::vector<int>{SIGINT, SIGINT},
                                          {SIGTERM, SIGINT},
                                          {SIGHUP, SIGTERM},
                                          {SIGINT, SIGQUIT},
                                          {SIGQUIT},
                                          {SIGXCPU},
                                          {SIGALRM},
                                          {SIGUSR1},
                                          {SIGUSR2}}) {
    CAPTURE(signals);
    const TemporaryFolder folder;
    const std::string path = (folder.path / "temporary").string();
    const pid_t child = ::fork();
    if (child == 0) {
      const rlimit none{};
      ::setrlimit(RLIMIT_CORE, &none);
      for (int signal = 1; signal < 32; ++signal) std::signal(signal, SIG_DFL);
      reprise::cli::listen_for_signals();
      const reprise::cli::ShortLivedFile file(path);
      if (::open(path.c_str(), O_CREAT | O_WRONLY, 0600) < 0) ::_exit(1);
      for (std::size_t i = 0; i < signals.size(); ++i) {
        if (::access(path.c_str(), F_OK) != 0) ::_exit(2);
        ::raise(signals[i]);
      }
      ::_exit(reprise::cli::interrupted() ? 3 : 4);
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    CAPTURE(status);
    CHECK(WIFSIGNALED(status));
    CHECK(WTERMSIG(status) == signals.back());
    CHECK(entries(folder.path) == 0);
  }
}

TEST_CASE("two that write the same file at once both write it whole", "[cli]") {
  if (!available()) return;
  const TemporaryFolder folder;
  const std::string json = (folder.path / "out.json").string();
  for (int round = 0; round < 5; ++round) {
    const Arguments run = Arguments{"train"} + kLittle + Arguments{"--steps", "3", "--json", json};
    Program one(run);
    Program other(run + Arguments{"--seed", "2"});
    CHECK(one.wait().status == 0);
    CHECK(other.wait().status == 0);
    CHECK(read_json(json).at("losses").size() == 3);
    CHECK(entries(folder.path) == 1);
  }
}

TEST_CASE("a standard output that cannot be written costs no result", "[cli]") {
  if (!available()) return;
  const TemporaryFolder folder;
  const std::string json = (folder.path / "out.json").string();
  const Arguments train = Arguments{"train"} + kLittle + Arguments{"--steps", "3", "--json", json};
  struct Case {
    const char* script;
    int status;
  };
  for (const Case& c : {Case{"\"$0\" \"$@\" > /dev/full", 3}, Case{"\"$0\" \"$@\" >&-", 0},
                        Case{"\"$0\" \"$@\" >&- 2>&- <&-", 0},
                        Case{"{ sleep 0.3; \"$0\" \"$@\"; echo $? >&3; } 3>&1 | true", 0}}) {
    CAPTURE(c.script);
    fs::remove(json);
    const Ended ended = run_shell(c.script, train);
    CAPTURE(ended.output, ended.errors);
    CHECK(ended.status == c.status);
    CHECK(read_json(json).at("val_loss").is_number());
    CHECK(entries(folder.path) == 1);
  }
  const std::string told = "{ sleep 0.3; \"$0\" \"$@\"; echo status $? >&3; } 3>&2 | true";
  CHECK_THAT(run_shell(told, train).errors, Contains("status 141\n"));
  // Without a file for them, nobody would learn the results.
  CHECK_THAT(run_shell(told, Arguments{"train"} + kEndless).errors, Contains("status 141\n"));
  CHECK_THAT(run_shell(told, Arguments{"compare"} + kEndless).errors, Contains("status 141\n"));
  const Ended full = run_shell("\"$0\" \"$@\" > /dev/full", {"info"});
  CHECK(full.status == 3);
  CHECK_THAT(full.errors, Contains("standard output cannot be written (No space left on device)"));
  CHECK(run_shell("\"$0\" \"$@\" > /dev/full", {"--help"}).status == 3);
}

TEST_CASE("results go to pipes, devices and the program's own output once", "[cli]") {
  if (!available()) return;
  const TemporaryFolder folder;
  const std::string log = (folder.path / "log").string();
  const Arguments train = Arguments{"train"} + kLittle + Arguments{"--steps", "3"};
  for (const std::string& script :
       {"\"$0\" \"$@\" --json /dev/stdout > " + log, "\"$0\" \"$@\" --json /dev/stdout | cat > " + log,
        "\"$0\" \"$@\" --json " + log + " > " + log}) {
    CAPTURE(script);
    CHECK(run_shell(script, train).status == 0);
    const std::string text = content_of(log);
    CAPTURE(text);
    CHECK_THAT(text, StartsWith("GPT") && Contains("train loss"));
    const std::size_t begin = text.find('{');
    REQUIRE(begin != std::string::npos);
    CHECK(nlohmann::json::parse(text.substr(begin)).at("val_loss").is_number());
    CHECK(entries(folder.path) == 1);
  }
  const Ended full = run_program(train + Arguments{"--json", "/dev/full"});
  CHECK(full.status == 3);
  CHECK_THAT(full.errors, Contains("writing the results failed") && Contains("make room on the disk"));
  CHECK_THAT(full.output, Contains("train loss") && Contains("held-out loss"));
}

TEST_CASE("files for results that cannot be are refused before the first step", "[cli]") {
  if (!available()) return;
  const TemporaryFolder folder;
  const std::string data = (folder.path / "data").string();
  std::string text;
  for (int i = 0; i < 4000; ++i) text += "some text\n"[i * 7 % 10];
  std::ofstream(data) << text;
  const std::string report = (folder.path / "report").string();
  fs::create_directories(report + "/report.html");
  const Arguments train = Arguments{"train"} + kEndless;
  const Arguments compare = Arguments{"compare"} + kEndless;
  const std::string too_long = (folder.path / std::string(256, 'n')).string();
  for (const Arguments& command : {train, compare, Arguments{"predict"} + kGpt}) {
    check_refused(command + Arguments{"--json", too_long}, {"File name too long", "give a shorter name"});
    check_refused(command + Arguments{"--json", "/proc/result.json"},
                  {"/proc/result.json cannot be written"});
    check_refused(command + Arguments{"--json", data + "/result.json"}, {"Not a directory"});
    check_refused(command + Arguments{"--json", data, "--data", data},
                  {"--data and --json name the same file"});
  }
  check_refused(compare + Arguments{"--json", data + "2", "--plot", data + "2"},
                {"--json and --plot name the same file"});
  check_refused(compare + Arguments{"--plot", too_long}, {"give a shorter name"});
  check_refused(compare + Arguments{"--report", report}, {"report.html", "name a file in that folder"});
  fs::remove(report + "/report.html");
  check_refused(compare + Arguments{"--report", report, "--json", report + "/trace.json"},
                {"--json and --report name the same file"});
  const Ended limited = run_shell("ulimit -f 1; \"$0\" \"$@\"", train + Arguments{"--json", data + "2"});
  CHECK(limited.status == 2);
  CHECK_THAT(limited.errors, Contains("File too large") && Contains("ulimit -f"));
  if (::geteuid() != 0) {
    fs::permissions(report, fs::perms::owner_read | fs::perms::owner_exec);
    check_refused(train + Arguments{"--json", report + "/out.json"}, {"Permission denied", "may write to"});
    check_refused(compare + Arguments{"--report", report}, {"Permission denied"});
    fs::permissions(report, fs::perms::owner_all);
  }
  CHECK(content_of(data) == text);
  CHECK(entries(report) == 0);
  CHECK(entries(folder.path) == 2);
}

TEST_CASE("a hostile name is harmless wherever it is shown", "[cli][report]") {
  if (!available()) return;
  const TemporaryFolder folder;
  // The path holds "</script>".
  const fs::path place = folder.path / "a\x1b]0;x\x07\n\xC2\x9B\xff\u202E\u2066\u2028<";
  fs::create_directory(place);
  const std::string data = (place / "script><b onload=\"x\">&'").string();
  std::string text;
  for (int i = 0; i < 4000; ++i) text += "some text\n"[i * 7 % 10];
  std::ofstream(data) << text;
  const std::string json = (place / "out.json").string();
  const std::string report = (place / "report").string();
  const std::string plot = (place / "plot.svg").string();

  const Ended trained =
      run_program(Arguments{"train"} + kLittle + Arguments{"--steps", "2", "--data", data, "--json", json});
  CAPTURE(trained.output, trained.errors);
  CHECK(trained.status == 0);
  check_harmless(trained.output);
  check_harmless(trained.errors);
  CHECK(read_json(json).at("losses").size() == 2);

  const Ended compared =
      run_program(Arguments{"compare"} + kGpt +
                  Arguments{"--batch", "2", "--steps", "2", "--segments", "none,blocks", "--data", data,
                            "--json", json, "--report", report, "--plot", plot});
  CAPTURE(compared.output, compared.errors);
  CHECK(compared.status == 0);
  check_harmless(compared.output);
  CHECK_THAT(read_json(json).at("data").get<std::string>(), Contains("script><b onload=\"x\">&'"));
  check_harmless(content_of(json));
  for (const std::string& file :
       {report + "/report.html", report + "/trace.json", report + "/snapshot-none.json", plot}) {
    CAPTURE(file);
    check_harmless(content_of(file));
  }
  const std::string page = content_of(report + "/report.html");
  CHECK(page.find("<b onload") == std::string::npos);
  CHECK(page.find("</script>") == page.rfind("</script>"));
  CHECK_THAT(page, Contains("&lt;/script&gt;&lt;b onload=&quot;x&quot;&gt;&amp;'"));

  for (const Arguments& refused : {Arguments{"train", "gpt", "--data", data, "--seq", "10000"},
                                   {"train", "gpt", "--data", data + "-absent"},
                                   {"train", "gpt", "--data", data, "--vocab", "1"},
                                   {"train", "gpt", "--data", place.string()},
                                   {"train", "resnet", "--data", place.string()},
                                   {"train", "resnet", "--data", data},
                                   {"train", "gpt", "--json", place.string()},
                                   {"train", "gpt", "--json", data + "/x"},
                                   {"compare", "gpt", "--report", data},
                                   {"train", "gpt", "--preset", place.filename().string().substr(0, 5)}}) {
    check_refused(refused, {});
    check_harmless(run_program(refused).errors);
  }
}

TEST_CASE("a hostile text is harmless in what a model has learnt", "[cli]") {
  if (!available()) return;
  const TemporaryFolder folder;
  const std::string data = (folder.path / "text").string();
  std::string text;
  for (int i = 0; i < 500; ++i) text += "\x1b[2J\x07\r\b\xC2\x9B\u202E\u2066\u2028\xff\x7f\n";
  std::ofstream(data) << text;
  const Ended ended =
      run_program(Arguments{"train"} + kGpt +
                  Arguments{"--batch", "4", "--steps", "60", "--sample", "400", "--data", data});
  CAPTURE(ended.errors);
  CHECK(ended.status == 0);
  CHECK(ended.output.size() > 600);
  check_harmless(ended.output);
}

TEST_CASE("a folder's name does not choose how images are augmented", "[cli]") {
  if (!available()) return;
  const TemporaryFolder folder;
  const auto word = [](unsigned value) {
    return std::string{0, 0, static_cast<char>(value >> 8), static_cast<char>(value)};
  };
  const auto losses = [&](const std::string& name, unsigned tests) {
    const fs::path place = folder.path / name;
    fs::create_directory(place);
    for (const std::string part : {"train", "t10k"}) {
      const unsigned count = part == "train" ? 16 : tests;
      std::string pixels;
      for (unsigned i = 0; i < count * 64; ++i) pixels += static_cast<char>(i * 37 % 251);
      std::ofstream(place / (part + "-images-idx3-ubyte"), std::ios::binary)
          << word(0x803) + word(count) + word(8) + word(8) + pixels;
      std::string labels;
      for (unsigned i = 0; i < count; ++i) labels += static_cast<char>(i % 2);
      std::ofstream(place / (part + "-labels-idx1-ubyte"), std::ios::binary)
          << word(0x801) + word(count) + labels;
    }
    const std::string json = (folder.path / (name + ".json")).string();
    const Ended ended =
        run_program({"train", "resnet", "--layers", "1", "--width", "4", "--batch", "8", "--threads", "1",
                     "--augment", "--steps", "3", "--data", place.string(), "--json", json});
    CAPTURE(ended.errors);
    if (tests == 0) {
      CHECK(ended.status == 2);
      CHECK_THAT(ended.errors, Contains("there are no test images"));
      return nlohmann::json();
    }
    REQUIRE(ended.status == 0);
    return read_json(json).at("losses");
  };
  CHECK(losses("digits", 4) == losses("CIFAR-like", 4));
  losses("untested", 0);
}
