// Table look-up: y[i] = weight[ids[i]].
#pragma once

#include <optional>

#include "reprise/kernels/dispatch.h"

namespace reprise::kernels {

/// weight (V, C), ids (M) int32 or int64 contiguous, y (M, C). Returns the first id outside [0, V), nothing
/// when all are fine (then and only then y is written whole). On CUDA it returns nothing, writes zeros for
/// such an id and reports it to `Queue::report`.
REPRISE_KERNEL(std::optional<std::int64_t>, embedding_forward, const Queue&, const ConstView& weight,
               const ConstView& ids, const View& y);

/// Scratch for `embedding_backward`.
REPRISE_WORKSPACE_QUERY(embedding_backward_workspace_bytes, DeviceKind, const ConstView& ids,
                        const View& dweight);

/// dweight (=, +=) rows of dy added up by id in the order of the ids: deterministic.
REPRISE_KERNEL(void, embedding_backward, const Queue&, const ConstView& ids, const ConstView& dy,
               const Target& dweight, const Workspace&);

}  // namespace reprise::kernels
