// The CUDA backend of a program that has none: it counts no device, and everything else says what is missing.
// The declarations of the contract headers become definitions here.
#include <span>

#include "reprise/error.h"

namespace reprise::kernels::cuda {
namespace {

[[noreturn]] void absent(const char* function) {
  throw DeviceError(std::string("[") + function +
                    "] this program was built without the CUDA backend: configure with -DREPRISE_CUDA=ON");
}

}  // namespace
}  // namespace reprise::kernels::cuda

#define REPRISE_KERNEL(Result, name, ...)     \
  namespace cuda {                            \
  Result name(__VA_ARGS__);                   \
  Result name(__VA_ARGS__) { absent(#name); } \
  }                                           \
  static_assert(true)

#define REPRISE_CUDA_SERVICE(Result, name, ...) \
  Result name(__VA_ARGS__);                     \
  Result name(__VA_ARGS__) { absent(#name); }   \
  static_assert(true)

#pragma GCC diagnostic ignored "-Wunused-parameter"
#include "reprise/kernels/attention.h"
#include "reprise/kernels/conv.h"
#include "reprise/kernels/device.h"
#include "reprise/kernels/elementwise.h"
#include "reprise/kernels/embedding.h"
#include "reprise/kernels/matmul.h"
#include "reprise/kernels/norm.h"
#include "reprise/kernels/optimiser.h"
#include "reprise/kernels/random.h"
#include "reprise/kernels/reduce.h"
#include "reprise/kernels/softmax.h"

namespace reprise::kernels::cuda {

Build build() { return {}; }

int device_count() { return 0; }

std::string unavailable_reason() { return "this program was built without the CUDA backend"; }

}  // namespace reprise::kernels::cuda
