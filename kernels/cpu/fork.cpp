// Notices forks by pthread_atfork, with which every fork of the process calls us.
#include "fork.h"

#include <pthread.h>

#include <atomic>
#include <filesystem>
#include <iterator>

namespace reprise::kernels::cpu {

namespace {

std::atomic<bool> lost_threads = false;
thread_local bool has_others = false;  // of the thread that forks, from before the fork to after it

/// Counts threads whoever started them: a region of the caller's own counts as well as a kernel's.
void look_for_other_threads() {
  try {
    std::filesystem::directory_iterator threads("/proc/self/task");
    has_others = std::distance(begin(threads), end(threads)) > 1;
  } catch (...) {
    has_others = true;
  }
}

void note_loss() {
  if (has_others) lost_threads.store(true, std::memory_order_relaxed);
}

/// Where it cannot be registered (no memory at the very start), the process starts no threads that it might
/// lose.
const bool registered = [] {
  const bool done = pthread_atfork(look_for_other_threads, nullptr, note_loss) == 0;
  if (!done) lost_threads.store(true, std::memory_order_relaxed);
  return done;
}();

}  // namespace

bool lost_threads_in_fork() { return lost_threads.load(std::memory_order_relaxed); }

}  // namespace reprise::kernels::cpu
