// The number of threads that CPU kernels use.
#pragma once

namespace reprise::kernels {

/// Threads that a CPU kernel called from here uses: what `set_num_threads` asked for (at first
/// OMP_NUM_THREADS, else the processors that this process may run on), but never more than there really are.
/// That is at most OMP_THREAD_LIMIT, and 1 inside a parallel region (a kernel's or the caller's own), where
/// OMP_MAX_ACTIVE_LEVELS is 0, and in a child that was forked from a process of several threads, whose other
/// threads it does not have. OMP_DYNAMIC changes nothing: results of matrix products depend on this number,
/// so it never follows the load.
int num_threads();

/// Asks for a number of threads (at least 1) for all kernels of this process; not while a kernel runs.
void set_num_threads(int threads);

/// While it lives, kernels called from this thread use so many threads, whatever `set_num_threads` asks for,
/// but never more than there really are; 0 changes nothing. What this thread asks for meanwhile holds until
/// then and for itself alone; threads that it starts are as all others.
class FixedThreads {
 public:
  explicit FixedThreads(int threads);
  ~FixedThreads();
  FixedThreads(const FixedThreads&) = delete;
  FixedThreads& operator=(const FixedThreads&) = delete;

 private:
  int before_;
};

/// True inside a parallel region, a kernel's or, with OpenMP, the caller's own.
bool in_parallel();

}  // namespace reprise::kernels
