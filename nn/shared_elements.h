// Tensors that are views of one memory.
#pragma once

#include <optional>
#include <span>
#include <utility>

#include "reprise/tensor.h"

namespace reprise::nn {

/// Two of the tensors, other than one tensor listed twice, that show the same element of one memory.
std::optional<std::pair<Tensor, Tensor>> find_shared_elements(std::span<const Tensor> tensors);

}  // namespace reprise::nn
