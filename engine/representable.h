// Numbers given as double for tensors of any type.
#pragma once

#include "reprise/kernels/view.h"

namespace reprise::detail {

/// Throws ValueError naming `operation` when an integer type does not hold the value.
void require_representable(const char* operation, double value, DType dtype);

}  // namespace reprise::detail
