// Scratch that NVIDIA's libraries ask for.
#pragma once

#include "cpu/workspace.h"

namespace reprise::kernels::cuda {

/// A piece of the workspace at a multiple of 256 bytes, as the libraries want it; null for no bytes, and
/// where the carver only counts.
inline void* take_library_scratch(cpu::Carver& carver, std::size_t bytes) {
  constexpr std::size_t kAlignment = 256;
  if (bytes == 0) return nullptr;
  void* const piece = carver.take(bytes + kAlignment - cpu::Carver::kAlignment);
  if (piece == nullptr) return nullptr;
  const std::size_t beyond = reinterpret_cast<std::uintptr_t>(piece) % kAlignment;
  return static_cast<std::byte*>(piece) + (beyond == 0 ? 0 : kAlignment - beyond);
}

}  // namespace reprise::kernels::cuda
