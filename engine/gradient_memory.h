// The memory of gradients on their way: making it, sharing it where nobody can tell, copying it before it is
// changed.
#pragma once

#include "reprise/tensor.h"

namespace reprise::detail {

/// A dense gradient buffer in the memory order of `value`.
Tensor make_gradient(const Value& value);

/// A gradient has the sizes and type of `value` and its memory order, without gaps.
bool is_dense_like(const Value& gradient, const Value& value);

/// True when the caller's handle is the only way to this memory.
bool is_exclusive(const Value& value);

Tensor dense_copy(const Value& gradient, const Value& like);

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
