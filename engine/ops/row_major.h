// Gradient slots for kernels that write row-major memory. A slot lies as its input does, which may be
// channels-last.
#pragma once

#include "reprise/kernels/elementwise.h"
#include "reprise/operation.h"

namespace reprise::ops {

/// The slot itself when it is row-major, else scratch; what is written there goes to the slot with `store`.
inline kernels::Target row_major(const Exec& exec, const kernels::Target& slot) {
  if (!slot || slot.view.is_contiguous()) return slot;
  const Shape shape(
      std::span<const std::int64_t>(slot.view.sizes.data(), static_cast<std::size_t>(slot.view.rank)));
  return {exec.temporary(slot.view.dtype, shape), kernels::Write::overwrite};
}

inline void store(const Exec& exec, const kernels::Target& written, const kernels::Target& slot) {
  if (written.view.data != slot.view.data) kernels::copy(exec.queue(), written.view, slot);
}

}  // namespace reprise::ops
