// The choice between oneDNN and Eigen.
#include "cpu_library.h"

#include <Eigen/src/Core/util/Macros.h>

#include <atomic>
#include <string>

#if defined(REPRISE_ONEDNN)
#include <oneapi/dnnl/dnnl.hpp>
#endif

namespace reprise::kernels {

namespace {

#if defined(REPRISE_ONEDNN)
constexpr bool kHasOneDnn = true;
std::string onednn_name() {
  const dnnl_version_t& version = *dnnl_version();
  return "oneDNN " + std::to_string(version.major) + '.' + std::to_string(version.minor) + '.' +
         std::to_string(version.patch);
}
#else
constexpr bool kHasOneDnn = false;
std::string onednn_name() { return {}; }
#endif

std::string eigen_name() {
  return "Eigen " + std::to_string(EIGEN_WORLD_VERSION) + '.' + std::to_string(EIGEN_MAJOR_VERSION) + '.' +
         std::to_string(EIGEN_MINOR_VERSION);
}

std::atomic<CpuLibrary>& choice() {
  static std::atomic<CpuLibrary> library{kHasOneDnn ? CpuLibrary::automatic : CpuLibrary::eigen};
  return library;
}

}  // namespace

void use_cpu_library(CpuLibrary library) {
  choice().store(kHasOneDnn ? library : CpuLibrary::eigen, std::memory_order_relaxed);
}

std::string_view matmul_library() {
  static const std::string eigen = eigen_name(), onednn = onednn_name();
  return cpu::library_choice() == CpuLibrary::eigen ? eigen : onednn;
}

#if defined(REPRISE_ONEDNN)
bool cpu::onednn::has_bfloat16() {
  constexpr int kFeatures = static_cast<int>(dnnl::cpu_isa::avx512_core_bf16);
  static const bool has = (static_cast<int>(dnnl::get_effective_cpu_isa()) & kFeatures) == kFeatures;
  return has;
}
#endif

CpuLibrary cpu::library_choice() { return choice().load(std::memory_order_relaxed); }

}  // namespace reprise::kernels
