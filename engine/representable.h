// Numbers given as double for tensors of any type.
#pragma once

#include "reprise/kernels/view.h"

namespace reprise::detail {

/// True when the type holds the value, but for the rounding of floating types.
bool is_representable(double value, DType dtype);

/// Throws ValueError naming `operation` when an integer type does not hold the value.
void require_representable(const char* operation, double value, DType dtype);

}  // namespace reprise::detail
