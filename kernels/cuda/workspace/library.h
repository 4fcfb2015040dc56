// Scratch of NVIDIA's libraries. What their algorithms would like is known only where the library and the
// device are; so a rule of the shapes says how much they get, exactly that is asked for, and the heuristics
// choose among the algorithms that it is enough for: those that need none are always among them.
#pragma once

#include <algorithm>

#include "cpu/workspace.h"
#include "cuda/workspace/device.h"

namespace reprise::kernels::cuda {

inline constexpr std::size_t kLibraryAlignment = 256;
/// What the libraries' makers recommend for their largest problems.
inline constexpr std::size_t kMostLibraryBytes = std::size_t{32} << 20;

constexpr std::size_t library_bytes(std::int64_t wanted) {
  const auto bytes = (static_cast<std::size_t>(wanted) + kLibraryAlignment - 1) / kLibraryAlignment;
  return std::min(bytes * kLibraryAlignment, kMostLibraryBytes);
}

/// For a product with so many results, each a sum of k terms: room for the parts of the sums, which meet in
/// float32. Four parts of each for all products. A few results with long sums (gradients of small weights
/// over many rows) are a few tiles, and keep a device busy only in more parts than that: as many as make up
/// kPartials numbers, 8 MiB, but none shorter than kShortestPart terms, so that what has short sums asks for
/// no more than four.
constexpr std::size_t product_library_bytes(std::int64_t results, std::int64_t k) {
  constexpr std::int64_t kParts = 4, kPartials = std::int64_t{1} << 21, kShortestPart = 512;
  const std::int64_t parts = std::clamp(kPartials / results, kParts, std::max(kParts, k / kShortestPart));
  return library_bytes(parts * results * static_cast<std::int64_t>(sizeof(float)));
}

/// For one pass of a convolution: twice what its tensors take with channels filled up to eights, as tensor
/// cores want them. That is room for a copy in another order of each, and for the parts of a sum.
inline std::size_t conv_library_bytes(const PerAxis& x, const PerAxis& w, const PerAxis& y, DType dtype) {
  constexpr std::int64_t kLeast = std::int64_t{1} << 20, kEight = 8;
  std::int64_t elements = 0;
  for (const PerAxis* sizes : {&x, &w, &y}) {
    const std::int64_t channels = ceil_div((*sizes)[1], kEight) * kEight;
    elements += (*sizes)[0] * channels * (*sizes)[2] * (*sizes)[3];
  }
  return library_bytes(std::max(kLeast, 2 * elements * static_cast<std::int64_t>(size_of(dtype))));
}

/// A piece of the workspace at a multiple of 256 bytes, as the libraries want it; null where the carver only
/// counts.
inline void* take_library_scratch(cpu::Carver& carver, std::size_t bytes) {
  void* const piece = carver.take(bytes + kLibraryAlignment - cpu::Carver::kAlignment);
  if (piece == nullptr) return nullptr;
  const std::size_t beyond = reinterpret_cast<std::uintptr_t>(piece) % kLibraryAlignment;
  return static_cast<std::byte*>(piece) + (beyond == 0 ? 0 : kLibraryAlignment - beyond);
}

}  // namespace reprise::kernels::cuda
