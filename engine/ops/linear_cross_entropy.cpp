#include "reprise/ops/linear_cross_entropy.h"

#include <fmt/format.h>

#include <algorithm>

#include "reprise/checked.h"
#include "reprise/kernels/elementwise.h"
#include "reprise/kernels/reduce.h"
#include "reprise/ops/broadcast.h"
#include "row_major.h"
#include "rows.h"

namespace reprise {
namespace ops {
namespace {

using kernels::ConstView;
using kernels::Target;
using kernels::View;
using kernels::Write;

/// Runs `f(exec, first, count, logits)` for every chunk of rows, with their logits computed. Scratch that `f`
/// asks for goes after each chunk. A chunk is at most all rows.
template <class F>
void for_each_chunk(const Exec& exec, std::int64_t chunk, const ConstView& x, const ConstView& weight,
                    F&& f) {
  const std::int64_t rows = x.sizes[0];
  if (rows == 0) return;
  const View memory = exec.temporary(x.dtype, {chunk, weight.sizes[0]});
  for (std::int64_t first = 0; first < rows; first += chunk) {
    const std::int64_t count = std::min(chunk, rows - first);
    const View logits = rows_of(memory, 0, count);
    const Exec part(exec.device(), {});
    product(part, rows_of(x, first, count), transposed(weight), {logits, Write::overwrite});
    f(part, first, count, logits);
  }
}

/// y = sum of the vector x.
void sum_of(const Exec& exec, ConstView x, View y) {
  y.rank = 1;
  y.sizes = {1};
  y.strides = {1};
  const std::size_t bytes = kernels::reduce_workspace_bytes(exec.queue().device, kernels::Reduce::sum, x, y);
  kernels::reduce(exec.queue(), kernels::Reduce::sum, x, {y, Write::overwrite}, exec.scratch(bytes));
}

/// Element i of a vector, as a scalar.
View element(View vector, std::int64_t i) {
  View one = rows_of(vector, i, 1);
  one.rank = 0;
  return one;
}

/// A contiguous view as one axis.
template <class V>
V as_vector(V view) {
  const std::int64_t n = view.numel();
  view.rank = 1;
  view.sizes = {n};
  view.strides = {1};
  return view;
}

}  // namespace

Specs LinearCrossEntropy::infer(SpecSpan in) const {
  const Spec& x = in[0];
  const Spec& weight = in[1];
  require_floating(name, x);
  require_same_dtype(name, x, weight);
  if (chunk < 1) throw ValueError(fmt::format("[{}] chunk is {}; it must be at least 1", name, chunk));
  const int rank = x.shape.rank();
  if (rank < 1 || weight.shape.rank() != 2 || x.shape[rank - 1] != weight.shape[1]) {
    throw ShapeError(fmt::format("[{}] x {} and weight {}: give (..., C) and (V, C)", name,
                                 to_string(x.shape), to_string(weight.shape)));
  }
  Spec logits = x;
  logits.channels_last = false;
  logits.shape.set(rank - 1, weight.shape[0]);
  return infer_cross_entropy(name, reduction, logits, in[2]);
}

double LinearCrossEntropy::flops(SpecSpan in) const {
  const Shape& x = in[0].shape;
  const std::int64_t rows = x.numel() / std::max<std::int64_t>(x[x.rank() - 1], 1);
  return 2.0 * static_cast<double>(rows) * static_cast<double>(in[1].shape.numel());
}

void LinearCrossEntropy::forward(const Exec& exec, Inputs in, Outputs out) const {
  const ConstView x = as_rows(exec.contiguous(in[0])), weight = exec.contiguous(in[1]);
  const ConstView targets = as_vector(exec.contiguous(in[2]));
  const std::int64_t rows = x.sizes[0], size = chunk_of(rows), chunks = checked::divide_up(rows, size);
  const bool each = reduction == Reduction::none;
  const View losses = each ? as_vector(out[0]) : exec.temporary(out[1].dtype, {rows});
  const View statistics = as_rows(out[1]);
  const View counts = exec.temporary(out[2].dtype, {chunks});
  for_each_chunk(
      exec, size, x, weight,
      [&](const Exec& part, std::int64_t first, std::int64_t count, const View& logits) {
        const std::int64_t bad = kernels::cross_entropy_forward(
            part.queue(), Reduction::none, ignore_index, logits, rows_of(targets, first, count),
            rows_of(losses, first, count), rows_of(statistics, first, count), View(),
            element(counts, first / size));
        if (bad != ignore_index && !exec.device().is_dry) {
          throw ValueError(fmt::format("[{}] target {} is outside [0, {}) and is not ignore_index {}", name,
                                       bad, weight.sizes[0], ignore_index));
        }
      });
  sum_of(exec, counts, out[2]);
  if (each) return;
  sum_of(exec, losses, out[0]);
  if (reduction == Reduction::mean)
    kernels::binary_forward(exec.queue(), kernels::Binary::div, out[0], out[2], out[0]);
}

void LinearCrossEntropy::backward(const Exec& exec, const Saved& saved, OutGrads grads,
                                  GradSlots slots) const {
  const ConstView x = as_rows(exec.contiguous(saved.input(0))), weight = exec.contiguous(saved.input(1));
  const ConstView targets = as_vector(exec.contiguous(saved.input(2)));
  const ConstView statistics = as_rows(saved.output(1)), count_of_rows = saved.output(2);
  const ConstView dy = exec.contiguous(grads[0]);
  const bool each = reduction == Reduction::none;
  const std::int64_t rows = x.sizes[0], size = chunk_of(rows);
  const Target dx = row_major(exec, slots[0]), dweight = row_major(exec, slots[1]);
  if (dweight && rows == 0 && dweight.write == Write::overwrite) kernels::fill(exec.queue(), 0, dweight.view);
  // A sum of many chunks in 16 bits would round away what each of them adds.
  const bool is_wide = dweight && size_of(weight.dtype) == 2 && rows > size;
  const Target sum =
      is_wide ? Target{exec.temporary(DType::float32, saved.input_spec(1).shape), Write::overwrite} : dweight;
  for_each_chunk(exec, size, x, weight,
                 [&](const Exec& part, std::int64_t first, std::int64_t count, const View& logits) {
                   kernels::cross_entropy_backward(
                       part.queue(), reduction, ignore_index, logits, rows_of(targets, first, count),
                       rows_of(statistics, first, count), count_of_rows,
                       each ? rows_of(as_vector(dy), first, count) : dy, {logits, Write::overwrite});
                   if (dx) product(part, logits, weight, {rows_of(as_rows(dx.view), first, count), dx.write});
                   if (sum) {
                     product(part, transposed(ConstView(logits)), rows_of(x, first, count),
                             {sum.view, first == 0 ? sum.write : Write::accumulate});
                   }
                 });
  if (is_wide) kernels::copy(exec.queue(), sum.view, dweight);
  if (dx) store(exec, dx, slots[0]);
  if (dweight) store(exec, dweight, slots[1]);
}

}  // namespace ops

Tensor linear_cross_entropy(const Tensor& x, const Tensor& weight, const Tensor& targets, std::int64_t chunk,
                            Reduction reduction, std::int64_t ignore_index) {
  return apply(ops::LinearCrossEntropy{.reduction = reduction, .ignore_index = ignore_index, .chunk = chunk},
               x, weight, targets);
}

}  // namespace reprise
