// The scripts: what those that change something on the user's machine refuse, that they ask first, and what
// long ones say.
#include <catch2/catch.hpp>
#include <fstream>

#include "program.h"
#include "temporary_folder.h"

using Catch::Matchers::Contains;
namespace fs = std::filesystem;

namespace {

const std::string kTools = REPRISE_TOOLS;

void write(const fs::path& file, const std::string& text) {
  fs::create_directories(file.parent_path());
  std::ofstream(file) << text;
}

std::string read(const fs::path& file) {
  std::ifstream stream(file);
  return {std::istreambuf_iterator<char>(stream), {}};
}

/// A machine on which every package is missing, as programs that take the place of its own see it.
struct Machine : TemporaryFolder {
  explicit Machine(bool is_root, bool has_sudo = true) {
    program("dpkg-query", "exit 1");
    program("id", is_root ? "echo 0" : "echo 1000");
    program("apt-get", "echo \"apt-get $*\" >> '" + log() + "'");
    if (has_sudo) program("sudo", "echo sudo >> '" + log() + "'; [ $1 = -n ] && shift; exec \"$@\"");
  }

  std::string log() const { return (path / "log").string(); }

  /// tools/setup.sh with these variables; `typed` goes to it on a terminal, if any.
  Ended setup(const std::string& variables, const std::string* typed) const {
    const std::string run =
        "env -u CI -u YES PATH='" + path.string() + "/bin' " + variables + " '" + kTools + "/setup.sh'";
    if (typed == nullptr) return run_command({"bash", "-c", "exec " + run + " < /dev/null"});
    // Nobody types before the question is there: a Ctrl-C would come before the script can say anything.
    const std::string shown = "'" + (path / "shown").string() + "'";
    return run_command({"bash", "-c",
                        "{ for i in {1..400}; do grep -qs 'Enter' " + shown +
                            " && break; sleep 0.05; done; printf '" + *typed + "'; } | script -qfec \"" +
                            run + "\" " + shown});
  }

 private:
  void program(const std::string& name, const std::string& text) const {
    const fs::path file = path / "bin" / name;
    write(file, "#!/bin/bash\n" + text + "\n");
    fs::permissions(file, fs::perms::owner_all);
    for (const std::string tool : {"bash", "env", "mktemp", "rm", "cat", "sh"}) {
      const fs::path link = path / "bin" / tool;
      if (!fs::exists(link)) fs::create_symlink(fs::path("/usr/bin") / tool, link);
    }
  }
};

}  // namespace

TEST_CASE("setup says what it would install, and asks where it needs leave", "[tools]") {
  struct Row {
    const char* name;
    bool root, has_sudo;
    const char* variables;
    const char* typed;  // null: no terminal
    bool installs;
  };
  constexpr Row kRows[] = {
      {"root", true, false, "", nullptr, true},
      {"a user without a terminal", false, true, "", nullptr, false},
      {"a user without a terminal who has said yes", false, true, "YES=1", nullptr, true},
      {"continuous integration", false, true, "CI=true", nullptr, true},
      {"a user who says neither", false, true, "YES=0", nullptr, false},
      {"a user who presses Enter", false, true, "", "\\n", true},
      {"a user who presses Ctrl-D", false, true, "", "\\004", false},
      {"a user who presses Ctrl-C", false, true, "", "\\003", false},
      {"a user without sudo", false, false, "YES=1", nullptr, false},
  };
  for (const Row& row : kRows) {
    CAPTURE(row.name);
    const Machine machine(row.root, row.has_sudo);
    const std::string typed = row.typed == nullptr ? "" : row.typed;
    const Ended ended = machine.setup(row.variables, row.typed == nullptr ? nullptr : &typed);
    CAPTURE(ended.output, ended.errors);
    CHECK_THAT(ended.output + ended.errors, Contains("apt-get install"));
    CHECK_THAT(ended.output + ended.errors, Contains("libeigen3-dev"));
    const std::string done = read(machine.log());
    CHECK((done.find("apt-get -q -y install") != std::string::npos) == row.installs);
    CHECK((done.find("sudo") != std::string::npos) == (row.installs && !row.root));
    CHECK((ended.status == 0) == row.installs);
    if (!row.installs) CHECK(done.empty());
  }
}

TEST_CASE("the demo lets waiting threads sleep on a busy machine, and says so", "[tools]") {
  const TemporaryFolder folder;
  const auto program = [&](const char* name, const std::string& text) {
    write(folder.path / name, "#!/bin/bash\n" + text + "\n");
    fs::permissions(folder.path / name, fs::perms::owner_all);
  };
  program("program", "echo \"policy '${OMP_WAIT_POLICY:-}' for $1 $2\"");
  fs::create_directories(folder.path / "tools");
  fs::copy_file(kTools + "/demo.sh", folder.path / "tools/demo.sh");
  const auto demo = [&](const std::string& processors, const std::string& variables) {
    program("bin/nproc",
            "echo " + processors);  // any load is above half of -1, and none above half of a million
    return run_command({"bash", "-c",
                        "env -u OMP_WAIT_POLICY PATH='" + (folder.path / "bin").string() + "':\"$PATH\" " +
                            variables + " '" + (folder.path / "tools/demo.sh").string() + "' '" +
                            (folder.path / "program").string() + "'"});
  };
  struct Row {
    const char *processors, *variables, *policy;
    bool said;
  };
  for (const Row& row : {Row{"-1", "", "passive", true}, Row{"1000000", "", "", false},
                         Row{"-1", "OMP_WAIT_POLICY=active", "active", false}}) {
    CAPTURE(row.processors, row.variables);
    const Ended ended = demo(row.processors, row.variables);
    CAPTURE(ended.output, ended.errors);
    CHECK(ended.status == 0);
    CHECK_THAT(ended.output, Catch::Matchers::StartsWith("The demo takes about ") &&
                                 Contains("policy '" + std::string(row.policy) + "' for train gpt") &&
                                 Contains("policy '" + std::string(row.policy) + "' for predict gpt"));
    CHECK((ended.output.find("The machine is busy (load ") != std::string::npos) == row.said);
  }
}

TEST_CASE("a build that nobody watches says how far it is, what fails, and that it failed", "[tools]") {
  const TemporaryFolder folder;
  fs::create_directories(folder.path / "tools");
  fs::copy_file(kTools + "/build.sh", folder.path / "tools/build.sh");
  write(folder.path / "build/release/build.ninja", "");
  const auto build = [&](const std::string& ninja) {
    write(folder.path / "bin/ninja", "#!/bin/bash\n" + ninja + "\n");
    fs::permissions(folder.path / "bin/ninja", fs::perms::owner_all);
    return run_command({"bash", "-c",
                        "PATH='" + (folder.path / "bin").string() + "':\"$PATH\" '" +
                            (folder.path / "tools/build.sh").string() + "' release thing"});
  };
  const Ended ended = build("for i in {1..40}; do echo \"[$i/40] Building thing $i\"; done");
  CAPTURE(ended.output, ended.errors);
  CHECK(ended.status == 0);
  CHECK(std::count(ended.output.begin(), ended.output.end(), '\n') ==
        12);  // ten, what is built, and the time
  CHECK_THAT(ended.output, Contains("\n  10 % (4 of 40)\n") && Contains("\n  100 % (40 of 40)\n") &&
                               Contains("\nBuilt build/release in "));
  const Ended failed =
      build("echo '[1/40] Building'; echo 'FAILED: thing.o'; echo 'thing.cpp:1: error'; exit 1");
  CHECK(failed.status == 1);
  CHECK_THAT(failed.output, Contains("FAILED: thing.o\nthing.cpp:1: error\n") && !Contains("Built"));
}

TEST_CASE("bundling headers replaces nothing that is not a bundle", "[tools]") {
  const TemporaryFolder folder;
  const auto bundle = [](const fs::path& to) {
    return run_command({kTools + "/bundle_headers.sh", to.string()});
  };
  const auto files_in = [](const fs::path& of) {
    std::vector<std::string> all;
    for (const fs::directory_entry& entry : fs::recursive_directory_iterator(of))
      all.push_back(entry.path().string());
    std::sort(all.begin(), all.end());
    return all;
  };

  write(folder.path / "home/thesis.tex", "years");
  write(folder.path / "file", "text");
  fs::create_symlink("nowhere", folder.path / "dangling");
  const std::vector<std::string> before = files_in(folder.path);
  for (const char* const name : {"home", "home/", "home/../home/.", ".", "file", "dangling/../home"}) {
    CAPTURE(name);
    const Ended ended = bundle(folder.path / name);
    CHECK(ended.status == 1);
    CHECK_THAT(ended.errors, Catch::Matchers::StartsWith("bundle: "));
    CHECK(files_in(folder.path) == before);
  }
  CHECK(read(folder.path / "home/thesis.tex") == "years");

  const fs::path made = folder.path / "new/bundle";
  if (const Ended first = bundle(made); first.status != 0) {
    WARN("skipped: " + first.errors);
    return;
  }
  const std::vector<std::string> files = files_in(made);
  CHECK(files.size() > 100);
  CHECK(bundle(made.string() + "/").status == 0);  // its own work is replaced
  CHECK(files_in(made) == files);
  write(made / "include/mine.h", "mine");
  const Ended refused = bundle(made);
  CHECK(refused.status == 1);
  CHECK_THAT(refused.errors, Contains("include/mine.h"));
  CHECK(read(made / "include/mine.h") == "mine");
  fs::remove(made / "include/mine.h");
  fs::remove(made / ".reprise-bundle");
  CHECK(bundle(made).status == 1);
  fs::create_directory(folder.path / "empty");
  CHECK(bundle(folder.path / "empty").status == 0);
}
