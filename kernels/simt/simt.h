// The one header that a kernel includes. Under nvcc it is a thin alias of CUDA; under g++ and clang it is an
// emulator that runs every block's threads as fibers on one OS thread. See README.md beside this file.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <type_traits>

#if defined(__CUDACC__)
#include "simt/device.h"
#else
#include "simt/emulator/emulator.h"
#endif
