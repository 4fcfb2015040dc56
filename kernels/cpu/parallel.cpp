// The threads behind parallel_for: OpenMP's, or with REPRISE_STD_THREADS a small pool that a thread checker
// can follow.
#include "parallel.h"

#include <sched.h>

#include <atomic>
#include <cstdlib>
#include <limits>
#include <thread>

#include "fork.h"

#if defined(REPRISE_STD_THREADS)
#include <condition_variable>
#include <memory>
#include <mutex>
#include <vector>
#else
#include <omp.h>

#include "exact_teams.h"
#endif

namespace reprise::kernels {

namespace {

int processors() {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  if (sched_getaffinity(0, sizeof(mask), &mask) == 0) return std::max(1, CPU_COUNT(&mask));
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

int initial_threads() {
  // The variable may hold a list, one entry per nesting level; the first is the one for us.
  if (const char* text = std::getenv("OMP_NUM_THREADS")) {
    const long wanted = std::strtol(text, nullptr, 10);
    if (wanted >= 1 && wanted <= 4096) return static_cast<int>(wanted);
  }
  return processors();
}

std::atomic<int>& thread_count() {
  static std::atomic<int> count{initial_threads()};
  return count;
}

constinit thread_local int fixed_threads = 0;  // of FixedThreads; 0: none

#if defined(REPRISE_STD_THREADS)
thread_local bool inside_region = false;

int most_of_a_team() { return inside_region ? 1 : std::numeric_limits<int>::max(); }
#else
/// With OMP_DYNAMIC out of the way (ExactTeams), a region that is not nested gets all threads up to the
/// limit.
int most_of_a_team() {
  const int levels = omp_get_active_level();
  return levels > 0 || levels >= omp_get_max_active_levels() ? 1 : omp_get_thread_limit();
}
#endif

}  // namespace

int num_threads() {
  const int wanted = fixed_threads > 0 ? fixed_threads : thread_count().load(std::memory_order_relaxed);
  if (wanted == 1 || cpu::lost_threads_in_fork()) return 1;
  return std::clamp(most_of_a_team(), 1, wanted);
}

void set_num_threads(int threads) {
  if (fixed_threads > 0)
    fixed_threads = std::max(1, threads);
  else
    thread_count().store(std::max(1, threads), std::memory_order_relaxed);
}

FixedThreads::FixedThreads(int threads) : before_(fixed_threads) {
  if (threads > 0) fixed_threads = threads;
}
FixedThreads::~FixedThreads() { fixed_threads = before_; }

namespace cpu::detail {
namespace {

void run_part(std::int64_t n, std::int64_t parts, std::int64_t part, Body body, void* context) {
  const std::int64_t base = n / parts, extra = n % parts;
  const std::int64_t begin = part * base + std::min(part, extra);
  body(context, begin, begin + base + (part < extra ? 1 : 0));
}

}  // namespace

#if defined(REPRISE_STD_THREADS)

namespace {

/// Workers that sleep between jobs; one job at a time, whoever asks.
class Pool {
 public:
  Pool() = default;
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  ~Pool() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    work_.notify_all();
    for (std::thread& worker : workers_) worker.join();
  }

  void run(std::int64_t n, std::int64_t parts, Body body, void* context) {
    const std::lock_guard one_caller(caller_mutex_);
    std::unique_lock lock(mutex_);
    while (static_cast<std::int64_t>(workers_.size()) < parts - 1) workers_.emplace_back([this] { serve(); });
    job_ = {n, parts, body, context};
    next_part_ = 0;
    unfinished_ = parts;
    work_.notify_all();
    take_parts(lock);
    done_.wait(lock, [this] { return unfinished_ == 0; });
  }

 private:
  struct Job {
    std::int64_t n = 0, parts = 0;
    Body body = nullptr;
    void* context = nullptr;
  };

  void serve() {
    std::unique_lock lock(mutex_);
    while (true) {
      work_.wait(lock, [this] { return stopping_ || next_part_ < job_.parts; });
      if (stopping_) return;
      take_parts(lock);
    }
  }

  void take_parts(std::unique_lock<std::mutex>& lock) {
    while (next_part_ < job_.parts) {
      const std::int64_t part = next_part_++;
      const Job job = job_;
      lock.unlock();
      inside_region = true;
      run_part(job.n, job.parts, part, job.body, job.context);
      inside_region = false;
      lock.lock();
      if (--unfinished_ == 0) done_.notify_one();
    }
  }

  std::mutex caller_mutex_;
  std::mutex mutex_;
  std::condition_variable work_, done_;
  std::vector<std::thread> workers_;
  Job job_;
  std::int64_t next_part_ = 0, unfinished_ = 0;
  bool stopping_ = false;
};

/// A pool whose workers did not survive a fork cannot be destroyed.
struct LeavePoolAfterFork {
  void operator()(Pool* pool) const {
    if (!lost_threads_in_fork()) delete pool;
  }
};

}  // namespace

void run_parallel(std::int64_t n, std::int64_t parts, Body body, void* context) {
  static const std::unique_ptr<Pool, LeavePoolAfterFork> pool(new Pool);
  pool->run(n, parts, body, context);
}

#else

void run_parallel(std::int64_t n, std::int64_t parts, Body body, void* context) {
  // Every part is done whatever the team; that it is the one asked for is what oneDNN needs.
  const ExactTeams exact;
#pragma omp parallel num_threads(static_cast <int>(parts))
  for (std::int64_t part = omp_get_thread_num(); part < parts; part += omp_get_num_threads()) {
    run_part(n, parts, part, body, context);
  }
}

#endif

}  // namespace cpu::detail

#if defined(REPRISE_STD_THREADS)
bool in_parallel() { return inside_region; }
#else
bool in_parallel() { return omp_in_parallel() != 0; }
#endif

}  // namespace reprise::kernels
