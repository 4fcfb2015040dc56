#include "reprise/ops/reduce.h"

#include <fmt/format.h>

#include "reprise/kernels/elementwise.h"
#include "reprise/ops/broadcast.h"
#include "reprise/ops/shape.h"

namespace reprise {
namespace ops {
namespace {

/// The reduced tensor with x's rank: size 1 and stride 0 on the reduced axes.
template <class V>
V with_kept_axes(V y, const Shape& in, AxisMask axes) {
  const V dense = y;
  const bool kept = y.rank == in.rank();
  int from = 0;
  y.rank = in.rank();
  for (int axis = 0; axis < in.rank(); ++axis) {
    const auto i = static_cast<std::size_t>(axis);
    const bool reduced = axes >> axis & 1u;
    y.sizes[i] = reduced ? 1 : in[axis];
    const auto source = static_cast<std::size_t>(kept ? axis : from);
    y.strides[i] = reduced ? 0 : dense.strides[source];
    if (!reduced) ++from;
  }
  return y;
}

}  // namespace

Spec infer_reduce(std::string_view name, kernels::Reduce function, AxisMask axes, bool keep, const Spec& in) {
  Spec out{in.dtype, in.device, false, Shape{}};
  if (function == kernels::Reduce::sum && !is_floating(in.dtype))
    out.dtype = DType::int64;
  else
    require_floating(name, in);
  detail::InlineVector<std::int64_t, kMaxRank> sizes;
  for (int axis = 0; axis < in.shape.rank(); ++axis) {
    const bool reduced = axes >> axis & 1u;
    if (reduced && in.shape[axis] == 0 && function == kernels::Reduce::max)
      throw ShapeError(fmt::format("[{}] axis {} of {} is empty: there is no largest of nothing", name, axis,
                                   to_string(in.shape)));
    if (!reduced)
      sizes.push_back(in.shape[axis]);
    else if (keep)
      sizes.push_back(1);
  }
  out.shape = Shape({sizes.data(), sizes.size()});
  return out;
}

void reduce_forward(kernels::Reduce function, AxisMask axes, const Exec& exec, Inputs in, Outputs out) {
  const kernels::ConstView x = in[0];
  const kernels::View y = with_kept_axes(out[0], in.spec(0).shape, axes);
  const std::size_t bytes = kernels::reduce_workspace_bytes(exec.queue().device, function, x, y);
  kernels::reduce(exec.queue(), function, x, {y, kernels::Write::overwrite}, exec.scratch(bytes));
}

void reduce_backward(kernels::Reduce function, AxisMask axes, const Exec& exec, const Saved& saved,
                     OutGrads grads, GradSlots slots) {
  const Shape& in = saved.input_spec(0).shape;
  const kernels::Target dx = slots[0];
  kernels::ConstView dy = with_kept_axes(grads[0], in, axes);
  if (function == kernels::Reduce::mean) {
    double count = 1;
    for (int axis = 0; axis < in.rank(); ++axis)
      count *= (axes >> axis & 1u) ? static_cast<double>(in[axis]) : 1;
    const kernels::View scaled =
        exec.temporary(dy.dtype, Shape(std::span(dy.sizes.data(), static_cast<std::size_t>(dy.rank))));
    kernels::unary_forward(exec.queue(), kernels::Unary::mul_scalar, 1 / count, dy, scaled);
    dy = scaled;
  }
  if (function == kernels::Reduce::max) {
    kernels::max_backward(exec.queue(), saved.input(0), with_kept_axes(saved.output(0), in, axes), dy, dx);
  } else {
    kernels::copy(exec.queue(), broadcast_to(dy, dx.view), dx);
  }
}

Specs Argmax::infer(SpecSpan in) const {
  require_floating(name, in[0]);
  Spec out{DType::int64, in[0].device, false, Shape{}};
  if (in[0].shape[axis] == 0)
    throw ShapeError(fmt::format("[argmax] axis {} of {} is empty", axis, to_string(in[0].shape)));
  out.shape = in[0].shape.without(axis);
  return {out};
}

void Argmax::forward(const Exec& exec, Inputs in, Outputs out) const {
  kernels::argmax(exec.queue(), in[0], axis, with_kept_axes(out[0], in.spec(0).shape, AxisMask{1} << axis));
}

}  // namespace ops

namespace {
template <kernels::Reduce F>
Tensor reduction(const Tensor& x, Axes axes, bool keep) {
  ops::ReduceOver<F> op{.axes = 0, .keep = keep};
  for (const int axis : axes) {
    const ops::AxisMask bit = 1u << normalise_axis_or_scalar(op.name.data(), axis, x.rank());
    if ((op.axes & bit) != 0)
      throw ShapeError(fmt::format("[{}] axis {} of {} is named twice", op.name, axis, to_string(x.shape())));
    op.axes |= bit;
  }
  const ops::AxisMask all = (1u << x.rank()) - 1;
  op.axes = axes.size() == 0 ? all : op.axes & all;
  return apply(op, x);
}
}  // namespace

Tensor sum(const Tensor& x, Axes axes, bool keep) { return reduction<kernels::Reduce::sum>(x, axes, keep); }
Tensor mean(const Tensor& x, Axes axes, bool keep) { return reduction<kernels::Reduce::mean>(x, axes, keep); }
Tensor max(const Tensor& x, Axes axes, bool keep) { return reduction<kernels::Reduce::max>(x, axes, keep); }
Tensor argmax(const Tensor& x, int axis) {
  const ops::Argmax op{.axis = normalise_axis_or_scalar("argmax", axis, x.rank())};
  return apply(op, x.rank() == 0 ? reshape(x, Shape{1}) : x);
}

}  // namespace reprise
