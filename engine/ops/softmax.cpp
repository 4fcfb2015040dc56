#include "reprise/ops/softmax.h"

#include <fmt/format.h>

#include "reprise/kernels/elementwise.h"
#include "reprise/ops/broadcast.h"
#include "reprise/ops/elementwise.h"
#include "reprise/ops/reduce.h"
#include "row_major.h"
#include "rows.h"

namespace reprise {
namespace ops {
namespace {

using kernels::ConstView;
using kernels::View;

/// `view` with `axis` exchanged for the last.
template <class V>
V axis_last(V view, int axis) {
  if (view.rank == 0) return view;
  const auto last = static_cast<std::size_t>(view.rank - 1);
  std::swap(view.sizes[static_cast<std::size_t>(axis)], view.sizes[last]);
  std::swap(view.strides[static_cast<std::size_t>(axis)], view.strides[last]);
  return view;
}

/// Lets `rows` fill (M, V) memory for the target, through scratch where the target's rows are not contiguous.
template <class F>
void fill_rows(const Exec& exec, const kernels::Target& target, int axis, F&& rows) {
  const View turned = axis_last(target.view, axis);
  if (turned.is_contiguous()) {
    rows(kernels::Target{filled_rows(turned), target.write});
    return;
  }
  const View whole = exec.temporary(
      turned.dtype, Shape(std::span(turned.sizes.data(), static_cast<std::size_t>(turned.rank))));
  rows(kernels::Target{filled_rows(whole), kernels::Write::overwrite});
  kernels::copy(exec.queue(), whole, {turned, target.write});
}

DType accumulator_dtype(DType dtype) { return dtype == DType::float64 ? DType::float64 : DType::float32; }

}  // namespace

Spec infer_softmax(std::string_view name, int, const Spec& in) {
  require_floating(name, in);
  return in;
}

void softmax_forward(bool log, int axis, const Exec& exec, Inputs in, Outputs out) {
  const ConstView x = filled_rows(exec.contiguous(axis_last(in[0], axis)));
  fill_rows(exec, {out[0], kernels::Write::overwrite}, axis, [&](const kernels::Target& y) {
    log ? kernels::log_softmax_forward(exec.queue(), x, y.view)
        : kernels::softmax_forward(exec.queue(), x, y.view);
  });
}

void softmax_backward(bool log, int axis, const Exec& exec, const Saved& saved, OutGrads grads,
                      GradSlots slots) {
  const ConstView y = filled_rows(exec.contiguous(axis_last(saved.output(0), axis)));
  const ConstView dy = filled_rows(exec.contiguous(axis_last(grads[0], axis)));
  fill_rows(exec, slots[0], axis, [&](const kernels::Target& dx) {
    log ? kernels::log_softmax_backward(exec.queue(), y, dy, dx)
        : kernels::softmax_backward(exec.queue(), y, dy, dx);
  });
}

Specs CrossEntropy::infer(SpecSpan in) const {
  require_floating(name, in[0]);
  return infer_cross_entropy(name, reduction, in[0], in[1]);
}

Specs infer_cross_entropy(std::string_view name, Reduction reduction, const Spec& logits,
                          const Spec& targets) {
  if (targets.dtype != DType::int32 && targets.dtype != DType::int64) {
    throw TypeError(
        fmt::format("[{}] targets are {}; give int32 or int64 class indices", name, name_of(targets.dtype)));
  }
  const int rank = logits.shape.rank();
  if (rank < 1 || !(Shape(logits.shape.span().first(static_cast<std::size_t>(rank - 1))) == targets.shape)) {
    throw ShapeError(fmt::format("[{}] logits {} need targets of all axes but the last, not {}", name,
                                 to_string(logits.shape), to_string(targets.shape)));
  }
  Spec row{accumulator_dtype(logits.dtype), logits.device, false, targets.shape};
  Spec one = row, statistics = row;
  one.shape = {};
  statistics.shape = logits.shape;
  statistics.shape.set(rank - 1, 2);
  return {reduction == Reduction::none ? row : one, statistics, one};
}

void CrossEntropy::forward(const Exec& exec, Inputs in, Outputs out) const {
  const ConstView logits = as_rows(exec.contiguous(in[0]));
  const ConstView targets = exec.contiguous(in[1]);
  const bool each = reduction == Reduction::none;
  const View losses = each ? out[0] : exec.temporary(out[1].dtype, Shape{logits.sizes[0]});
  const std::int64_t bad =
      kernels::cross_entropy_forward(exec.queue(), reduction, ignore_index, logits, targets, losses,
                                     as_rows(out[1]), each ? View() : out[0], out[2]);
  if (bad != ignore_index && !exec.device().is_dry) {
    throw ValueError(fmt::format("[cross_entropy] target {} is outside [0, {}) and is not ignore_index {}",
                                 bad, logits.sizes[1], ignore_index));
  }
}

void CrossEntropy::backward(const Exec& exec, const Saved& saved, OutGrads grads, GradSlots slots) const {
  const kernels::Target dlogits = row_major(exec, slots[0]);
  kernels::cross_entropy_backward(exec.queue(), reduction, ignore_index,
                                  filled_rows(exec.contiguous(saved.input(0))),
                                  exec.contiguous(saved.input(1)), as_rows(saved.output(1)), saved.output(2),
                                  exec.contiguous(grads[0]), {filled_rows(dlogits.view), dlogits.write});
  store(exec, dlogits, slots[0]);
}

}  // namespace ops

Tensor softmax(const Tensor& x, int axis) {
  return apply(ops::Softmax{.axis = normalise_axis_or_scalar("softmax", axis, x.rank())}, x);
}

Tensor log_softmax(const Tensor& x, int axis) {
  return apply(ops::LogSoftmax{.axis = normalise_axis_or_scalar("log_softmax", axis, x.rank())}, x);
}

Tensor cross_entropy(const Tensor& logits, const Tensor& targets, Reduction reduction,
                     std::int64_t ignore_index) {
  return apply(ops::CrossEntropy{.reduction = reduction, .ignore_index = ignore_index}, logits, targets);
}

Tensor mse_loss(const Tensor& x, const Tensor& target, Reduction reduction) {
  if (!(x.shape() == target.shape())) {
    throw ShapeError(
        fmt::format("[mse_loss] sizes differ: {} and {}", to_string(x.shape()), to_string(target.shape())));
  }
  Tensor each = square(x - target);
  switch (reduction) {
    case Reduction::none:
      return each;
    case Reduction::sum:
      return sum(each);
    case Reduction::mean:
      break;
  }
  return mean(each);
}

}  // namespace reprise
