// How a CPU kernel uses several threads: one function, with OpenMP behind it or, where a thread checker must
// see every hand-over (REPRISE_STD_THREADS), a small pool of std::thread.
#pragma once

#include <algorithm>
#include <cstdint>

#include "reprise/kernels/threads.h"

namespace reprise::kernels::cpu {

namespace detail {
using Body = void (*)(void* context, std::int64_t begin, std::int64_t end);
void run_parallel(std::int64_t n, std::int64_t parts, Body body, void* context);
}  // namespace detail

/// Calls f(begin, end) on disjoint ranges that cover [0, n), on as many threads as give each at least `grain`
/// items. Inside another parallel region it runs serially. f must not throw.
template <class F>
void parallel_for(std::int64_t n, std::int64_t grain, F&& f) {
  if (n <= 0) return;
  const std::int64_t worthwhile = n / std::max<std::int64_t>(grain, 1);
  const std::int64_t parts = worthwhile <= 1 ? 1 : std::min<std::int64_t>(num_threads(), worthwhile);
  if (parts <= 1) {
    f(std::int64_t{0}, n);
    return;
  }
  detail::run_parallel(
      n, parts,
      [](void* context, std::int64_t begin, std::int64_t end) { (*static_cast<F*>(context))(begin, end); },
      const_cast<void*>(static_cast<const void*>(&f)));
}

}  // namespace reprise::kernels::cpu
