// Numbers given as double for tensors of any type.
#pragma once

#include <string_view>

#include "reprise/tensor.h"

namespace reprise::detail {

/// True when the type holds the value, but for the rounding of floating types.
bool is_representable(double value, DType dtype);

/// True when a double holds the integer.
bool is_exact_double(std::int64_t value);

/// Throws ValueError naming `operation` when an integer type does not hold the value, or a finite one is
/// infinite in a floating type.
void require_representable(const char* operation, double value, DType dtype);
void require_representable(const char* operation, std::int64_t value, DType dtype);

/// Throws TypeError unless arithmetic of `x` with the number stays in x's type: integers are never computed
/// in fractions, nor cut off, nor rounded, and bool has no arithmetic.
void require_scalar(std::string_view operation, const Tensor& x, double number);

}  // namespace reprise::detail
