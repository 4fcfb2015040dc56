#include "reprise/tensor.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <utility>

#include "devices/transfer.h"
#include "gradient_memory.h"
#include "representable.h"
#include "reprise/context.h"
#include "reprise/device.h"
#include "reprise/in_place.h"
#include "reprise/kernels/elementwise.h"
#include "reprise/kernels/random.h"
#include "reprise/ops/elementwise.h"
#include "tape_owner.h"

namespace reprise {
namespace {

ValueExtras& extras_of(Value& value) {
  if (value.extras == nullptr) value.extras = std::make_unique<ValueExtras>();
  return *value.extras;
}

/// What `tensor` may have as its gradient: this one, or a copy of it where adding to it would change what is
/// not a gradient, or one element several times.
Tensor gradient_for(const Tensor& tensor, Tensor gradient) {
  if (!is_floating(tensor.dtype())) {
    throw TypeError(
        fmt::format("[set_grad] a {} tensor has no gradient; convert it first", name_of(tensor.dtype())));
  }
  if (!(gradient.shape() == tensor.shape()) || gradient.dtype() != tensor.dtype()) {
    throw ShapeError(fmt::format("[set_grad] gradient {} {} for a tensor {} {}", name_of(gradient.dtype()),
                                 to_string(gradient.shape()), name_of(tensor.dtype()),
                                 to_string(tensor.shape())));
  }
  if (gradient.device() != tensor.device()) {
    throw TypeError(
        fmt::format("[set_grad] the gradient is on {}, the tensor on {}; move one with to(Device)",
                    to_string(gradient.device()), to_string(tensor.device())));
  }
  const Value& value = *gradient.value();
  if (value.storage == nullptr)
    throw TapeError(fmt::format("[set_grad] the gradient, {}, has no memory", describe(value)));
  // One that has a gradient itself could lead back to the tensor, and neither would ever go.
  const bool addable = value.is_leaf && !value.requires_grad && value.gradient == nullptr &&
                       has_distinct_elements(gradient) && !gradient.shares_storage_with(tensor);
  return addable ? gradient : detail::dense_copy(value, *tensor.value());
}

}  // namespace

DType parse_dtype(std::string_view text) {
  for (const DType dtype : {DType::float32, DType::float64, DType::bfloat16, DType::float16, DType::int32,
                            DType::int64, DType::boolean}) {
    if (text == name_of(dtype)) return dtype;
  }
  throw ValueError(fmt::format("[dtype] '{}' is none; give float32, bfloat16, float16, ...", text));
}

void Tensor::throw_undefined() { throw Error("[tensor] undefined tensor: it was never given a value"); }

void Tensor::require_elements(DType wanted) const {
  detail::require_values(device(), "data");
  if (dtype() != wanted) {
    throw TypeError(fmt::format("[data] a {} tensor read as {}; convert it with to(DType::...)",
                                name_of(dtype()), name_of(wanted)));
  }
}

std::int64_t Tensor::size(int axis) const { return shape()[normalise_axis("size", axis, rank())]; }

std::span<const std::int64_t> Tensor::strides() const {
  return {checked().strides.data(), static_cast<std::size_t>(rank())};
}

bool Tensor::is_contiguous() const { return view_of(checked()).is_contiguous(); }

bool Tensor::shares_storage_with(const Tensor& other) const {
  return checked().storage != nullptr && checked().storage == other.checked().storage;
}

Tensor& Tensor::set_requires_grad(bool wanted) {
  Value& value = checked();
  if (!value.is_leaf && value.requires_grad != wanted) {
    throw TapeError(fmt::format("[set_requires_grad] {} was produced by an operation; use detach() first",
                                describe(value)));
  }
  if (wanted && !is_floating(dtype())) {
    throw TypeError(
        fmt::format("[set_requires_grad] a {} tensor has no gradient; convert it first", name_of(dtype())));
  }
  detail::require_own("set_requires_grad", value, "call it there, or on a detach()ed alias");
  value.requires_grad = wanted;
  return *this;
}

Tensor Tensor::grad() const {
  const Value& value = checked();
  if (!value.is_leaf || value.gradient == nullptr) return {};
  if (value.gradient_incomplete) {
    throw TapeError(
        fmt::format("[grad] a backward stopped midway: the gradient of {} is incomplete; call clear_grad()",
                    describe(value)));
  }
  return Tensor::share(value.gradient);
}

void Tensor::set_grad(Tensor gradient) {
  Value& value = checked();
  if (!value.is_leaf) {
    throw TapeError(fmt::format("[set_grad] {} is not a leaf", describe(value)));
  }
  if (gradient.defined()) gradient = gradient_for(*this, std::move(gradient));
  clear_grad();
  detail::set_gradient(value, std::move(gradient));
}

void Tensor::clear_grad() {
  Value& value = checked();
  if (value.claimed_by.load(std::memory_order_relaxed) != 0) {
    throw TapeError(
        fmt::format("[grad] a backward is adding to the gradient of {}; clear or set it after the backward",
                    describe(value)));
  }
  if (value.is_leaf) detail::set_gradient(value, {});
  value.gradient_incomplete = false;
}

void Tensor::on_gradient(GradientHook hook) const {
  if (!requires_grad()) {
    throw TapeError(fmt::format("[on_gradient] {} wants no gradient", describe(checked())));
  }
  detail::require_own("on_gradient", checked(), "call it there");
  extras_of(checked()).hooks.push_back(std::make_shared<const GradientHook>(std::move(hook)));
}

const std::string& Tensor::name() const {
  static const std::string none;
  const Value& value = checked();
  return value.extras == nullptr ? none : value.extras->name;
}

Tensor& Tensor::set_name(std::string name) {
  Value& value = checked();
  if (value.producer == nullptr && value.storage != nullptr && value.storage->block != nullptr) {
    const Place* const place = place_in(nullptr, name, "", 0);
    value.storage->block->pool->rename(value.storage->block,
                                       {.dtype = dtype(), .shape = shape(), .place = place},
                                       place->is_further ? std::string_view(name) : std::string_view());
  }
  extras_of(value).name = std::move(name);
  return *this;
}

void Tensor::backward(BackwardOptions options) const { reprise::backward({this, 1}, {}, options); }

void Tensor::backward(const Tensor& gradient, BackwardOptions options) const {
  reprise::backward({this, 1}, {&gradient, 1}, options);
}

Tensor Tensor::detach() const {
  const Value& value = checked();
  Tensor result = Tensor::share(make_leaf(value.spec));
  Value& leaf = *result.value();
  leaf.strides = value.strides;
  leaf.offset = value.offset;
  if (value.storage != nullptr) {
    retain(value.storage);
    leaf.storage = value.storage;
  }
  return result;
}

Tensor Tensor::contiguous() const { return is_contiguous() ? *this : clone(); }

Tensor empty(const Shape& shape, const TensorOptions& options) {
  const bool channels_last = options.channels_last && shape.rank() == 4;
  const Spec spec{options.dtype, options.device, channels_last, shape};
  Tensor result = Tensor::share(make_leaf(spec));
  result.value()->storage = allocate_storage(spec, options.category);
  return result;
}

bool detail::is_representable(double value, DType dtype) {
  switch (dtype) {
    case DType::boolean:
      return value == 0 || value == 1;
    case DType::int32:
      return value >= -0x1p31 && value < 0x1p31 && value == std::trunc(value);
    case DType::int64:
      return value >= -0x1p63 && value < 0x1p63 && value == std::trunc(value);
    default:
      return true;
  }
}

namespace {

double largest_of(DType dtype) {
  switch (dtype) {
    case DType::float16:
      return 65504;
    case DType::bfloat16:
      return 0x1.fep127;
    case DType::float32:
      return std::numeric_limits<float>::max();
    default:
      return std::numeric_limits<double>::max();
  }
}

}  // namespace

void detail::require_representable(const char* operation, double value, DType dtype) {
  const bool overflows = is_floating(dtype) && std::isfinite(value) && std::abs(value) > largest_of(dtype);
  if (overflows || !is_representable(value, dtype))
    throw ValueError(fmt::format("[{}] {} is not a value of {}", operation, value, name_of(dtype)));
}

void detail::throw_too_large(const char* operation, std::uint64_t value) {
  throw ValueError(fmt::format("[{}] {} is larger than any int64", operation, value));
}

bool detail::is_exact_double(std::int64_t value) {
  const auto rounded = static_cast<double>(value);
  return rounded < 0x1p63 && static_cast<std::int64_t>(rounded) == value;
}

void detail::require_representable(const char* operation, std::int64_t value, DType dtype) {
  const bool fits = dtype == DType::boolean ? value == 0 || value == 1
                    : dtype == DType::int32 ? std::in_range<std::int32_t>(value)
                                            : true;
  if (!fits) throw ValueError(fmt::format("[{}] {} is not a value of {}", operation, value, name_of(dtype)));
}

void detail::require_scalar(std::string_view operation, const Tensor& x, double number) {
  if (x.dtype() == DType::boolean) {
    throw TypeError(fmt::format("[{}] does not take bool tensors; convert {} with to(DType::float32)",
                                operation, to_string(x.shape())));
  }
  if (!is_representable(number, x.dtype())) {
    throw TypeError(fmt::format(
        "[{}] the scalar {} does not fit into the {} tensor {}; convert it with to(DType::float32)",
        operation, number, name_of(x.dtype()), to_string(x.shape())));
  }
  if (x.dtype() == DType::int64 && std::abs(number) >= 0x1p53) {
    throw TypeError(
        fmt::format("[{}] the scalar {} is a double, which holds integers exactly below 2^53 only; give a "
                    "tensor of one element",
                    operation, number));
  }
}

Tensor full(const Shape& shape, double value, const TensorOptions& options) {
  detail::require_representable("full", value, options.dtype);
  Tensor result = empty(shape, options);
  kernels::fill(queue_of(options.device), value, view_of(*result.value()));
  return result;
}

Tensor detail::full_integer(const Shape& shape, std::int64_t value, const TensorOptions& options) {
  if (is_exact_double(value) || is_floating(options.dtype))
    return full(shape, static_cast<double>(value), options);
  require_representable("full", value, options.dtype);
  return empty(shape, options).fill_(value);
}

Tensor zeros(const Shape& shape, const TensorOptions& options) { return full(shape, 0, options); }
Tensor ones(const Shape& shape, const TensorOptions& options) { return full(shape, 1, options); }
Tensor scalar(double value, const TensorOptions& options) { return full({}, value, options); }

Tensor rand(const Shape& shape, const TensorOptions& options) {
  if (!is_floating(options.dtype))
    throw TypeError(fmt::format("[rand] no uniform {} numbers", name_of(options.dtype)));
  Tensor result = empty(shape, options);
  kernels::fill_uniform(queue_of(options.device), generator().take(), 0.0, 1.0, view_of(*result.value()));
  return result;
}

Tensor randn(const Shape& shape, const TensorOptions& options) {
  if (!is_floating(options.dtype))
    throw TypeError(fmt::format("[randn] no normal {} numbers", name_of(options.dtype)));
  Tensor result = empty(shape, options);
  kernels::fill_normal(queue_of(options.device), generator().take(), 0.0, 1.0, view_of(*result.value()));
  return result;
}

}  // namespace reprise
