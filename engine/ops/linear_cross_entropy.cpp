#include "reprise/ops/linear_cross_entropy.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "reprise/checked.h"
#include "reprise/context.h"
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

/// A chunk of rows: their logits (count, V), and the same memory with the columns that only fill it up.
struct Chunk {
  std::int64_t first, count;
  View logits, padded;
};

constexpr std::int64_t kLine = 8;  // elements of 16 bits in what memory moves at once

bool pads(DeviceKind device, DType dtype, std::int64_t classes) {
  return device == DeviceKind::cuda && size_of(dtype) == 2 && classes % kLine != 0;
}

/// Rows of the weight, with those of zeros that a device wants: cuBLASLt multiplies 16-bit matrices whose
/// lines are not multiples of 16 bytes several times slower, and fastest in whole tiles.
std::int64_t padded_classes(const Exec& exec, DType dtype, std::int64_t classes) {
  constexpr std::int64_t kTile = 128, kLarge = 1024;
  if (!pads(exec.queue().device, dtype, classes)) return classes;
  const std::int64_t multiple = classes < kLarge ? kLine : kTile;
  return checked::divide_up(classes, multiple) * multiple;
}

/// The weight with rows of zeros behind its own, where the device wants them.
ConstView padded_weight(const Exec& exec, const ConstView& weight) {
  const std::int64_t classes = weight.sizes[0], all = padded_classes(exec, weight.dtype, classes);
  if (all == classes) return weight;
  const View padded = exec.temporary(weight.dtype, {all, weight.sizes[1]});
  kernels::copy(exec.queue(), weight, {rows_of(padded, 0, classes)});
  kernels::fill(exec.queue(), 0, rows_of(padded, classes, all - classes));
  return padded;
}

/// Runs `f(exec, chunk)` for every chunk of rows, with their logits computed: of `weight` as it is padded, 0
/// in the columns beyond `classes`. Scratch that `f` asks for goes after each chunk.
template <class F>
void for_each_chunk(const Exec& exec, std::int64_t size, const ConstView& x, const ConstView& weight,
                    std::int64_t classes, F&& f) {
  const std::int64_t rows = x.sizes[0];
  if (rows == 0) return;
  const View memory = exec.temporary(x.dtype, {size, weight.sizes[0]});
  for (std::int64_t first = 0; first < rows; first += size) {
    const std::int64_t count = std::min(size, rows - first);
    Chunk chunk{.first = first, .count = count, .logits = rows_of(memory, 0, count), .padded = {}};
    chunk.padded = chunk.logits;
    chunk.logits.sizes[1] = classes;
    const Exec part(exec.device(), {});
    product(part, rows_of(x, first, count), transposed(weight), {chunk.padded, Write::overwrite});
    f(part, chunk);
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

/// The weight's gradient, to which every chunk adds.
class WeightGradient {
 public:
  /// `weight` is the padded one; `many`: there is more than one chunk.
  WeightGradient(const Exec& exec, const Target& target, const ConstView& weight, bool many)
      : exec_(exec), target_(target), sum_(target) {
    if (!target) return;
    // A sum of many chunks in 16 bits would round away what each of them adds.
    const bool is_wide = size_of(weight.dtype) == 2 && many;
    if (!is_wide && weight.sizes[0] == target.view.sizes[0]) return;
    const DType dtype = is_wide ? DType::float32 : weight.dtype;
    sum_ = {exec.temporary(dtype, {weight.sizes[0], weight.sizes[1]}), Write::overwrite};
  }
  /// Adds dlogits^T x of one chunk, whose logits have become their gradients.
  void add(const Exec& part, const Chunk& chunk, const ConstView& x) {
    if (!target_) return;
    product(part, transposed(ConstView(chunk.padded)), rows_of(x, chunk.first, chunk.count), sum_);
    sum_.write = Write::accumulate;
    any_ = true;
  }
  void finish() {
    if (!target_) return;
    if (!any_) {
      if (target_.write == Write::overwrite) kernels::fill(exec_.queue(), 0, target_.view);
    } else if (sum_.view.data != target_.view.data) {
      kernels::copy(exec_.queue(), rows_of(sum_.view, 0, target_.view.sizes[0]), target_);
    }
  }

 private:
  const Exec& exec_;
  Target target_, sum_;
  bool any_ = false;
};

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
  Specs specs = infer_cross_entropy(name, reduction, logits, in[2]);
  for (const std::size_t input : {0u, 1u}) {
    Spec gradient = in[input];
    gradient.channels_last = false;
    if ((gradients >> input & 1u) == 0) gradient.shape = {0};
    specs.push_back(gradient);
  }
  return specs;
}

double LinearCrossEntropy::flops(SpecSpan in) const {
  const Shape& x = in[0].shape;
  const std::int64_t rows = x.numel() / std::max<std::int64_t>(x[x.rank() - 1], 1);
  const int products = 1 + std::popcount(gradients);
  return 2.0 * products * static_cast<double>(rows) * static_cast<double>(in[1].shape.numel());
}

void LinearCrossEntropy::forward(const Exec& exec, Inputs in, Outputs out) const {
  const ConstView x = as_rows(exec.contiguous(in[0])), weight = exec.contiguous(in[1]);
  const ConstView targets = as_vector(exec.contiguous(in[2]));
  const std::int64_t rows = x.sizes[0], size = chunk_of(rows), chunks = checked::divide_up(rows, size);
  const std::int64_t classes = weight.sizes[0];
  const bool each = reduction == Reduction::none;
  const View losses = each ? as_vector(out[0]) : exec.temporary(out[1].dtype, {rows});
  const View statistics = as_rows(out[1]), counts = exec.temporary(out[2].dtype, {chunks});
  const ConstView padded = padded_weight(exec, weight);
  const View dx = (gradients & 1) != 0 ? out[3] : View(), dw = (gradients & 2) != 0 ? out[4] : View();
  const View one = exec.temporary(out[1].dtype, {});
  if (gradients != 0) kernels::fill(exec.queue(), 1, one);
  WeightGradient dweight(exec, {dw, Write::overwrite}, padded, rows > size);
  for_each_chunk(exec, size, x, padded, classes, [&](const Exec& part, const Chunk& piece) {
    const ConstView its_targets = rows_of(targets, piece.first, piece.count);
    const View its_statistics = rows_of(statistics, piece.first, piece.count);
    const View its_count = element(counts, piece.first / size);
    const std::int64_t bad = kernels::cross_entropy_forward(
        part.queue(), Reduction::none, ignore_index, piece.logits, its_targets,
        rows_of(losses, piece.first, piece.count), its_statistics, View(), its_count);
    if (bad != ignore_index && !exec.device().is_dry) {
      throw ValueError(fmt::format("[{}] target {} is outside [0, {}) and is not ignore_index {}", name, bad,
                                   classes, ignore_index));
    }
    if (!dx && !dw) return;
    kernels::cross_entropy_backward(part.queue(), Reduction::sum, ignore_index, piece.logits, its_targets,
                                    its_statistics, its_count, one, {piece.logits, Write::overwrite});
    if (dx) product(part, piece.padded, padded, {rows_of(as_rows(dx), piece.first, piece.count)});
    dweight.add(part, piece, x);
  });
  dweight.finish();
  sum_of(exec, counts, out[2]);
  if (each) return;
  sum_of(exec, losses, out[0]);
  if (reduction == Reduction::mean)
    kernels::binary_forward(exec.queue(), kernels::Binary::div, out[0], out[2], out[0]);
}

void LinearCrossEntropy::backward(const Exec& exec, const Saved& saved, OutGrads grads,
                                  GradSlots slots) const {
  if (gradients == 0)
    backward_again(exec, saved, grads, slots);
  else
    scale_gradients(exec, saved, grads, slots);
}

void LinearCrossEntropy::scale_gradients(const Exec& exec, const Saved& saved, OutGrads grads,
                                         GradSlots slots) const {
  View factor = exec.temporary(grads[0].dtype, {});
  if (reduction == Reduction::mean)
    kernels::binary_forward(exec.queue(), kernels::Binary::div, grads[0], saved.output(2), factor);
  else
    kernels::copy(exec.queue(), grads[0], {factor});
  for (const std::size_t input : {0u, 1u}) {
    if (slots.wants(input)) kernels::scale(exec.queue(), saved.output(3 + input), factor, slots[input]);
  }
}

void LinearCrossEntropy::backward_again(const Exec& exec, const Saved& saved, OutGrads grads,
                                        GradSlots slots) const {
  const ConstView x = as_rows(exec.contiguous(saved.input(0))), weight = exec.contiguous(saved.input(1));
  const ConstView targets = as_vector(exec.contiguous(saved.input(2)));
  const ConstView statistics = as_rows(saved.output(1)), count_of_rows = saved.output(2);
  const ConstView dy = exec.contiguous(grads[0]);
  const bool each = reduction == Reduction::none;
  const std::int64_t rows = x.sizes[0], size = chunk_of(rows);
  const Target dx = row_major(exec, slots[0]), to = row_major(exec, slots[1]);
  const ConstView padded = padded_weight(exec, weight);
  WeightGradient dweight(exec, to, padded, rows > size);
  for_each_chunk(exec, size, x, padded, weight.sizes[0], [&](const Exec& part, const Chunk& piece) {
    kernels::cross_entropy_backward(
        part.queue(), reduction, ignore_index, piece.logits, rows_of(targets, piece.first, piece.count),
        rows_of(statistics, piece.first, piece.count), count_of_rows,
        each ? rows_of(as_vector(dy), piece.first, piece.count) : dy, {piece.logits, Write::overwrite});
    if (dx)
      product(part, piece.padded, padded, {rows_of(as_rows(dx.view), piece.first, piece.count), dx.write});
    dweight.add(part, piece, x);
  });
  dweight.finish();
  if (dx) store(exec, dx, slots[0]);
  if (to) store(exec, to, slots[1]);
}

}  // namespace ops

Tensor linear_cross_entropy(const Tensor& x, const Tensor& weight, const Tensor& targets, std::int64_t chunk,
                            Reduction reduction, std::int64_t ignore_index) {
  ops::LinearCrossEntropy op{.reduction = reduction, .ignore_index = ignore_index, .chunk = chunk};
  const bool in_one_pass = reduction != Reduction::none && x.dtype() != DType::float16;
  if (in_one_pass && context().grad_enabled())
    op.gradients = GradMask{x.requires_grad()} | GradMask{weight.requires_grad()} << 1;
  return apply(op, x, weight, targets);
}

bool linear_cross_entropy_pads(const Tensor& weight) {
  return ops::pads(weight.device().kind, weight.dtype(), weight.size(0));
}

}  // namespace reprise
