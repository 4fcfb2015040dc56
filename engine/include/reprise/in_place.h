// For code that changes tensors in place with its own kernels.
#pragma once

#include "reprise/tensor.h"

namespace reprise {

/// The memory of `tensor`, about to be changed by `operation`: counts as a new version, so that backward
/// notices. Throws TapeError where the change could make a gradient wrong: on a recorded result that wants a
/// gradient, and on a leaf that wants one unless under NoGrad.
kernels::View change_in_place(const char* operation, const Tensor& tensor);

}  // namespace reprise
