// What the planning of CUDA kernels needs to know of devices, and the checks of every launcher. Nothing in
// this folder needs CUDA: how much scratch an operation takes there follows from shapes, strides and
// alignment alone, and every program can say it, with or without a backend or a device.
#pragma once

#include <cstdint>
#include <string>

#include "reprise/error.h"
#include "reprise/kernels/dtype.h"
#include "reprise/kernels/view.h"

namespace reprise::kernels::cuda {

inline constexpr int kWarp = 32;

/// Multiprocessors that a plan counts on, at most. A device with fewer of them takes smaller plans, never
/// more scratch: sizes are asked for as if it had them all.
inline constexpr int kMostMultiprocessors = 160;

/// Shared memory that a block may have on every device of compute capability 8.0 and later: that of 8.6, 8.9
/// and 12.x. Others have 163 or 227 KiB.
inline constexpr std::size_t kLeastSharedBytes = std::size_t{99} << 10;

constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

/// Whether `pointer` can be accessed 16 bytes at a time.
inline bool aligned16(const void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer) % 16 == 0; }

/// Elements of `dtype` in a 16-byte access.
constexpr int pack_of(DType dtype) { return 16 / static_cast<int>(size_of(dtype)); }

/// Throws TypeError: CUDA kernels of this family do not take `dtype`.
[[noreturn]] inline void refuse(const char* operation, DType dtype) {
  throw TypeError(std::string("[") + operation + "] " + std::string(name_of(dtype)) +
                  " is not available on cuda; convert with to(float32) or use the CPU");
}

/// Throws Error when the caller gave less scratch than the family asks for.
inline void require_workspace(const char* operation, const Workspace& workspace, std::size_t bytes) {
  if (workspace.bytes < bytes)
    throw Error(std::string("[") + operation + "] workspace of " + std::to_string(workspace.bytes) +
                " bytes, " + std::to_string(bytes) + " are needed");
}

}  // namespace reprise::kernels::cuda
