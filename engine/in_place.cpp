// Changes in place: every one counts as a new version of the memory, so that backward notices.
#include <fmt/format.h>

#include "devices/transfer.h"
#include "representable.h"
#include "reprise/context.h"
#include "reprise/in_place.h"
#include "reprise/kernels/elementwise.h"
#include "tape_owner.h"

namespace reprise {
namespace {

/// The axis along which an expanded view shows one element several times, or -1.
int repeated_axis(const Tensor& tensor) {
  for (int axis = 0; axis < tensor.rank(); ++axis) {
    if (tensor.shape()[axis] > 1 && tensor.strides()[static_cast<std::size_t>(axis)] == 0) return axis;
  }
  return -1;
}

}  // namespace

void require_changeable(const char* operation, const Tensor& tensor) {
  if (!tensor.defined()) throw Error(fmt::format("[{}] undefined tensor", operation));
  const Value& value = *tensor.value();
  if (value.requires_grad && (!value.is_leaf || context().grad_enabled())) {
    const bool recorded = !value.is_leaf;
    throw TapeError(fmt::format("[{}] {} {}; {}", operation, describe(value),
                                recorded ? "was recorded for backward" : "wants a gradient",
                                recorded ? "change a clone() or a detach()ed copy"
                                         : "change it under NoGrad, outside forward and backward"));
  }
  if (value.storage == nullptr)
    throw TapeError(fmt::format("[{}] {} has no memory", operation, describe(value)));
  // What a change of an expanded view would mean depends on the order of the writes.
  if (!has_distinct_elements(tensor)) {
    const int axis = repeated_axis(tensor);
    throw TapeError(fmt::format("[{}] {} shows the same memory several times{}; change a clone()", operation,
                                describe(value), axis < 0 ? "" : fmt::format(" along axis {}", axis)));
  }
  detail::require_own(operation, value, "change a clone()");
}

kernels::View change_in_place(const char* operation, const Tensor& tensor) {
  require_changeable(operation, tensor);
  Value& value = *tensor.value();
  keep_changed(value);
  value.storage->version.fetch_add(1, std::memory_order_relaxed);
  return view_of(value);
}

namespace {

/// What a change in place reads: of the target's sizes, with memory, and nothing that a gradient should flow
/// to, since a change in place is not recorded.
void require_source(const char* operation, const Tensor& target, const Tensor& source) {
  if (!(target.shape() == source.shape())) {
    throw ShapeError(fmt::format("[{}] sizes differ: {} into {}", operation, to_string(source.shape()),
                                 to_string(target.shape())));
  }
  const Value& value = *source.value();
  if (value.storage == nullptr)
    throw TapeError(fmt::format("[{}] the source, {}, has no memory", operation, describe(value)));
  if (value.requires_grad && context().grad_enabled()) {
    throw TapeError(
        fmt::format("[{}] the source, {}, wants a gradient, which a change in place would lose; put "
                    "results together with concatenate or out-of-place operations, or give its "
                    "detach() where no gradient is meant",
                    operation, describe(value)));
  }
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

/// copy_ from another device: converted there where the types differ.
void copy_from_elsewhere(const Tensor& source, const Tensor& target) {
  detail::require_values(source.device(), "copy_");
  const Exec there(source.device(), {});
  kernels::ConstView from = view_of(*source.value());
  if (source.dtype() != target.dtype()) {
    const kernels::View converted = there.temporary(target.dtype(), source.shape());
    kernels::copy(there.queue(), from, {converted, kernels::Write::overwrite});
    from = converted;
  }
  detail::copy_across(source.device(), from, target.device(), change_in_place("copy_", target));
}

}  // namespace

Tensor& Tensor::fill_(double value) {
  detail::require_representable("fill_", value, dtype());
  kernels::fill(queue_of(device()), value, change_in_place("fill_", *this));
  return *this;
}

Tensor& Tensor::fill_integer(std::int64_t value) {
  if (detail::is_exact_double(value) || is_floating(dtype())) return fill_(static_cast<double>(value));
  detail::require_representable("fill_", value, dtype());
  const Tensor one = from_host<std::int64_t>({&value, 1}, {}, {.dtype = DType::int64, .device = device()});
  kernels::View everywhere = view_of(*one.value());
  static_cast<kernels::Layout&>(everywhere) = view_of(*this->value());
  everywhere.strides = kernels::PerAxis{};
  kernels::copy(queue_of(device()), everywhere, {change_in_place("fill_", *this), kernels::Write::overwrite});
  return *this;
}

Tensor& Tensor::copy_(const Tensor& source) {
  require_source("copy_", *this, source);
  if (source.device() != device()) {
    copy_from_elsewhere(source, *this);
    return *this;
  }
  const Exec exec(device(), {});
  const kernels::ConstView from = unaliased(exec, source, *this);
  kernels::copy(exec.queue(), from, {change_in_place("copy_", *this), kernels::Write::overwrite});
  return *this;
}

Tensor& Tensor::add_(const Tensor& other, double alpha) {
  require_source("add_", *this, other);
  if (other.dtype() != dtype()) {
    throw TypeError(
        fmt::format("[add_] {} added to {}; convert it first", name_of(other.dtype()), name_of(dtype())));
  }
  if (other.device() != device()) {
    throw TypeError(fmt::format("[add_] a tensor on {} added to one on {}; move it with to(Device)",
                                to_string(other.device()), to_string(device())));
  }
  detail::require_scalar("add_", *this, alpha);
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
  detail::require_scalar("mul_", *this, factor);
  const kernels::View view = change_in_place("mul_", *this);
  kernels::unary_forward(queue_of(device()), kernels::Unary::mul_scalar, factor, view, view);
  return *this;
}

}  // namespace reprise
