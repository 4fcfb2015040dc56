// Digests: two runs agree to the last bit when their digests do.
#pragma once

#include <span>
#include <string>

#include "reprise/tensor.h"

namespace reprise::nn {

/// FNV-1a (64 bits, in words of eight bytes) over sizes, types and elements in row-major order; 16
/// hexadecimal digits. An undefined tensor counts as such.
std::string digest(std::span<const Tensor> tensors);

}  // namespace reprise::nn
