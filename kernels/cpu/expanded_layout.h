// The layout of a reduction's result, seen from what is reduced; for the CPU's kernels and CUDA's.
#pragma once

#include "reprise/kernels/view.h"

namespace reprise::kernels {

/// `result` is the layout with size 1 on the reduced axes; operands that have its sizes are given x's, with
/// stride 0 there.
inline Layout expanded(const Layout& result, const Layout& x) {
  Layout layout = result;
  for (int axis = 0; axis < x.rank; ++axis) {
    if (result.sizes[axis] == 1) layout.strides[axis] = 0;
    layout.sizes[axis] = x.sizes[axis];
  }
  return layout;
}

}  // namespace reprise::kernels
