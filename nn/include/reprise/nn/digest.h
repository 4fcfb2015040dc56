// Digests: two runs agree to the last bit when their digests do.
#pragma once

#include <span>
#include <string>

#include "reprise/tensor.h"

namespace reprise::nn {

/// XXH64 over type and sizes (in words of eight bytes) and then the elements in row-major order, each the
/// seed of the next, tensor by tensor; 16 hexadecimal digits. An undefined tensor counts as such. Throws
/// TapeError for a tensor on a dry device, which has no elements.
std::string digest(std::span<const Tensor> tensors);

}  // namespace reprise::nn
