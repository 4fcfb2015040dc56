#include "reprise/ops/attention.h"

#include <fmt/format.h>

#include <cmath>

#include "reprise/ops/broadcast.h"
#include "reprise/ops/dropout.h"
#include "reprise/ops/elementwise.h"
#include "reprise/ops/matmul.h"
#include "reprise/ops/shape.h"
#include "reprise/ops/softmax.h"
#include "row_major.h"

namespace reprise {
namespace ops {
namespace {

using kernels::ConstView;
using kernels::Target;
using kernels::View;

/// Of (B, H, T) rows.
Spec row_statistics(const Spec& x, std::int64_t batch, std::int64_t heads, std::int64_t length) {
  const DType dtype = x.dtype == DType::float64 ? DType::float64 : DType::float32;
  return {dtype, x.device, false, Shape{batch, heads, length, 2}};
}

/// A copy whose last axis has unit stride, where it has not.
ConstView unit_stride(const Exec& exec, const ConstView& view) {
  return view.data == nullptr || view.strides[3] == 1 || view.sizes[3] == 1 ? view : exec.contiguous(view);
}

/// Part `which` of a contiguous packed (B, T, parts H D) view as (B, H, T, D).
template <class V>
V heads_of(const V& packed, std::int64_t heads, std::int64_t parts, std::int64_t which) {
  const std::int64_t width = packed.sizes[2] / parts;
  V view = packed;
  view.rank = 4;
  view.sizes = {packed.sizes[0], heads, packed.sizes[1], width / heads};
  view.strides = {packed.sizes[1] * packed.sizes[2], width / heads, packed.sizes[2], 1};
  if (view.data != nullptr) {
    using Byte = std::conditional_t<std::is_same_v<V, View>, std::byte, const std::byte>;
    view.data =
        static_cast<Byte*>(view.data) + which * width * static_cast<std::int64_t>(size_of(view.dtype));
  }
  return view;
}

Target heads_of(const Target& packed, std::int64_t heads, std::int64_t which) {
  return {heads_of(packed.view, heads, 3, which), packed.write};
}

}  // namespace

namespace {
/// Two products of (T, D) and (D, T), or half of that below the diagonal.
double attention_flops(const kernels::AttentionParams& params, double rows, double keys, double width) {
  return 4.0 * rows * keys * width * (params.causal ? 0.5 : 1.0);
}
}  // namespace

double Attention::flops(SpecSpan in) const {
  const Shape& q = in[0].shape;
  return attention_flops(params, static_cast<double>(q[0] * q[1] * q[2]), static_cast<double>(q[2]),
                         static_cast<double>(q[3]));
}

double PackedAttention::flops(SpecSpan in) const {
  const Shape& x = in[0].shape;  // (B, T, 3 C)
  return attention_flops(params, static_cast<double>(x[0] * x[1]), static_cast<double>(x[1]),
                         static_cast<double>(x[2]) / 3);
}

Specs Attention::infer(SpecSpan in) const {
  for (std::size_t i = 0; i < 3; ++i) {
    require_floating(name, in[i]);
    require_same_dtype(name, in[0], in[i]);
    if (in[i].shape.rank() != 4 || !(in[i].shape == in[0].shape)) {
      throw ShapeError(fmt::format("[attention] q, k and v must be (B, H, T, D) and alike: {}, {}, {}",
                                   to_string(in[0].shape), to_string(in[1].shape), to_string(in[2].shape)));
    }
  }
  Spec out = in[0];
  out.channels_last = false;
  return {out, row_statistics(out, out.shape[0], out.shape[1], out.shape[2])};
}

void Attention::forward(const Exec& exec, Inputs in, Outputs out) const {
  const ConstView q = unit_stride(exec, in[0]);
  const std::size_t bytes = kernels::attention_workspace_bytes(exec.queue().device, params, q, false);
  kernels::attention_forward(exec.queue(), params, exec.key(), q, unit_stride(exec, in[1]),
                             unit_stride(exec, in[2]), out[0], out[1], exec.scratch(bytes));
}

void Attention::backward(const Exec& exec, const Saved& saved, OutGrads grads, GradSlots slots) const {
  const ConstView q = unit_stride(exec, saved.input(0));
  const Target dq = row_major(exec, slots[0]);
  const Target dk = row_major(exec, slots[1]);
  const Target dv = row_major(exec, slots[2]);
  const std::size_t bytes = kernels::attention_workspace_bytes(exec.queue().device, params, q, true);
  kernels::attention_backward(exec.queue(), params, exec.key(), q, unit_stride(exec, saved.input(1)),
                              unit_stride(exec, saved.input(2)), saved.output(0), saved.output(1),
                              unit_stride(exec, grads[0]), dq, dk, dv, exec.scratch(bytes));
  store(exec, dq, slots[0]);
  store(exec, dk, slots[1]);
  store(exec, dv, slots[2]);
}

Specs PackedAttention::infer(SpecSpan in) const {
  require_floating(name, in[0]);
  const Shape& shape = in[0].shape;
  if (shape.rank() != 3 || shape[2] % 3 != 0 || shape[2] / 3 % heads != 0) {
    throw ShapeError(
        fmt::format("[packed_attention] qkv must be (B, T, 3 C) with C divisible by {} heads, not {}", heads,
                    to_string(shape)));
  }
  Spec out = in[0];
  out.shape.set(2, shape[2] / 3);
  return {out, row_statistics(out, shape[0], heads, shape[1])};
}

void PackedAttention::forward(const Exec& exec, Inputs in, Outputs out) const {
  const ConstView qkv = exec.contiguous(in[0]);
  const ConstView q = heads_of(qkv, heads, 3, 0);
  const std::size_t bytes = kernels::attention_workspace_bytes(exec.queue().device, params, q, false);
  kernels::attention_forward(exec.queue(), params, exec.key(), q, heads_of(qkv, heads, 3, 1),
                             heads_of(qkv, heads, 3, 2), heads_of(out[0], heads, 1, 0), out[1],
                             exec.scratch(bytes));
}

void PackedAttention::backward(const Exec& exec, const Saved& saved, OutGrads grads, GradSlots slots) const {
  const ConstView qkv = exec.contiguous(saved.input(0));
  const ConstView q = heads_of(qkv, heads, 3, 0);
  const Target dqkv = slots[0];
  const std::size_t bytes = kernels::attention_workspace_bytes(exec.queue().device, params, q, true);
  kernels::attention_backward(exec.queue(), params, exec.key(), q, heads_of(qkv, heads, 3, 1),
                              heads_of(qkv, heads, 3, 2), heads_of(saved.output(0), heads, 1, 0),
                              saved.output(1), heads_of(exec.contiguous(grads[0]), heads, 1, 0),
                              heads_of(dqkv, heads, 0), heads_of(dqkv, heads, 1), heads_of(dqkv, heads, 2),
                              exec.scratch(bytes));
}

}  // namespace ops

namespace {

kernels::AttentionParams params_of(const AttentionOptions& options, std::int64_t head_size) {
  if (!(options.dropout >= 0 && options.dropout <= 1)) {
    throw ValueError(fmt::format("[attention] dropout {}; give a probability in [0, 1]", options.dropout));
  }
  const double scale = options.scale != 0
                           ? options.scale
                           : 1.0 / std::sqrt(static_cast<double>(std::max<std::int64_t>(head_size, 1)));
  return {.scale = scale, .causal = options.causal, .dropout = options.dropout};
}

}  // namespace

Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions& options) {
  return apply(ops::Attention{.params = params_of(options, q.size(-1))}, q, k, v);
}

Tensor packed_attention(const Tensor& qkv, std::int64_t heads, const AttentionOptions& options) {
  if (heads < 1) throw ValueError(fmt::format("[packed_attention] {} heads; give at least one", heads));
  return apply(ops::PackedAttention{.heads = heads, .params = params_of(options, qkv.size(-1) / 3 / heads)},
               qkv);
}

Tensor composed_attention(const Tensor& q, const Tensor& k, const Tensor& v,
                          const AttentionOptions& options) {
  const kernels::AttentionParams params = params_of(options, q.size(-1));
  Tensor scores = matmul(q, transpose(k, -2, -1)) * params.scale;
  if (params.causal) {
    const std::int64_t rows = scores.size(-2);
    const std::int64_t columns = scores.size(-1);
    const Tensor visible =
        greater_equal(reshape(arange(rows), {rows, 1}), reshape(arange(columns), {1, columns}));
    scores =
        where(visible, scores, full({}, -INFINITY, {.dtype = scores.dtype(), .device = scores.device()}));
  }
  return matmul(dropout(softmax(scores), params.dropout), v);
}

}  // namespace reprise
