// For code that changes tensors in place with its own kernels.
#pragma once

#include "reprise/tensor.h"

namespace reprise {

/// The memory of `tensor`, about to be changed by `operation`: counts as a new version, so that backward
/// notices. Throws TapeError where the change could make a gradient wrong: on a recorded result that wants a
/// gradient, and on a leaf that wants one unless under NoGrad.
kernels::View change_in_place(const char* operation, const Tensor& tensor);

/// Throws what `change_in_place` would, and changes nothing: for work that changes several tensors or none.
void require_changeable(const char* operation, const Tensor& tensor);

/// True when no two elements share memory, as in an expanded view or in windows that overlap. Told by the
/// strides: each must step over all that the smaller ones reach, or the elements count as shared. All views
/// that our own operations give of tensors without gaps do, but expanded ones.
bool has_distinct_elements(const Tensor& tensor);

}  // namespace reprise
