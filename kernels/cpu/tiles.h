// Elementwise loops over tensors of any layout and dtype. A row function sees contiguous rows in the type in
// which its kernel computes; where a tensor is not already that, tiles of it pass through small buffers.
#pragma once

#include <cstdint>
#include <span>

#include "reprise/kernels/view.h"

namespace reprise::kernels::cpu {

/// Computes n elements of one output from the inputs (null where the view was null); all in Compute<T>. `out`
/// may be one of the inputs.
using RowFunction = void (*)(const void* const* in, void* out, std::int64_t n, double alpha);

/// An output and how to compute it; without a function it is the first input.
struct TileOutput {
  Target target;
  RowFunction function = nullptr;
};

/// The inputs; a view may be null.
using TileInputs = std::span<const ConstView* const>;

inline constexpr std::size_t kMaxTileInputs = 3;
inline constexpr std::size_t kMaxTileOutputs = 2;

/// Items per thread for functions of about a nanosecond an element, and for those several times slower.
inline constexpr std::int64_t kCheapGrain = 32768;
inline constexpr std::int64_t kSlowGrain = 4096;

/// Computes every output (at least one; all wanted) from the inputs; all have the same sizes.
void compute_tiles(TileInputs in, std::span<const TileOutput> out, double alpha, std::int64_t grain);

}  // namespace reprise::kernels::cpu
