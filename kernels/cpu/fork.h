// What a fork leaves of this process's threads.
#pragma once

namespace reprise::kernels::cpu {

/// True in a child that was forked from a process of several threads. Workers of thread pools (OpenMP's and
/// ours) do not exist in it although the pools believe so: a parallel region would wait for them for ever.
bool lost_threads_in_fork();

}  // namespace reprise::kernels::cpu
