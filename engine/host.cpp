// Copies between tensors and host data, and printing.
#include <fmt/format.h>

#include <cmath>
#include <numeric>
#include <ostream>

#include "devices/transfer.h"
#include "representable.h"
#include "reprise/checked.h"
#include "reprise/kernels/elementwise.h"
#include "reprise/operation.h"
#include "reprise/ops/elementwise.h"
#include "reprise/tape.h"
#include "reprise/tensor.h"

namespace reprise {
namespace {

/// True when every value of `from` has an exact counterpart in `to`.
bool fits(DType from, DType to) {
  if (from == to || from == DType::boolean) return true;
  switch (to) {
    case DType::float64:
      return from != DType::int64;
    case DType::float32:
      return from == DType::bfloat16 || from == DType::float16;
    case DType::int64:
      return from == DType::int32;
    default:
      return false;
  }
}

/// The elements row-major in the CPU's memory, converted where they are: the tensor's own memory where it
/// is that already.
Tensor on_cpu(const Tensor& tensor, DType dtype) {
  const Device device = tensor.device();
  if (device == Device::cpu() && tensor.dtype() == dtype && tensor.is_contiguous()) return tensor.detach();
  Tensor copy = empty(tensor.shape(), {.dtype = dtype, .device = Device::cpu()});
  const kernels::View to = view_of(*copy.value());
  const Exec exec(device, {});
  kernels::ConstView from = view_of(*tensor.value());
  if (device.kind != DeviceKind::cpu && tensor.dtype() != dtype) {
    const kernels::View converted = exec.temporary(dtype, tensor.shape());
    kernels::copy(exec.queue(), from, {converted, kernels::Write::overwrite});
    from = converted;
  }
  detail::copy_across(device, from, Device::cpu(), to);
  return copy;
}

/// The elements row-major in the wanted type, off the tape.
Tensor host_elements(const Tensor& tensor, DType dtype, const char* operation) {
  if (!fits(tensor.dtype(), dtype)) {
    throw TypeError(
        fmt::format("[{}] {} does not fit into {}; convert the tensor with to(DType::{}) if that is meant",
                    operation, name_of(tensor.dtype()), name_of(dtype), name_of(dtype)));
  }
  if (tensor.value()->storage == nullptr) {
    throw TapeError(fmt::format("[{}] {} has no memory", operation, describe(*tensor.value())));
  }
  detail::require_values(tensor.device(), operation);
  return on_cpu(tensor, dtype);
}

}  // namespace

template <class T>
Tensor from_host(std::span<const T> elements, const Shape& shape, const TensorOptions& options) {
  if (static_cast<std::int64_t>(elements.size()) != shape.numel()) {
    throw ShapeError(fmt::format("[from_host] {} elements for a tensor {} of {}", elements.size(),
                                 to_string(shape), shape.numel()));
  }
  if (!fits(dtype_of<T>(), options.dtype) && !(is_floating(dtype_of<T>()) && is_floating(options.dtype))) {
    throw TypeError(fmt::format("[from_host] {} does not fit into {}; convert the elements first",
                                name_of(dtype_of<T>()), name_of(options.dtype)));
  }
  Tensor result = empty(shape, options);
  if (options.device.is_dry) return result;
  kernels::ConstView source;
  source.rank = shape.rank();
  source.strides = row_major_strides(shape);
  for (int axis = 0; axis < source.rank; ++axis) source.sizes[static_cast<std::size_t>(axis)] = shape[axis];
  source.dtype = dtype_of<T>();
  source.data = elements.data();
  const kernels::View target = view_of(*result.value());
  if (options.device.kind == DeviceKind::cpu || source.dtype == target.dtype) {
    detail::copy_across(Device::cpu(), source, options.device, target);
    return result;
  }
  const Exec host(Device::cpu(), {});
  kernels::ConstView wanted = target;
  const kernels::View converted = host.laid_out_scratch(wanted);
  kernels::copy(host.queue(), source, {converted, kernels::Write::overwrite});
  detail::copy_across(Device::cpu(), converted, options.device, target);
  return result;
}

template <class T>
Tensor tensor(const std::vector<T>& elements, const Shape& shape) {
  return from_host<T>(elements, shape, {.dtype = dtype_of<T>()});
}

template <class T>
T Tensor::item() const {
  if (numel() != 1)
    throw ShapeError(fmt::format("[item] {} has {} elements, not one", reprise::to_string(shape()), numel()));
  return *host_elements(*this, dtype_of<T>(), "item").template data<T>();
}

template <class T>
std::vector<T> Tensor::to_vector() const {
  const Tensor elements = host_elements(*this, dtype_of<T>(), "to_vector");
  const T* first = elements.template data<T>();
  return std::vector<T>(first, first + elements.numel());
}

template Tensor from_host<float>(std::span<const float>, const Shape&, const TensorOptions&);
template Tensor from_host<double>(std::span<const double>, const Shape&, const TensorOptions&);
template Tensor from_host<bfloat16>(std::span<const bfloat16>, const Shape&, const TensorOptions&);
template Tensor from_host<float16>(std::span<const float16>, const Shape&, const TensorOptions&);
template Tensor from_host<std::int32_t>(std::span<const std::int32_t>, const Shape&, const TensorOptions&);
template Tensor from_host<std::int64_t>(std::span<const std::int64_t>, const Shape&, const TensorOptions&);
template Tensor from_host<bool>(std::span<const bool>, const Shape&, const TensorOptions&);

template Tensor tensor<float>(const std::vector<float>&, const Shape&);
template Tensor tensor<double>(const std::vector<double>&, const Shape&);
template Tensor tensor<std::int32_t>(const std::vector<std::int32_t>&, const Shape&);
template Tensor tensor<std::int64_t>(const std::vector<std::int64_t>&, const Shape&);

template float Tensor::item<float>() const;
template double Tensor::item<double>() const;
template std::int32_t Tensor::item<std::int32_t>() const;
template std::int64_t Tensor::item<std::int64_t>() const;
template bool Tensor::item<bool>() const;

template std::vector<float> Tensor::to_vector<float>() const;
template std::vector<double> Tensor::to_vector<double>() const;
template std::vector<std::int32_t> Tensor::to_vector<std::int32_t>() const;
template std::vector<std::int64_t> Tensor::to_vector<std::int64_t>() const;

Tensor arange(std::int64_t n, const TensorOptions& options) {
  if (n < 0) throw ShapeError(fmt::format("[arange] negative length {}", n));
  const Shape shape{n};
  if (n > 0 && is_floating(options.dtype))
    detail::require_representable("arange", static_cast<double>(n - 1), options.dtype);
  else if (n > 0)
    detail::require_representable("arange", n - 1, options.dtype);
  auto elements = checked::vector_of<std::int64_t>("arange", n);
  std::iota(elements.begin(), elements.end(), std::int64_t{0});
  TensorOptions integer = options;
  integer.dtype = DType::int64;
  const Tensor result = from_host<std::int64_t>(elements, shape, integer);
  return options.dtype == DType::int64 ? result : result.to(options.dtype);
}

namespace {

constexpr std::int64_t kEdge = 3;     // elements shown at each end of a long axis
constexpr std::int64_t kAllUpTo = 8;  // axes up to this size are shown whole

std::string format_element(double value, DType) { return fmt::format("{:.5g}", value); }
std::string format_element(std::int64_t value, DType dtype) {
  if (dtype == DType::boolean) return value != 0 ? "true" : "false";
  return fmt::format("{}", value);
}

template <class T>
void print_axis(std::string& out, const std::vector<T>& elements, const Tensor& tensor, int axis,
                std::int64_t at) {
  if (axis == tensor.rank()) {
    out += format_element(elements[static_cast<std::size_t>(at)], tensor.dtype());
    return;
  }
  const std::int64_t n = tensor.shape()[axis];
  const std::int64_t inner = row_major_strides(tensor.shape())[static_cast<std::size_t>(axis)];
  const bool last = axis == tensor.rank() - 1;
  const std::string separator = last ? ", " : ",\n" + std::string(static_cast<std::size_t>(axis) + 1, ' ');
  out += '[';
  for (std::int64_t i = 0; i < n; ++i) {
    if (i > 0) out += separator;
    if (n > kAllUpTo && i == kEdge) {
      out += "...";
      i = n - kEdge - 1;
      continue;
    }
    print_axis(out, elements, tensor, axis + 1, at + i * inner);
  }
  out += ']';
}

}  // namespace

std::string to_string(const Tensor& tensor) {
  if (!tensor.defined()) return "tensor(undefined)";
  const NoGrad no_grad;
  const std::string head = fmt::format("{} {}{}", name_of(tensor.dtype()), to_string(tensor.shape()),
                                       tensor.requires_grad() ? " requires_grad" : "");
  if (tensor.value()->storage == nullptr) return head + " (no memory)";
  if (tensor.device().is_dry) return fmt::format("{} on {}", head, to_string(tensor.device()));
  std::string out = head + "\n";
  if (is_floating(tensor.dtype()))
    print_axis(out, on_cpu(tensor, DType::float64).to_vector<double>(), tensor, 0, 0);
  else  // not every int64 is a double
    print_axis(out, on_cpu(tensor, DType::int64).to_vector<std::int64_t>(), tensor, 0, 0);
  return out;
}

std::ostream& operator<<(std::ostream& out, const Tensor& tensor) { return out << to_string(tensor); }

}  // namespace reprise
