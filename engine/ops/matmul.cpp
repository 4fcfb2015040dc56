#include "reprise/ops/matmul.h"

#include <fmt/format.h>

#include "reprise/ops/broadcast.h"
#include "reprise/ops/elementwise.h"
#include "reprise/ops/shape.h"
#include "row_major.h"
#include "rows.h"

namespace reprise {
namespace ops {
namespace {

using kernels::ConstView;
using kernels::Target;
using kernels::View;

/// Leading axes of `like`, stretched.
ConstView with_batch_of(const ConstView& view, const kernels::Layout& like) {
  kernels::Layout wanted = like;
  for (int k = 1; k <= 2; ++k) {
    wanted.sizes[static_cast<std::size_t>(wanted.rank - k)] =
        view.sizes[static_cast<std::size_t>(view.rank - k)];
  }
  return broadcast_to(view, wanted);
}

bool has_batch(const kernels::Layout& view, const kernels::Layout& like) {
  if (view.rank != like.rank) return false;
  for (int axis = 0; axis < view.rank - 2; ++axis) {
    if (view.sizes[static_cast<std::size_t>(axis)] != like.sizes[static_cast<std::size_t>(axis)])
      return false;
  }
  return true;
}

/// target (=, +=) a b, where target may lack or have size 1 on leading axes that a b has: those are summed.
void product_summed(const Exec& exec, const ConstView& a, const ConstView& b, const Target& target,
                    const kernels::Layout& batch) {
  if (has_batch(target.view, batch)) {
    product(exec, a, b, target);
    return;
  }
  Shape full;
  for (int axis = 0; axis < batch.rank - 2; ++axis)
    full.push_back(batch.sizes[static_cast<std::size_t>(axis)]);
  full.push_back(a.sizes[static_cast<std::size_t>(a.rank - 2)]);
  full.push_back(b.sizes[static_cast<std::size_t>(b.rank - 1)]);
  const View whole = exec.temporary(target.view.dtype, full);
  product(exec, a, b, {whole, kernels::Write::overwrite});
  sum_to(exec, whole, target);
}

/// dx = (dy w) times the derivative of the activation that made the input.
void product_through(const Exec& exec, const ConstView& dy, const ConstView& w,
                     const GradSlots::Activated& input, const View& dx) {
  const std::size_t bytes = kernels::matmul_workspace_bytes(exec.queue().device, dy, w, dx);
  kernels::linear_backward_input(exec.queue(), input.activation, dy, transposed(w), as_rows(input.before), dx,
                                 exec.scratch(bytes));
}

/// dw (=, +=) x^T dy, or its transpose, as the weight lies.
void weight_gradient(const Exec& exec, WeightLayout layout, const Saved& saved, const ConstView& dy,
                     const Target& dw) {
  const ConstView x = as_rows(exec.contiguous(saved.input(0)));
  if (layout == WeightLayout::out_in)
    product(exec, transposed(dy), x, dw);
  else
    product(exec, transposed(x), dy, dw);
}

/// True when (..., M, K) x (K, N) can be one product of (M', K) and (K, N).
bool is_one_product(const kernels::Layout& a, const kernels::Layout& b) { return b.rank == 2 && a.rank > 2; }

}  // namespace

Specs Matmul::infer(SpecSpan in) const {
  require_same_dtype(name, in[0], in[1]);
  require_floating(name, in[0]);
  const Shape& a = in[0].shape;
  const Shape& b = in[1].shape;
  if (a.rank() < 2 || b.rank() < 2 || a[a.rank() - 1] != b[b.rank() - 2]) {
    throw ShapeError(fmt::format("[matmul] inner sizes differ: {} x {}", to_string(a), to_string(b)));
  }
  const Shape batch = broadcast_shapes(name, Shape(a.span().first(static_cast<std::size_t>(a.rank() - 2))),
                                       Shape(b.span().first(static_cast<std::size_t>(b.rank() - 2))));
  Spec out = in[0];
  out.channels_last = false;
  out.shape = batch;
  out.shape.push_back(a[a.rank() - 2]);
  out.shape.push_back(b[b.rank() - 1]);
  return {out};
}

double Matmul::flops(SpecSpan in) const {
  const Spec out = infer(in)[0];
  return 2.0 * static_cast<double>(out.shape.numel()) *
         static_cast<double>(in[0].shape[in[0].shape.rank() - 1]);
}

Saves Matmul::saves(GradMask needs) const {
  return {.inputs = ((needs & 1) != 0 ? 2u : 0u) | ((needs & 2) != 0 ? 1u : 0u), .outputs = 0};
}

void Matmul::forward(const Exec& exec, Inputs in, Outputs out) const {
  const View c = out[0];
  if (is_one_product(in[0], in[1])) {
    product(exec, as_rows(exec.contiguous(in[0])), in[1], {as_rows(c), kernels::Write::overwrite});
    return;
  }
  product(exec, with_batch_of(in[0], c), with_batch_of(in[1], c), {c, kernels::Write::overwrite});
}

void Matmul::backward(const Exec& exec, const Saved& saved, OutGrads grads, GradSlots slots) const {
  const Shape& a_shape = saved.input_spec(0).shape;
  const Shape& b_shape = saved.input_spec(1).shape;
  const ConstView dy = exec.contiguous(grads[0]);
  if (b_shape.rank() == 2 && a_shape.rank() > 2) {
    const ConstView rows = as_rows(dy);
    if (const Target da = row_major(exec, slots[0])) {
      product(exec, rows, transposed(saved.input(1)), {as_rows(da.view), da.write});
      store(exec, da, slots[0]);
    }
    if (const Target db = slots[1])
      product(exec, transposed(as_rows(exec.contiguous(saved.input(0)))), rows, db);
    return;
  }
  if (const Target da = slots[0])
    product_summed(exec, dy, transposed(with_batch_of(saved.input(1), dy)), da, dy);
  if (const Target db = slots[1])
    product_summed(exec, transposed(with_batch_of(saved.input(0), dy)), dy, db, dy);
}

Specs Linear::infer(SpecSpan in) const {
  const Spec& x = in[0];
  const Spec& w = in[1];
  require_floating(name, x);
  require_same_dtype(name, x, w);
  const int in_axis = layout == WeightLayout::out_in ? 1 : 0;
  if (w.shape.rank() != 2 || x.shape.rank() < 1 || x.shape[x.shape.rank() - 1] != w.shape[in_axis]) {
    throw ShapeError(fmt::format("[linear] inner sizes differ: x {} with weight {} ({})", to_string(x.shape),
                                 to_string(w.shape), layout == WeightLayout::out_in ? "out, in" : "in, out"));
  }
  const std::int64_t out_size = w.shape[1 - in_axis];
  if (has_bias) {
    require_same_dtype(name, x, in[2]);
    if (!(in[2].shape == Shape{out_size})) {
      throw ShapeError(fmt::format("[linear] bias {} for {} outputs; give ({})", to_string(in[2].shape),
                                   out_size, out_size));
    }
  }
  Spec out = x;
  out.channels_last = false;
  out.shape.set(out.shape.rank() - 1, out_size);
  return {out};
}

double Linear::flops(SpecSpan in) const {
  const std::int64_t rows =
      in[0].shape.numel() / std::max<std::int64_t>(in[0].shape[in[0].shape.rank() - 1], 1);
  return 2.0 * static_cast<double>(rows) * static_cast<double>(in[1].shape.numel());
}

Saves Linear::saves(GradMask needs) const {
  return {.inputs = ((needs & 1) != 0 ? 2u : 0u) | ((needs & 2) != 0 ? 1u : 0u), .outputs = 0};
}

void Linear::forward(const Exec& exec, Inputs in, Outputs out) const {
  const ConstView x = as_rows(exec.contiguous(in[0]));
  const ConstView w = layout == WeightLayout::out_in ? transposed(in[1]) : in[1];
  const View y = as_rows(out[0]);
  const std::size_t bytes = kernels::linear_workspace_bytes(exec.queue().device, x, w, y);
  kernels::linear_forward(exec.queue(), Activation::none, x, w, has_bias ? in[2] : ConstView(), {}, y,
                          exec.scratch(bytes));
}

void Linear::backward(const Exec& exec, const Saved& saved, OutGrads grads, GradSlots slots) const {
  const ConstView dy = as_rows(exec.contiguous(grads[0]));
  if (const Target dx = row_major(exec, slots[0])) {
    const ConstView w = layout == WeightLayout::out_in ? saved.input(1) : transposed(saved.input(1));
    if (const auto input = slots.activated(0))
      product_through(exec, dy, w, input, as_rows(dx.view));
    else
      product(exec, dy, w, {as_rows(dx.view), dx.write});
    store(exec, dx, slots[0]);
  }
  if (const Target dw = slots[1]) weight_gradient(exec, layout, saved, dy, dw);
  if (const Target dbias = slots[2]) {
    const std::size_t bytes = kernels::bias_backward_workspace_bytes(exec.queue().device, dy);
    kernels::bias_backward(exec.queue(), dy, dbias, exec.scratch(bytes));
  }
}

}  // namespace ops

Tensor matmul(const Tensor& a, const Tensor& b) {
  if (a.rank() == 0 || b.rank() == 0) {
    throw ShapeError(fmt::format("[matmul] a scalar has no inner size: {} x {}; use mul",
                                 to_string(a.shape()), to_string(b.shape())));
  }
  Tensor left = a.rank() == 1 ? reshape(a, {1, a.size(0)}) : a;
  Tensor right = b.rank() == 1 ? reshape(b, {b.size(0), 1}) : b;
  Tensor c = apply(ops::Matmul{}, std::move(left), std::move(right));
  if (a.rank() > 1 && b.rank() > 1) return c;
  Shape shape;
  for (int axis = 0; axis < c.rank(); ++axis) {
    const bool row_axis = axis == c.rank() - 2 && a.rank() == 1;
    const bool column_axis = axis == c.rank() - 1 && b.rank() == 1;
    if (!row_axis && !column_axis) shape.push_back(c.shape()[axis]);
  }
  return reshape(c, shape);
}

Tensor activate(Tensor x, Activation activation) {
  switch (activation) {
    case Activation::none:
      return x;
    case Activation::relu:
      return relu(std::move(x));
    case Activation::gelu_tanh:
      return gelu(std::move(x));
    case Activation::gelu_erf:
      return gelu_erf(std::move(x));
    case Activation::silu:
      return silu(std::move(x));
  }
  return x;
}

Tensor linear(Tensor x, const Tensor& weight, const Tensor& bias, Activation activation,
              WeightLayout layout) {
  const ops::Linear op{.layout = layout, .has_bias = bias.defined()};
  Tensor y = bias.defined() ? apply(op, std::move(x), weight, bias) : apply(op, std::move(x), weight);
  return activate(std::move(y), activation);
}

}  // namespace reprise
