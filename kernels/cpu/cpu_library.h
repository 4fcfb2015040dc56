// Which library the CPU's matrix products and convolutions go through.
#pragma once

#include "reprise/kernels/matmul.h"

namespace reprise::kernels::cpu {

/// What `use_cpu_library` asked for; never `onednn` where oneDNN is not compiled in.
CpuLibrary library_choice();

#if defined(REPRISE_ONEDNN)
namespace onednn {
/// True where the processor multiplies bfloat16 itself.
bool has_bfloat16();
}  // namespace onednn
#endif

/// Calls prepare(type of the computation, whether through oneDNN) for one way after the other until it
/// returns true; the last way, Eigen, can do everything.
template <class F>
void choose_way(DType dtype, F&& prepare) {
  const DType converted = dtype == DType::float64 ? DType::float64 : DType::float32;
#if defined(REPRISE_ONEDNN)
  if (dtype != DType::float64 && library_choice() != CpuLibrary::eigen) {
    if (dtype == DType::bfloat16 && onednn::has_bfloat16() && prepare(dtype, true)) return;
    if (prepare(converted, true)) return;
  }
#endif
  prepare(converted, false);
}

}  // namespace reprise::kernels::cpu
