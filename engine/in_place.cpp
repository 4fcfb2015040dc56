// Changes in place: every one counts as a new version of the memory, so that backward notices.
#include <fmt/format.h>

#include "reprise/in_place.h"

#include "reprise/context.h"
#include "reprise/kernels/elementwise.h"
#include "reprise/tensor.h"

namespace reprise {

kernels::View change_in_place(const char* operation, const Tensor& tensor) {
  if (!tensor.defined()) throw Error(fmt::format("[{}] undefined tensor", operation));
  Value& value = *tensor.value();
  if (value.requires_grad && (value.producer != nullptr || context().grad_enabled)) {
    const bool recorded = value.producer != nullptr;
    throw TapeError(fmt::format("[{}] {} {}; {}", operation, describe(value),
                                recorded ? "was recorded for backward" : "wants a gradient",
                                recorded ? "change a clone() or a detach()ed copy"
                                         : "change it under NoGrad, outside forward and backward"));
  }
  if (value.storage == nullptr) throw TapeError(fmt::format("[{}] {} has no memory", operation, describe(value)));
  if (value.producer != nullptr) value.pinned = true;
  value.storage->version.fetch_add(1, std::memory_order_relaxed);
  return view_of(value);
}

namespace {

void require_same_shape(const char* operation, const Tensor& target, const Tensor& source) {
  if (target.shape() == source.shape()) return;
  throw ShapeError(fmt::format("[{}] sizes differ: {} into {}", operation, to_string(source.shape()), to_string(target.shape())));
}

}  // namespace

Tensor& Tensor::fill_(double value) {
  kernels::fill({}, value, change_in_place("fill_", *this));
  return *this;
}

Tensor& Tensor::copy_(const Tensor& source) {
  require_same_shape("copy_", *this, source);
  kernels::copy({}, view_of(*source.value()), {change_in_place("copy_", *this), kernels::Write::overwrite});
  return *this;
}

Tensor& Tensor::add_(const Tensor& other, double alpha) {
  require_same_shape("add_", *this, other);
  if (other.dtype() != dtype()) {
    throw TypeError(fmt::format("[add_] {} added to {}; convert it first", name_of(other.dtype()), name_of(dtype())));
  }
  const kernels::View view = change_in_place("add_", *this);
  if (alpha == 1) {
    kernels::copy({}, view_of(*other.value()), {view, kernels::Write::accumulate});
    return *this;
  }
  const Exec exec(device(), {});
  const kernels::View scaled = exec.temporary(dtype(), shape());
  kernels::unary_forward({}, kernels::Unary::mul_scalar, alpha, view_of(*other.value()), scaled);
  kernels::copy({}, scaled, {view, kernels::Write::accumulate});
  return *this;
}

Tensor& Tensor::mul_(double factor) {
  const kernels::View view = change_in_place("mul_", *this);
  kernels::unary_forward({}, kernels::Unary::mul_scalar, factor, view, view);
  return *this;
}

}  // namespace reprise
