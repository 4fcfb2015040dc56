// Processors that lack instructions which the build was compiled for: the line that says so, and programs
// that start on such a processor (qemu's, where there is one).
#include <array>
#include <csignal>
#include <filesystem>

#include "cli_support.h"
#include "processor/instructions.h"
#include "reprise/kernels/processor.h"
#include "sanitizers.h"

using namespace reprise::kernels;
using Catch::Matchers::Contains;

namespace {

processor::Set set_of(const std::vector<std::string>& names) {
  processor::Set set = 0;
  for (const std::string& name : names) {
    int bit = 0;
    for (const processor::Instructions& instructions : processor::kInstructions) {
      if (name == instructions.name) set |= processor::Set{1} << bit;
      ++bit;
    }
  }
  return set;
}

std::string line_of(const std::vector<std::string>& compiled_for, const std::vector<std::string>& has) {
  std::array<char, 1024> line{};
  processor::describe_missing(set_of(compiled_for), set_of(has), line.data(), static_cast<int>(line.size()));
  return line.data();
}

}  // namespace

TEST_CASE("instructions that a processor lacks are named, with a build that it can run", "[processor]") {
  const std::vector<std::string> first{"SSE3", "SSSE3", "SSE4.1"};
  const std::vector<std::string> second{"SSE3", "SSSE3", "SSE4.1", "SSE4.2", "POPCNT"};
  std::vector<std::string> third = second;
  third.insert(third.end(), {"AVX", "AVX2", "BMI", "BMI2", "F16C", "FMA", "LZCNT", "MOVBE"});
  REQUIRE(set_of(third) ==
          set_of(second) + set_of({"AVX", "AVX2", "BMI", "BMI2", "F16C", "FMA", "LZCNT", "MOVBE"}));
  CHECK(line_of({}, {}).empty());
  CHECK(line_of({}, third).empty());
  CHECK(line_of(second, third).empty());
  CHECK(line_of(third, third).empty());
  const std::string begin = "[processor] Reprise was compiled for instructions that this processor lacks (";
  CHECK(line_of({"SSE3", "SSE4.2", "AVX2"}, first) ==
        begin + "SSE4.2, AVX2); build it with -DREPRISE_CPU_ARCH=x86-64");
  CHECK(line_of({"AVX2", "AVX-512F"}, second) ==
        begin + "AVX2, AVX-512F); build it with -DREPRISE_CPU_ARCH=x86-64-v2");
  CHECK(line_of({"AVX2", "AVX-512F", "AVX-512FP16"}, third) ==
        begin + "AVX-512F, AVX-512FP16); build it with -DREPRISE_CPU_ARCH=x86-64-v3");
  std::array<char, 8> cut;
  cut.fill('x');
  processor::describe_missing(set_of({"AVX"}), 0, cut.data(), 7);
  CHECK(std::string(cut.data()) == "[proce");
  CHECK(cut[7] == 'x');
}

TEST_CASE("this processor has what this build was compiled for", "[processor]") {
  CHECK((processor::kCompiledFor & ~processor::of_this_processor()) == 0);
  CHECK(std::string(missing_instructions()).empty());
  CHECK_NOTHROW(require_processor());
#if defined(__AVX2__)
  CHECK((processor::kCompiledFor & set_of({"AVX2"})) != 0);
#endif
#if defined(__x86_64__)
  CHECK(((processor::of_this_processor() & set_of({"AVX2"})) != 0) == (__builtin_cpu_supports("avx2") != 0));
  CHECK(((processor::of_this_processor() & set_of({"AVX-512BW"})) != 0) ==
        (__builtin_cpu_supports("avx512bw") != 0));
  CHECK(((processor::of_this_processor() & set_of({"SSE4.2"})) != 0) ==
        (__builtin_cpu_supports("sse4.2") != 0));
#endif
}

TEST_CASE("a program says at its start, or where it fails, what its processor lacks", "[processor][cli]") {
  if (!available()) return;
  if (UNDER_ADDRESS_SANITIZER || UNDER_THREAD_SANITIZER) {
    WARN("skipped: sanitized programs do not run on qemu's processors");
    return;
  }
  if (run_command({"sh", "-c", "command -v qemu-x86_64"}).status != 0) {
    WARN("skipped: there is no qemu-x86_64 here (Debian's qemu-user)");
    return;
  }
  struct Processor {
    const char* name;
    std::vector<std::string> has;
  };
  const std::vector<Processor> processors{
      {"qemu64", {"SSE3"}},
      {"Nehalem", {"SSE3", "SSSE3", "SSE4.1", "SSE4.2", "POPCNT"}},
      {"Haswell-noTSX",
       {"SSE3", "SSSE3", "SSE4.1", "SSE4.2", "POPCNT", "AVX", "AVX2", "BMI", "BMI2", "F16C", "FMA", "LZCNT",
        "MOVBE"}},
  };
  const std::string tests = std::filesystem::read_symlink("/proc/self/exe").string();
  const auto run_on = [](const std::string& processor, const std::string& command) {
    return run_command({"sh", "-c", "ulimit -c 0; exec qemu-x86_64 -cpu " + processor + " " + command});
  };
  for (const Processor& processor : processors) {
    const auto missing = processor::kCompiledFor & ~set_of(processor.has);
    const Ended ended = run_on(processor.name, "'" + reprise_program()->string() + "' --version");
    CAPTURE(processor.name, ended.output, ended.errors);
    if (missing == 0) {
      CHECK(ended.status == 0);
      CHECK_THAT(ended.output, Contains("reprise "));
      continue;
    }
    std::array<char, 1024> line{};
    processor::describe_missing(processor::kCompiledFor, set_of(processor.has), line.data(), 1024);
    CHECK(ended.status == 2);
    CHECK(ended.output.empty());
    CHECK_THAT(ended.errors, Contains("reprise: " + std::string(line.data()) + "\n"));
    // A program that only uses the library ends where it comes to such an instruction, or not at all.
    const Ended user = run_on(processor.name, "'" + tests + "' --list-tests");
    CAPTURE(user.output, user.errors);
    if (user.status == 128 + SIGILL) CHECK_THAT(user.errors, Contains(std::string(line.data()) + "\n"));
  }
}
