// Threads that are fewer than asked for: regions of the caller's own, limits of OpenMP, several callers,
// forks.
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <catch2/catch.hpp>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <set>
#include <thread>

#include "cpu/parallel.h"
#include "kernel_tensor.h"
#include "program.h"
#include "sanitizers.h"
#include "training_digest.h"

#if !defined(REPRISE_STD_THREADS)
#include <omp.h>
#endif

using namespace reprise;
using namespace reprise::kernels;
using training_digest::digest_of_training;

namespace {

std::string digest_on(int threads) {
  const ThreadsScope scope(threads);
  return digest_of_training();
}

/// The threads that a parallel_for of as many parts as there may be runs on; -1 when it did not visit every
/// item once.
int threads_of_a_kernel() {
  constexpr std::int64_t kItems = 64;
  std::array<std::atomic<int>, kItems> visits{};
  std::array<std::thread::id, kItems> ids;
  std::atomic<int> begun = 0;
  const int parts = num_threads();
  cpu::parallel_for(kItems, 1, [&](std::int64_t begin, std::int64_t end) {
    // Parts wait for each other, so that no thread takes two where there are enough.
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    for (++begun; begun < parts && std::chrono::steady_clock::now() < until;) std::this_thread::yield();
    for (std::int64_t i = begin; i < end; ++i) {
      ++visits[static_cast<std::size_t>(i)];
      ids[static_cast<std::size_t>(i)] = std::this_thread::get_id();
    }
  });
  for (const std::atomic<int>& count : visits) {
    if (count != 1) return -1;
  }
  return static_cast<int>(std::set<std::thread::id>(ids.begin(), ids.end()).size());
}

/// Runs f in a forked child, which has four minutes; its exit status, or 128 + the signal that ended it.
template <class F>
int status_of_child(F&& f) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(240);
    ::_exit(f());
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace

#if !defined(REPRISE_STD_THREADS)

TEST_CASE("a kernel uses the threads that OpenMP gives it where it is called", "[threads]") {
  const ThreadsScope scope(3);
  struct Setting {
    const char* name;
    int levels, dynamic;
    int outer, inner;  // threads of the caller's two nested regions; 0: no region
    int expected;
  };
  constexpr Setting kSettings[] = {
      {"as asked", 1, 0, 0, 0, 3},
      {"threads may be fewer on a busy machine", 1, 1, 0, 0, 3},
      {"no levels", 0, 0, 0, 0, 1},
      {"inside a region", 1, 0, 2, 1, 1},
      {"inside a region that may nest", 8, 0, 2, 1, 1},
      {"inside two regions", 8, 0, 2, 2, 1},
      {"inside a region of one thread", 1, 1, 1, 1, 3},
      {"inside a region of one thread, no levels", 0, 0, 1, 1, 1},
  };
  const int levels = omp_get_max_active_levels(), dynamic = omp_get_dynamic();
  for (const Setting& setting : kSettings) {
    CAPTURE(setting.name);
    omp_set_max_active_levels(setting.levels);
    omp_set_dynamic(setting.dynamic);
    std::atomic<int> checks = 0, wrong = 0;
    const auto check = [&] {
      ++checks;
      wrong += num_threads() != setting.expected || threads_of_a_kernel() != setting.expected;
      wrong += omp_get_dynamic() != setting.dynamic;  // the caller's settings stay as they were
    };
    if (setting.outer == 0) {
      check();
    } else {
#pragma omp parallel num_threads(setting.outer)
#pragma omp parallel num_threads(setting.inner)
      check();
    }
    CHECK(checks >= 1);
    CHECK(wrong == 0);
  }
  omp_set_max_active_levels(levels);
  omp_set_dynamic(dynamic);
}

TEST_CASE("training has the bits of the threads that there are, whatever OpenMP's settings", "[threads]") {
  const std::array<std::string, 4> outright{"", digest_on(1), digest_on(2), digest_on(3)};
  CHECK(outright[1] != outright[3]);  // or the rest would show nothing
  const ThreadsScope scope(3);
  const int levels = omp_get_max_active_levels();
  omp_set_dynamic(1);
  CHECK(digest_of_training() == outright[3]);
  omp_set_dynamic(0);
  omp_set_max_active_levels(0);
  CHECK(digest_of_training() == outright[1]);
  for (const int allowed : {1, 8}) {
    omp_set_max_active_levels(allowed);
    std::array<std::string, 3> inside;
#pragma omp parallel num_threads(3)
    inside[static_cast<std::size_t>(omp_get_thread_num())] = digest_of_training();
    CAPTURE(allowed);
    CHECK(inside == std::array{outright[1], outright[1], outright[1]});
  }
  omp_set_max_active_levels(levels);
}

#endif

TEST_CASE("several threads of the caller train at once with the bits of each alone", "[threads]") {
  const ThreadsScope scope(2);
  const std::string alone = digest_of_training();
  std::array<std::string, 3> digests;
  std::vector<std::thread> callers;
  callers.reserve(digests.size());
  for (std::string& digest : digests) callers.emplace_back([&] { digest = digest_of_training(); });
  for (std::thread& caller : callers) caller.join();
  CHECK(digests == std::array{alone, alone, alone});
}

TEST_CASE("a child forked after the first kernel goes on with the thread that it has", "[threads]") {
  const std::string on_one = digest_on(1);
  const ThreadsScope scope(3);
  REQUIRE(threads_of_a_kernel() == 3);
  const std::string before = digest_of_training();
  const auto on_one_thread = [&] { return num_threads() == 1 && digest_of_training() == on_one; };
  CHECK(status_of_child([&] {
          if (!on_one_thread()) return 1;
          set_num_threads(2);
          if (!on_one_thread()) return 2;
          return status_of_child(
              [&] { return on_one_thread() ? 0 : 3; });  // a child of the child has no more
        }) == 0);
  CHECK(num_threads() == 3);
  CHECK(digest_of_training() == before);
}

#if !UNDER_ADDRESS_SANITIZER  // which takes what the lost threads held for leaks of the child
TEST_CASE("a child forked after the first kernel can exit as programs do", "[threads]") {
  const ThreadsScope scope(3);
  REQUIRE(threads_of_a_kernel() == 3);
  CHECK(status_of_child([]() -> int {
          if (threads_of_a_kernel() != 1) return 1;
          std::fflush(nullptr);
          std::exit(0);
        }) == 0);
}
#endif

TEST_CASE("a child forked before the first kernel uses all threads", "[threads]") {
  // Needs a process in which nothing has run yet, so this test starts itself anew.
  if (std::getenv("REPRISE_TEST_FORKS_FIRST") != nullptr) {
    set_num_threads(3);
    CHECK(status_of_child([] { return num_threads() == 3 && threads_of_a_kernel() == 3 ? 0 : 1; }) == 0);
    return;
  }
  const std::string self = std::filesystem::read_symlink("/proc/self/exe").string();
  const Ended ended = run_command(
      {"env", "REPRISE_TEST_FORKS_FIRST=1", self, "a child forked before the first kernel uses all threads"});
  CAPTURE(ended.output, ended.errors);
  CHECK(ended.status == 0);
  CHECK_THAT(ended.output, Catch::Matchers::Contains("All tests passed (2 assertions in 1 test case)"));
}
