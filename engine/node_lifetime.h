// Making and destroying node records.
#pragma once

#include "reprise/node.h"

namespace reprise::detail {

/// A record for an operation with these inputs and output specs, not yet on any tape. Moves the operation in
/// and counts the inputs; outputs have no memory yet.
Node* make_node(const OpTable& table, void* op, std::span<const Tensor> inputs, const Specs& specs);

/// Destroys a record that never got onto a tape.
void discard_node(Node* node) noexcept;

/// Appends the node to this thread's tape and to the open region, and holds what it saves.
void link_node(Node& node);

/// Forgets the inputs, so that what only this node referred to can go.
void forget_inputs(Node& node) noexcept;

/// Destroys the node if nobody refers to its outputs.
void drop_node_ref(Node& node) noexcept;

}  // namespace reprise::detail
