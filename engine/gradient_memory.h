// The memory of gradients on their way: making it, sharing it where nobody can tell, copying it before it is
// changed.
#pragma once

#include "reprise/node.h"

namespace reprise::detail {

/// A dense gradient buffer in the memory order of `value`.
Tensor make_gradient(const Value& value);

/// A gradient has the sizes and type of `value` and its memory order, without gaps.
bool is_dense_like(const Value& gradient, const Value& value);

/// True when the caller's handle is the only way to this memory.
bool is_exclusive(const Value& value);

Tensor dense_copy(const Value& gradient, const Value& like);

/// True when the gradient of input i can take over the memory of the saved input itself, once the node has
/// been played for good: the operation allows it, and the node is the last to need it.
bool may_overwrite(const Node& node, std::uint32_t i);

/// A gradient in the memory of the value itself.
Tensor gradient_over(Value& value);

/// The gradient of input 0 as a view of the output's, for an operation with `view_gradient`; undefined where
/// it is none.
Tensor view_gradient(const Node& node, const Value& dy);

/// Makes a pending gradient safe to add to: dense in the order of `like`, and seen by nobody else.
void make_addable(Value*& pending, const Value& like);

/// Adds to a pending gradient, which is copied first when others see the same memory.
void add_pending(Value*& pending, const Value& like, Tensor gradient);

/// Replaces what `value` has; an undefined gradient leaves none.
void set_gradient(Value& value, Tensor gradient);

/// Throws ShapeError saying `what` unless sizes and type agree.
void check_gradient(const Tensor& gradient, const Value& value, const char* what);

bool has_hooks(const Value& value);

/// Hooks see memory that is this value's alone, so that what they change in place reaches no other gradient.
Tensor run_hooks(const Value& value, Tensor gradient);

}  // namespace reprise::detail
