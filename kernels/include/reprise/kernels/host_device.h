// REPRISE_HD marks functions that both the CPU and the CUDA kernels call.
#pragma once

#if defined(__CUDACC__)
#define REPRISE_HD __host__ __device__
#else
#define REPRISE_HD
#endif
