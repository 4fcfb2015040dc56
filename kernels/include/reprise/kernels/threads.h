// The number of threads that CPU kernels use.
#pragma once

namespace reprise::kernels {

/// Threads that CPU kernels use; at first the number of processors that this process may run on.
int num_threads();

/// Sets the number of threads (at least 1) for all kernels of this process; not while a kernel runs.
void set_num_threads(int threads);

/// True inside a kernel's parallel region.
bool in_parallel();

}  // namespace reprise::kernels
