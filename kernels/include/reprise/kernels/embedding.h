// Table look-up: y[i] = weight[ids[i]].
#pragma once

#include <optional>

#include "reprise/kernels/view.h"

namespace reprise::kernels {

/// weight (V, C), ids (M) int32 or int64 contiguous, y (M, C). Returns the first id outside [0, V), nothing
/// when all are fine (then and only then y is written whole).
std::optional<std::int64_t> embedding_forward(const Queue&, const ConstView& weight, const ConstView& ids,
                                              const View& y);

/// dweight (=, +=) rows of dy added up by id in the order of the ids: deterministic.
void embedding_backward(const Queue&, const ConstView& ids, const ConstView& dy, const Target& dweight);

}  // namespace reprise::kernels
