// Changes in place: every one counts as a new version of the memory, so that backward notices.
#include <fmt/format.h>

#include "representable.h"
#include "reprise/context.h"
#include "reprise/in_place.h"
#include "reprise/kernels/elementwise.h"
#include "tape_owner.h"

namespace reprise {

namespace {

/// An expanded view shows one element several times: what a change of it would mean depends on the order of
/// the writes.
void require_distinct_elements(const char* operation, const Tensor& tensor) {
  for (int axis = 0; axis < tensor.rank(); ++axis) {
    if (tensor.shape()[axis] < 2 || tensor.strides()[static_cast<std::size_t>(axis)] != 0) continue;
    throw TapeError(fmt::format("[{}] {} shows the same memory several times along axis {}; change a clone()",
                                operation, describe(*tensor.value()), axis));
  }
}

}  // namespace

kernels::View change_in_place(const char* operation, const Tensor& tensor) {
  if (!tensor.defined()) throw Error(fmt::format("[{}] undefined tensor", operation));
  Value& value = *tensor.value();
  if (value.requires_grad && (!value.is_leaf || context().grad_enabled())) {
    const bool recorded = !value.is_leaf;
    throw TapeError(fmt::format("[{}] {} {}; {}", operation, describe(value),
                                recorded ? "was recorded for backward" : "wants a gradient",
                                recorded ? "change a clone() or a detach()ed copy"
                                         : "change it under NoGrad, outside forward and backward"));
  }
  if (value.storage == nullptr)
    throw TapeError(fmt::format("[{}] {} has no memory", operation, describe(value)));
  require_distinct_elements(operation, tensor);
  detail::require_own(operation, value, "change a clone()");
  keep_changed(value);
  value.storage->version.fetch_add(1, std::memory_order_relaxed);
  return view_of(value);
}

namespace {

void require_same_shape(const char* operation, const Tensor& target, const Tensor& source) {
  if (target.shape() == source.shape()) return;
  throw ShapeError(fmt::format("[{}] sizes differ: {} into {}", operation, to_string(source.shape()),
                               to_string(target.shape())));
}

/// The elements of `source`, copied to scratch where writing `target` would change those that are yet to be
/// read.
kernels::ConstView unaliased(const Exec& exec, const Tensor& source, const Tensor& target) {
  const kernels::View view = view_of(*source.value());
  if (!source.shares_storage_with(target)) return view;
  const kernels::View written = view_of(*target.value());
  if (view.data == written.data && view.same_layout(written)) return view;
  const kernels::View copy = exec.temporary(source.dtype(), source.shape());
  kernels::copy(exec.queue(), view, {copy, kernels::Write::overwrite});
  return copy;
}

}  // namespace

Tensor& Tensor::fill_(double value) {
  detail::require_representable("fill_", value, dtype());
  kernels::fill(queue_of(device()), value, change_in_place("fill_", *this));
  return *this;
}

Tensor& Tensor::copy_(const Tensor& source) {
  require_same_shape("copy_", *this, source);
  const Exec exec(device(), {});
  const kernels::ConstView from = unaliased(exec, source, *this);
  kernels::copy(exec.queue(), from, {change_in_place("copy_", *this), kernels::Write::overwrite});
  return *this;
}

Tensor& Tensor::add_(const Tensor& other, double alpha) {
  require_same_shape("add_", *this, other);
  if (other.dtype() != dtype()) {
    throw TypeError(
        fmt::format("[add_] {} added to {}; convert it first", name_of(other.dtype()), name_of(dtype())));
  }
  const Exec exec(device(), {});
  kernels::ConstView addend = unaliased(exec, other, *this);
  if (alpha != 1) {
    const kernels::View scaled = exec.temporary(dtype(), shape());
    kernels::unary_forward(exec.queue(), kernels::Unary::mul_scalar, alpha, addend, scaled);
    addend = scaled;
  }
  kernels::copy(exec.queue(), addend, {change_in_place("add_", *this), kernels::Write::accumulate});
  return *this;
}

Tensor& Tensor::mul_(double factor) {
  const kernels::View view = change_in_place("mul_", *this);
  kernels::unary_forward(queue_of(device()), kernels::Unary::mul_scalar, factor, view, view);
  return *this;
}

}  // namespace reprise
