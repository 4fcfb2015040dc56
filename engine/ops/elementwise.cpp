#include "reprise/ops/elementwise.h"

#include <fmt/format.h>

#include "representable.h"
#include "reprise/ops/broadcast.h"

namespace reprise {
namespace ops {
namespace {

bool takes_integers(kernels::Unary function) {
  using enum kernels::Unary;
  return function == neg || function == abs || function == square || function == relu ||
         function == add_scalar || function == mul_scalar;
}

/// A quotient of integers is no integer, and there is no telling who wants it rounded which way.
bool takes_integers(kernels::Binary function) {
  return function != kernels::Binary::pow && function != kernels::Binary::div;
}

/// Memory order of a result: channels-last when every operand of the result's sizes is.
bool result_is_channels_last(const Shape& shape, const Spec& a, const Spec& b) {
  if (shape.rank() != 4) return false;
  const bool a_whole = a.shape == shape;
  const bool b_whole = b.shape == shape;
  return (a_whole || b_whole) && (!a_whole || a.channels_last) && (!b_whole || b.channels_last);
}

[[noreturn]] void throw_takes_no(DType dtype, std::string_view name) {
  throw TypeError(
      fmt::format("[{}] does not take {} tensors; convert them with to(DType::float32) or to(DType::float64)",
                  name, name_of(dtype)));
}

}  // namespace

Spec infer_unary(std::string_view name, kernels::Unary function, const Spec& in) {
  if (!is_floating(in.dtype) && (in.dtype == DType::boolean || !takes_integers(function))) {
    throw TypeError(fmt::format("[{}] does not take {} tensors; convert {} with to(DType::float32)", name,
                                name_of(in.dtype), to_string(in.shape)));
  }
  return in;
}

Saves saves_unary(kernels::Unary function) {
  switch (kernels::derivative_reads(function)) {
    case kernels::Reads::input:
      return {.inputs = 1, .outputs = 0};
    case kernels::Reads::output:
      return {.inputs = 0, .outputs = 1};
    case kernels::Reads::nothing:
      break;
  }
  return {};
}

void unary_forward(kernels::Unary function, double alpha, const Exec& exec, Inputs in, Outputs out) {
  kernels::unary_forward(exec.queue(), function, alpha, in[0], out[0]);
}

void unary_backward(kernels::Unary function, double alpha, const Exec& exec, const Saved& saved, OutGrads dy,
                    GradSlots dx) {
  const kernels::Reads reads = kernels::derivative_reads(function);
  kernels::unary_backward(
      exec.queue(), function, alpha, reads == kernels::Reads::input ? saved.input(0) : kernels::ConstView(),
      reads == kernels::Reads::output ? saved.output(0) : kernels::ConstView(), dy[0], dx[0]);
}

Spec infer_binary(std::string_view name, kernels::Binary function, SpecSpan in) {
  const Spec& a = in[0];
  const Spec& b = in[1];
  if (a.dtype != b.dtype) require_same_dtype(name, a, b);
  if (!is_floating(a.dtype) && (a.dtype == DType::boolean || !takes_integers(function))) {
    throw_takes_no(a.dtype, name);
  }
  Spec out = a;
  if (!(a.shape == b.shape)) out.shape = broadcast_shapes(name, a.shape, b.shape);
  out.channels_last = result_is_channels_last(out.shape, a, b);
  return out;
}

Saves saves_binary(kernels::Binary function, GradMask needs) {
  using enum kernels::Binary;
  switch (function) {
    case add:
    case sub:
      return {};
    case mul:
      return {.inputs = ((needs & 1) != 0 ? 2u : 0u) | ((needs & 2) != 0 ? 1u : 0u), .outputs = 0};
    case div:
      return {.inputs = (needs & 2) != 0 ? 3u : 2u, .outputs = 0};
    default:
      return {.inputs = 3, .outputs = 0};
  }
}

void binary_forward(kernels::Binary function, const Exec& exec, Inputs in, Outputs out) {
  const kernels::View y = out[0];
  kernels::binary_forward(exec.queue(), function, broadcast_to(in[0], y), broadcast_to(in[1], y), y);
}

namespace {

/// A gradient target of dy's sizes: the slot itself, or scratch that is summed into the slot afterwards.
kernels::Target full_size(const Exec& exec, const kernels::Target& slot, const kernels::ConstView& dy) {
  if (!slot) return {};
  bool same = slot.view.rank == dy.rank;
  for (std::size_t axis = 0; same && axis < static_cast<std::size_t>(dy.rank); ++axis) {
    same = slot.view.sizes[axis] == dy.sizes[axis];
  }
  if (same) return slot;
  return {exec.temporary(dy.dtype, Shape(std::span(dy.sizes.data(), static_cast<std::size_t>(dy.rank)))),
          kernels::Write::overwrite};
}

}  // namespace

void binary_backward(kernels::Binary function, const Exec& exec, const Saved& saved, OutGrads grads,
                     GradSlots slots) {
  const kernels::ConstView dy = grads[0];
  if (function == kernels::Binary::add && !(saved.input_spec(0).shape == saved.input_spec(1).shape)) {
    for (std::size_t i = 0; i < 2; ++i) {
      if (slots.wants(i)) sum_to(exec, dy, slots[i]);
    }
    return;
  }
  const Saves reads = saves_binary(function, (slots.wants(0) ? 1u : 0u) | (slots.wants(1) ? 2u : 0u));
  kernels::ConstView in[2];
  for (std::size_t i = 0; i < 2; ++i) {
    if (reads.inputs >> i & 1u) in[i] = broadcast_to(saved.input(i), dy);
  }
  const kernels::Target full[2] = {full_size(exec, slots[0], dy), full_size(exec, slots[1], dy)};
  kernels::binary_backward(exec.queue(), function, in[0], in[1], dy, full[0], full[1]);
  for (std::size_t i = 0; i < 2; ++i) {
    if (slots.wants(i) && full[i].view.data != slots[i].view.data) sum_to(exec, full[i].view, slots[i]);
  }
}

Specs Compare::infer(SpecSpan in) const {
  require_same_dtype(name, in[0], in[1]);
  Spec out = in[0];
  out.shape = broadcast_shapes(name, in[0].shape, in[1].shape);
  out.channels_last = result_is_channels_last(out.shape, in[0], in[1]);
  out.dtype = DType::boolean;
  return {out};
}

void Compare::forward(const Exec& exec, Inputs in, Outputs out) const {
  const kernels::View y = out[0];
  kernels::compare(exec.queue(), function, broadcast_to(in[0], y), broadcast_to(in[1], y), y);
}

Specs Where::infer(SpecSpan in) const {
  if (in[0].dtype != DType::boolean) {
    throw TypeError(fmt::format("[where] the condition is {} {}; compare it first: it must be bool",
                                name_of(in[0].dtype), to_string(in[0].shape)));
  }
  require_same_dtype(name, in[1], in[2]);
  Spec out = in[1];
  out.shape = broadcast_shapes(name, in[0].shape, broadcast_shapes(name, in[1].shape, in[2].shape));
  out.channels_last = result_is_channels_last(out.shape, in[1], in[2]);
  return {out};
}

Saves Where::saves(GradMask) const { return {.inputs = 1, .outputs = 0}; }

void Where::forward(const Exec& exec, Inputs in, Outputs out) const {
  const kernels::View y = out[0];
  kernels::where(exec.queue(), broadcast_to(in[0], y), broadcast_to(in[1], y), broadcast_to(in[2], y),
                 {y, kernels::Write::overwrite});
}

void Where::backward(const Exec& exec, const Saved& saved, OutGrads grads, GradSlots slots) const {
  const kernels::ConstView dy = grads[0];
  const kernels::ConstView condition = broadcast_to(saved.input(0), dy);
  for (std::size_t i : {1u, 2u}) {
    if (!slots.wants(i)) continue;
    const kernels::Target full = full_size(exec, slots[i], dy);
    kernels::where(exec.queue(), condition, i == 1 ? dy : kernels::ConstView(),
                   i == 2 ? dy : kernels::ConstView(), full);
    if (full.view.data != slots[i].view.data) sum_to(exec, full.view, slots[i]);
  }
}

Specs Cast::infer(SpecSpan in) const {
  Spec out = in[0];
  out.dtype = dtype;
  return {out};
}

void Cast::forward(const Exec& exec, Inputs in, Outputs out) const {
  kernels::copy(exec.queue(), in[0], {out[0], kernels::Write::overwrite});
}

void Cast::backward(const Exec& exec, const Saved&, OutGrads dy, GradSlots dx) const {
  kernels::copy(exec.queue(), dy[0], dx[0]);
}

Specs Clone::infer(SpecSpan in) const {
  Spec out = in[0];
  if (channels_last && out.shape.rank() != 4) {
    throw ShapeError(
        fmt::format("[clone] channels-last order needs 4 axes (N, C, H, W), not {}", to_string(out.shape)));
  }
  out.channels_last = channels_last;
  return {out};
}

void Clone::forward(const Exec& exec, Inputs in, Outputs out) const {
  kernels::copy(exec.queue(), in[0], {out[0], kernels::Write::overwrite});
}

void Clone::backward(const Exec& exec, const Saved&, OutGrads dy, GradSlots dx) const {
  kernels::copy(exec.queue(), dy[0], dx[0]);
}

}  // namespace ops

namespace {
template <kernels::Unary F>
Tensor unary(Tensor x, double alpha = 0) {
  return apply(ops::Unary<F>{.alpha = alpha}, std::move(x));
}
template <kernels::Binary F>
Tensor binary(Tensor a, Tensor b) {
  return apply(ops::Binary<F>{}, std::move(a), std::move(b));
}
/// A function with a scalar that x's type must be able to hold.
template <kernels::Unary F>
Tensor with_scalar(std::string_view name, Tensor x, double alpha) {
  detail::require_scalar(name, x, alpha);
  return unary<F>(std::move(x), alpha);
}
Tensor comparison(kernels::Compare function, const Tensor& a, const Tensor& b) {
  return apply(ops::Compare{.function = function}, a, b);
}
}  // namespace

Tensor neg(Tensor x) { return unary<kernels::Unary::neg>(std::move(x)); }
Tensor abs(Tensor x) { return unary<kernels::Unary::abs>(std::move(x)); }
Tensor exp(Tensor x) { return unary<kernels::Unary::exp>(std::move(x)); }
Tensor log(Tensor x) { return unary<kernels::Unary::log>(std::move(x)); }
Tensor sqrt(Tensor x) { return unary<kernels::Unary::sqrt>(std::move(x)); }
Tensor rsqrt(Tensor x) { return unary<kernels::Unary::rsqrt>(std::move(x)); }
Tensor square(Tensor x) { return unary<kernels::Unary::square>(std::move(x)); }
Tensor reciprocal(Tensor x) { return unary<kernels::Unary::reciprocal>(std::move(x)); }
Tensor tanh(Tensor x) { return unary<kernels::Unary::tanh>(std::move(x)); }
Tensor sigmoid(Tensor x) { return unary<kernels::Unary::sigmoid>(std::move(x)); }
Tensor relu(Tensor x) { return unary<kernels::Unary::relu>(std::move(x)); }
Tensor silu(Tensor x) { return unary<kernels::Unary::silu>(std::move(x)); }
Tensor sin(Tensor x) { return unary<kernels::Unary::sin>(std::move(x)); }
Tensor cos(Tensor x) { return unary<kernels::Unary::cos>(std::move(x)); }
Tensor gelu(Tensor x) { return unary<kernels::Unary::gelu_tanh>(std::move(x)); }
Tensor gelu_erf(Tensor x) { return unary<kernels::Unary::gelu_erf>(std::move(x)); }
Tensor pow(Tensor x, double exponent) { return unary<kernels::Unary::pow_scalar>(std::move(x), exponent); }

Tensor add(Tensor a, Tensor b) { return binary<kernels::Binary::add>(std::move(a), std::move(b)); }
Tensor sub(Tensor a, Tensor b) { return binary<kernels::Binary::sub>(std::move(a), std::move(b)); }
Tensor mul(Tensor a, Tensor b) { return binary<kernels::Binary::mul>(std::move(a), std::move(b)); }
Tensor div(Tensor a, Tensor b) { return binary<kernels::Binary::div>(std::move(a), std::move(b)); }
Tensor pow(Tensor a, Tensor b) { return binary<kernels::Binary::pow>(std::move(a), std::move(b)); }
Tensor maximum(Tensor a, Tensor b) { return binary<kernels::Binary::maximum>(std::move(a), std::move(b)); }
Tensor minimum(Tensor a, Tensor b) { return binary<kernels::Binary::minimum>(std::move(a), std::move(b)); }

Tensor operator+(Tensor a, Tensor b) { return add(std::move(a), std::move(b)); }
Tensor operator-(Tensor a, Tensor b) { return sub(std::move(a), std::move(b)); }
Tensor operator*(Tensor a, Tensor b) { return mul(std::move(a), std::move(b)); }
Tensor operator/(Tensor a, Tensor b) { return div(std::move(a), std::move(b)); }
Tensor operator-(Tensor x) { return neg(std::move(x)); }
Tensor operator+(Tensor x, double alpha) {
  return with_scalar<kernels::Unary::add_scalar>("add", std::move(x), alpha);
}
Tensor operator-(Tensor x, double alpha) {
  return with_scalar<kernels::Unary::add_scalar>("sub", std::move(x), -alpha);
}
Tensor operator*(Tensor x, double alpha) {
  return with_scalar<kernels::Unary::mul_scalar>("mul", std::move(x), alpha);
}
Tensor operator/(Tensor x, double alpha) {
  // Of integers only what is a product with another integer.
  if (x.defined() && !is_floating(x.dtype()) && !detail::is_representable(1.0 / alpha, x.dtype()))
    ops::throw_takes_no(x.dtype(), "div");
  return with_scalar<kernels::Unary::mul_scalar>("div", std::move(x), 1.0 / alpha);
}
Tensor operator+(double alpha, Tensor x) { return std::move(x) + alpha; }
Tensor operator-(double alpha, Tensor x) {
  return with_scalar<kernels::Unary::add_scalar>("sub", neg(std::move(x)), alpha);
}
Tensor operator*(double alpha, Tensor x) { return std::move(x) * alpha; }
Tensor operator/(double alpha, Tensor x) {
  if (x.defined() && !is_floating(x.dtype())) ops::throw_takes_no(x.dtype(), "div");
  return reciprocal(std::move(x)) * alpha;
}

Tensor equal(const Tensor& a, const Tensor& b) { return comparison(kernels::Compare::equal, a, b); }
Tensor not_equal(const Tensor& a, const Tensor& b) { return comparison(kernels::Compare::not_equal, a, b); }
Tensor less(const Tensor& a, const Tensor& b) { return comparison(kernels::Compare::less, a, b); }
Tensor less_equal(const Tensor& a, const Tensor& b) { return comparison(kernels::Compare::less_equal, a, b); }
Tensor greater(const Tensor& a, const Tensor& b) { return comparison(kernels::Compare::greater, a, b); }
Tensor greater_equal(const Tensor& a, const Tensor& b) {
  return comparison(kernels::Compare::greater_equal, a, b);
}

Tensor where(const Tensor& condition, const Tensor& a, const Tensor& b) {
  return apply(ops::Where{}, condition, a, b);
}

Tensor cast(const Tensor& x, DType dtype) {
  return x.dtype() == dtype ? x : apply(ops::Cast{.dtype = dtype}, x);
}

Tensor to_channels_last(const Tensor& x) {
  return view_of(*x.value()).is_channels_last() ? x : apply(ops::Clone{.channels_last = true}, x);
}

Tensor Tensor::clone() const { return apply(ops::Clone{}, *this); }
Tensor Tensor::to(DType dtype) const { return cast(*this, dtype); }

}  // namespace reprise
