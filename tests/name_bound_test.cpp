// Names that a program makes up as it runs, one for each step, take no memory without end.
#include <malloc.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <string>

#include "reprise/context.h"
#include "reprise/reprise.h"

using namespace reprise;

namespace {

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr int kNames = 80'000;  // of which a quarter is beyond what is remembered
constexpr bool kMallocCounts = false;
#else
constexpr int kNames = 1'000'000;
constexpr bool kMallocCounts = true;
#endif

/// A step whose module, segments and tensors are called after it.
void step(int i) {
  const std::string number = std::to_string(i);
  const ModuleScope module("step " + number);
  const ModuleScope inside("mlp");
  const Tensor x = ones({1}).set_name("input " + number).set_requires_grad(true);
  checkpoint::segment("segment " + number, [&] { return relu(x); }).backward();
}

struct Use {
  std::size_t places = place_count();
  std::size_t segments = current_pool().usage_by_tag().size();
  std::size_t bytes = mallinfo2().uordblks;
};

/// Errors and listings after so many names: what is wrong, or 0.
int after_many_names() {
  for (int i = 0; i < kNames / 4; ++i) step(i);
  const Use early;
  for (int i = kNames / 4; i < kNames; ++i) step(i);
  const Use late;
  if (late.places != early.places || late.places > 2 * kMostPlaces) return 1;
  if (late.segments != early.segments) return 2;
  if (kMallocCounts && late.bytes > early.bytes + (64 << 10)) return 3;

  const Tensor named = ones({3}).set_name("the last one");
  const MemoryBlock& block = *named.value()->storage->block;
  if (block.origin.place->path != kFurtherNames) return 4;
  if (describe(*named.value()) != "'the last one' (3)") return 5;
  Pool& pool = current_pool();
  pool.fail_after(1);
  try {
    empty({1});
    return 6;
  } catch (const OutOfMemory& error) {
    if (std::string(error.what()).find("  the last one (3) float32\n") == std::string::npos) return 7;
  }
  const ModuleScope module("another step");
  if (context().place->path != kFurtherNames) return 8;
  const ModuleScope known("mlp");
  if (context().place->path != kFurtherNames) return 9;
  if (pool.usage(pool.tag("another segment")) != pool.usage(pool.tag("(further segments)"))) return 10;
  if (pool.usage(pool.tag("segment 7")).requested.total == 0) return 11;
  return 0;
}

}  // namespace

// In a process of its own: the names that it uses up are those of the whole program.
TEST_CASE("a million names by step take no more memory than some thousands", "[memory][trace]") {
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    int wrong = 99;
    try {
      wrong = after_many_names();
    } catch (...) {  // NOLINT(bugprone-empty-catch): said by the exit status
    }
    _exit(wrong);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  REQUIRE(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
}
