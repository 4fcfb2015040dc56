// OpenMP's regions with as many threads as were asked for.
#pragma once

#include <omp.h>

namespace reprise::kernels::cpu {

/// While it lives, regions that this thread opens get the threads that they ask for, up to `num_threads()`:
/// OpenMP may otherwise give fewer when the machine is busy (OMP_DYNAMIC), which oneDNN does not look at.
class ExactTeams {
 public:
  ExactTeams() : were_dynamic_(omp_get_dynamic() != 0) {
    if (were_dynamic_) omp_set_dynamic(0);
  }
  ExactTeams(const ExactTeams&) = delete;
  ExactTeams& operator=(const ExactTeams&) = delete;
  ~ExactTeams() {
    if (were_dynamic_) omp_set_dynamic(1);
  }

 private:
  bool were_dynamic_;
};

}  // namespace reprise::kernels::cpu
