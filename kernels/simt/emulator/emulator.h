// The emulated side of simt.h: everything that a kernel's source may name.
#pragma once

#if !defined(__x86_64__)
#error "The SIMT emulator switches between fibers in x86-64 assembly; build the CUDA tests on x86-64."
#endif

// NVIDIA's headers leave these as attributes that host compilers do not know.
#undef __shared__
#define __shared__                                            \
  static_assert(false, "use SIMT_SHARED or SIMT_DYN_SHARED"); \
  static
#undef __launch_bounds__
#define __launch_bounds__(...)
#undef __maxnreg__
#define __maxnreg__(...)
#undef __cluster_dims__
#define __cluster_dims__(...)
#undef __grid_constant__
#define __grid_constant__
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wunknown-pragmas"  // #pragma unroll
#endif

#include "simt/emulator/atomics.h"
#include "simt/emulator/barriers.h"
#include "simt/emulator/collectives.h"
#include "simt/emulator/config.h"
#include "simt/emulator/cp_async.h"
#include "simt/emulator/intrinsics.h"
#include "simt/emulator/launch.h"
#include "simt/emulator/matrix.h"
#include "simt/emulator/shared_memory.h"
#include "simt/emulator/thread.h"
