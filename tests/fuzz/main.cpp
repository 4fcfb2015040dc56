// Random programs, each with and without segments.
#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "generate.h"
#include "listing.h"
#include "reprise/kernels/threads.h"
#include "shrink.h"
#include "worker.h"

namespace {

using namespace reprise::fuzz;
using Clock = std::chrono::steady_clock;

struct Options {
  double seconds = 20;
  std::uint64_t programs = ~std::uint64_t{0};
  std::uint64_t seed = 1;
  std::string setting = "all";
  std::string replay;
  std::string save;
  std::string ignore;  // findings of a kind with this in it are not counted
  bool listing = false;
  bool first = false;  // one finding is enough
  bool keep = false;   // the program as it is, without making it smaller
  int most_shown = 2;
  double shrink_seconds = 15;
};

struct Row {
  const Setting* setting;
  std::uint64_t programs = 0, runs = 0, instructions = 0, stale = 0, findings = 0, played = 0, replayed = 0,
                errors = 0;
  double seconds = 0;
  std::map<std::string, std::uint64_t> kinds{};
};

double since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

constexpr const char* kUsage =
    "reprise_fuzz [--seconds N] [--programs N] [--seed S] [--setting NAME|all] [--save DIR] [--show N]\n"
    "reprise_fuzz --replay SEED|FILE [--setting NAME] [--listing] [--keep]\n\n"
    "Makes random programs and runs each with and without checkpoint segments: every observation must be "
    "equal.\n"
    "  --seconds N    in all, shared by the settings (20)\n"
    "  --programs N   at most, for each setting\n"
    "  --seed S       of the first program (1)\n"
    "  --setting NAME one of the table's, or all\n"
    "  --save DIR     writes every finding, made smaller, as DIR/<name>.txt and .cpp\n"
    "  --first        ends at the first finding\n"
    "  --ignore TEXT  passes over findings of a kind with that in it\n"
    "  --show N       findings of a kind that are made smaller and shown, for each setting (2)\n"
    "  --replay X     one program, by its seed or from a file, made smaller if it shows a finding\n"
    "  --listing      prints it as C++ that compiles\n"
    "  --keep         does not make it smaller\n";

Options parse(int argc, char** argv) {
  Options o;
  const auto fail = [](const std::string& text) {
    std::fprintf(stderr, "%s\n\n%s", text.c_str(), kUsage);
    std::exit(2);
  };
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    if (name == "--listing") {
      o.listing = true;
    } else if (name == "--first") {
      o.first = true;
    } else if (name == "--keep") {
      o.keep = true;
    } else if (name == "--help" || name == "-h") {
      std::fputs(kUsage, stdout);
      std::exit(0);
    } else if (i + 1 >= argc) {
      fail(name + " takes a value");
    } else {
      const char* value = argv[++i];
      if (name == "--seconds")
        o.seconds = std::strtod(value, nullptr);
      else if (name == "--programs")
        o.programs = std::strtoull(value, nullptr, 10);
      else if (name == "--seed")
        o.seed = std::strtoull(value, nullptr, 10);
      else if (name == "--setting")
        o.setting = value;
      else if (name == "--save")
        o.save = value;
      else if (name == "--show")
        o.most_shown = std::atoi(value);
      else if (name == "--ignore")
        o.ignore = value;
      else if (name == "--replay")
        o.replay = value;
      else
        fail("no option is called " + name);
    }
  }
  if (o.setting != "all" && find_setting(o.setting) == nullptr) fail("no setting is called " + o.setting);
  return o;
}

/// What the program shows, found in a child.
std::optional<Finding> probe(Worker& worker, const Program& program, const Setting& setting) {
  return worker.run([&] {
    worker.begin(program.seed, 3);
    const Verdict verdict = check(program, setting);
    if (verdict.finding) worker.report(*verdict.finding);
  });
}

void write_file(const std::filesystem::path& path, const std::string& text) {
  std::ofstream out(path);
  out << text;
}

/// Makes the program smaller, prints what it shows, and saves it.
void show(Worker& worker, Program program, const Setting& setting, const Finding& finding,
          const Options& options) {
  const std::uint64_t seed = program.seed;
  const std::size_t before = size_of(program);
  if (!options.keep) {
    const Clock::time_point start = Clock::now();
    program = shrink(std::move(program), [&](const Program& candidate) {
      if (since(start) > options.shrink_seconds) return false;
      const std::optional<Finding> found = probe(worker, candidate, setting);
      return found && *found == finding;
    });
  }
  const std::optional<Finding> found = probe(worker, program, setting);
  fmt::print("\n{}: {} (seed {}, {} of {} instructions)\n    {}\n{}", setting.name, finding.kind, seed,
             size_of(program), before, found ? found->detail : finding.detail, worker.backtrace());
  const std::string text = listing(program, setting, found.value_or(finding));
  fmt::print("\n{}\n", options.listing ? text : statements(program));
  if (!options.save.empty()) {
    std::filesystem::create_directories(options.save);
    std::string name = fmt::format("{}_{}_{}", finding.kind, setting.name, seed);
    for (char& c : name)
      if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '_';
    write_file(std::filesystem::path(options.save) / (name + ".cpp"), text);
    write_file(std::filesystem::path(options.save) / (name + ".txt"), to_text(program));
  }
  std::fflush(stdout);
}

/// Programs of one setting until its time is over.
Row fuzz(Worker& worker, const Setting& setting, double seconds, const Options& options) {
  Row row{&setting};
  Board& board = worker.board();
  board.programs = board.stale = board.runs = board.instructions = board.played = board.replayed =
      board.errors = 0;
  const Clock::time_point start = Clock::now();
  const bool terminal = ::isatty(STDERR_FILENO) != 0;
  std::uint64_t next = options.seed;
  const std::uint64_t end = options.programs > ~next ? ~std::uint64_t{0} : next + options.programs;
  while (next < end && since(start) < seconds && !(options.first && row.findings > 0)) {
    // A child goes on until it has found something, for at most some seconds.
    const double child_seconds = std::min(5.0, seconds - since(start));
    board.seed = next;
    const std::optional<Finding> finding = worker.run([&] {
      const Clock::time_point child_start = Clock::now();
      for (std::uint64_t seed = next; seed < end && since(child_start) < child_seconds; ++seed) {
        worker.begin(seed);
        const Program program = generate(seed, setting);
        const Verdict verdict = check(program, setting);
        board.runs += static_cast<std::uint64_t>(verdict.runs);
        board.played += static_cast<std::uint64_t>(verdict.played);
        board.errors += static_cast<std::uint64_t>(verdict.errors);
        board.replayed += static_cast<std::uint64_t>(verdict.replayed);
        board.instructions += size_of(program);
        board.stale += verdict.stale ? 1u : 0u;
        board.programs += 1;
        if (verdict.finding) worker.report(*verdict.finding);
      }
    });
    next = board.seed + 1;
    if (finding && !board.found) board.programs += 1;
    if (finding && (options.ignore.empty() || finding->kind.find(options.ignore) == std::string::npos)) {
      ++row.findings;
      std::string kind = finding->kind;
      if (++row.kinds[kind] <= static_cast<std::uint64_t>(options.most_shown))
        show(worker, generate(board.seed, setting), setting, *finding, options);
    }
    if (terminal)
      fmt::print(stderr, "\r{:<12} {:>9} programs {:>6} findings {:>5.0f} s ", setting.name,
                 board.programs.load(), row.findings, since(start));
  }
  if (terminal) fmt::print(stderr, "\r{:60}\r", "");
  row.programs = board.programs;
  row.runs = board.runs;
  row.instructions = board.instructions;
  row.stale = board.stale;
  row.played = board.played;
  row.errors = board.errors;
  row.replayed = board.replayed;
  row.seconds = since(start);
  return row;
}

void print_table(const std::vector<Row>& rows) {
  // A run plays and replays so many nodes, and throws so many errors, in the mean.
  fmt::print("\n{:<12} {:>10} {:>10} {:>13} {:>8} {:>9} {:>8} {:>8} {:>9} {:>8} {:>11}\n", "setting",
             "programs", "runs", "instructions", "played", "replayed", "errors", "stale", "findings",
             "seconds", "programs/s");
  Row all{nullptr};
  const auto line = [](std::string_view name, const Row& row) {
    const double runs = std::max(1.0, static_cast<double>(row.runs));
    fmt::print("{:<12} {:>10} {:>10} {:>13} {:>8.1f} {:>9.1f} {:>8.2f} {:>8} {:>9} {:>8.1f} {:>11.0f}\n",
               name, row.programs, row.runs, row.instructions, static_cast<double>(row.played) / runs,
               static_cast<double>(row.replayed) / runs, static_cast<double>(row.errors) / runs, row.stale,
               row.findings, row.seconds, static_cast<double>(row.programs) / std::max(row.seconds, 1e-9));
  };
  for (const Row& row : rows) {
    line(row.setting->name, row);
    all.programs += row.programs;
    all.runs += row.runs;
    all.instructions += row.instructions;
    all.stale += row.stale;
    all.played += row.played;
    all.errors += row.errors;
    all.replayed += row.replayed;
    all.findings += row.findings;
    all.seconds += row.seconds;
  }
  if (rows.size() > 1) line("all", all);
  for (const Row& row : rows) {
    for (const auto& [kind, n] : row.kinds) fmt::print("{:<12} {:>6} x {}\n", row.setting->name, n, kind);
  }
}

int replay(Worker& worker, const Options& options) {
  Program program;
  const bool is_seed = options.replay.find_first_not_of("0123456789") == std::string::npos;
  if (is_seed) {
    if (options.setting == "all") {
      std::fprintf(stderr, "a seed is one of a setting's: give --setting NAME\n");
      return 2;
    }
    program = generate(std::strtoull(options.replay.c_str(), nullptr, 10), *find_setting(options.setting));
  } else {
    std::ifstream in(options.replay);
    std::stringstream text;
    text << in.rdbuf();
    program = read_program(text.str());
  }
  const Setting* setting = find_setting(options.setting == "all" ? program.setting : options.setting);
  if (setting == nullptr) {
    std::fprintf(stderr, "no setting is called %s\n", program.setting.c_str());
    return 2;
  }
  const std::optional<Finding> finding = probe(worker, program, *setting);
  if (!finding) {
    fmt::print("nothing found\n");
    if (options.listing) fmt::print("\n{}\n", listing(program, *setting, {"nothing", "nothing"}));
    return 0;
  }
  show(worker, std::move(program), *setting, *finding, options);
  return 1;
}

}  // namespace

int main(int argc, char** argv) try {
  const Options options = parse(argc, argv);
  // Children are made by fork, and no thread of OpenMP may be before that.
  reprise::kernels::set_num_threads(1);
  Worker worker;
  if (!options.replay.empty()) return replay(worker, options);
  std::vector<const Setting*> chosen;
  for (const Setting& setting : settings()) {
    if (options.setting == "all" || options.setting == setting.name) chosen.push_back(&setting);
  }
  std::vector<Row> rows;
  std::uint64_t findings = 0;
  for (const Setting* setting : chosen) {
    rows.push_back(fuzz(worker, *setting, options.seconds / static_cast<double>(chosen.size()), options));
    findings += rows.back().findings;
    if (options.first && findings > 0) break;
  }
  print_table(rows);
  return findings == 0 ? 0 : 1;
} catch (const std::exception& e) {
  std::fprintf(stderr, "reprise_fuzz: %s\n", e.what());
  return 2;
}
