// Gradients that go through an activation in the backward that makes them: where an operation reads what an
// activation gave, its backward applies the activation's derivative, and the activation's own is spared.
#pragma once

#include "owned_values.h"
#include "reprise/node.h"

namespace reprise::detail {

/// Whether the backward of `node` can do that of `next`, the node that is played after it, as well. Nobody
/// may be able to tell: the gradient in between goes nowhere else. Only the graph decides, not memory or
/// segments, so that replays give the same bits.
bool folds_gradient(const Node& node, const Node& next);

/// The slot for the gradient of what the activation `next` was applied to; `fresh` owns its memory.
GradSlots::Slot folded_slot(const Node& next, OwnedValues& fresh);

}  // namespace reprise::detail
