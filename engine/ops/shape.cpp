#include "reprise/ops/shape.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <optional>

#include "reprise/checked.h"
#include "reprise/kernels/elementwise.h"
#include "reprise/ops/broadcast.h"

namespace reprise {
namespace ops {
namespace {

constexpr std::size_t at(int axis) { return static_cast<std::size_t>(axis); }

/// Strides that show `from_shape` with `from` as `to_shape`, if there are any: sizes are matched in groups of
/// equal products.
std::optional<Strides> reshaped_strides(const Shape& from_shape, const Strides& from, const Shape& to_shape) {
  if (from_shape.numel() == 0) return row_major_strides(to_shape);
  Strides to{};
  int i = 0;
  int j = 0;
  while (i < from_shape.rank() || j < to_shape.rank()) {
    std::int64_t from_size = i < from_shape.rank() ? from_shape[i] : 1;
    std::int64_t to_size = j < to_shape.rank() ? to_shape[j] : 1;
    const int i_first = i++;
    const int j_first = j++;
    while (from_size != to_size) {
      if (from_size < to_size)
        from_size *= from_shape[i++];
      else
        to_size *= to_shape[j++];
    }
    std::int64_t stride = 1;  // of the group's innermost element
    bool first = true;
    std::int64_t expected = 0;
    for (int axis = std::min(i, from_shape.rank()) - 1; axis >= i_first; --axis) {
      if (from_shape[axis] == 1) continue;
      if (first)
        stride = from[at(axis)];
      else if (from[at(axis)] != expected)
        return std::nullopt;
      first = false;
      expected = from[at(axis)] * from_shape[axis];
    }
    for (int axis = std::min(j, to_shape.rank()) - 1; axis >= j_first; --axis) {
      to[at(axis)] = stride;
      stride *= to_shape[axis];
    }
  }
  return to;
}

/// The part of `view` from `start` along an axis.
template <class V>
V part(V view, int axis, std::int64_t start, std::int64_t length, std::int64_t step = 1) {
  if (view.data != nullptr) {
    const std::int64_t bytes =
        start * view.strides[at(axis)] * static_cast<std::int64_t>(size_of(view.dtype));
    using Byte = std::conditional_t<std::is_same_v<V, kernels::View>, std::byte, const std::byte>;
    view.data = static_cast<Byte*>(view.data) + bytes;
  }
  view.sizes[at(axis)] = length;
  view.strides[at(axis)] *= step;
  return view;
}

/// A tensor (0), which goes with tensors of any rank: empty lists have long been written so.
bool is_nothing(const Shape& shape) { return shape.rank() == 1 && shape[0] == 0; }

void add_or_copy(const Exec& exec, const kernels::ConstView& from, const kernels::View& to,
                 kernels::Write write) {
  kernels::copy(exec.queue(), from, {to, write});
}

}  // namespace

Specs Reshape::infer(SpecSpan in) const {
  if (shape.numel() != in[0].shape.numel()) {
    throw ShapeError(fmt::format("[reshape] {} has {} elements, {} needs {}", to_string(in[0].shape),
                                 in[0].shape.numel(), to_string(shape), shape.numel()));
  }
  return {Spec{in[0].dtype, in[0].device, false, shape}};
}

void Reshape::view(const Spec& in, const Strides& from, int, Strides& to, std::int64_t&) const {
  const std::optional<Strides> strides = reshaped_strides(in.shape, from, shape);
  if (!strides)
    throw ShapeError(fmt::format("[reshape] {} cannot be seen as {} without a copy", to_string(in.shape),
                                 to_string(shape)));
  to = *strides;
}

bool Reshape::view_gradient(const Spec& in, const Spec& out, const Strides& dy, Strides& dx) const {
  const std::optional<Strides> strides = reshaped_strides(out.shape, dy, in.shape);
  if (strides) dx = *strides;
  return strides.has_value();
}

void Reshape::backward(const Exec& exec, const Saved&, OutGrads grads, GradSlots slots) const {
  const kernels::Target dx = slots[0];
  kernels::ConstView dy = exec.contiguous(grads[0]);
  dy.rank = dx.view.rank;
  dy.sizes = dx.view.sizes;
  dy.strides = row_major_strides(Shape(std::span(dx.view.sizes.data(), at(dx.view.rank))));
  kernels::copy(exec.queue(), dy, dx);
}

Specs Permute::infer(SpecSpan in) const {
  Spec out = in[0];
  out.channels_last = false;
  Strides sizes{};
  for (int axis = 0; axis < out.shape.rank(); ++axis) sizes[at(axis)] = in[0].shape[axes[at(axis)]];
  out.shape = Shape(std::span<const std::int64_t>(sizes).first(at(out.shape.rank())));
  return {out};
}

void Permute::view(const Spec& in, const Strides& from, int, Strides& to, std::int64_t&) const {
  for (int axis = 0; axis < in.shape.rank(); ++axis) to[at(axis)] = from[at(axes[at(axis)])];
}

bool Permute::view_gradient(const Spec& in, const Spec&, const Strides& dy, Strides& dx) const {
  for (int axis = 0; axis < in.shape.rank(); ++axis) dx[at(axes[at(axis)])] = dy[at(axis)];
  return true;
}

void Permute::backward(const Exec& exec, const Saved&, OutGrads grads, GradSlots slots) const {
  const kernels::ConstView dy = grads[0];
  kernels::ConstView unpermuted = dy;
  for (int axis = 0; axis < dy.rank; ++axis) {
    unpermuted.sizes[at(axes[at(axis)])] = dy.sizes[at(axis)];
    unpermuted.strides[at(axes[at(axis)])] = dy.strides[at(axis)];
  }
  kernels::copy(exec.queue(), unpermuted, slots[0]);
}

Specs Slice::infer(SpecSpan in) const {
  Spec out = in[0];
  out.channels_last = false;
  out.shape.set(axis, length);
  return {out};
}

void Slice::view(const Spec&, const Strides& from, int, Strides& to, std::int64_t& offset) const {
  to = from;
  to[at(axis)] *= step;
  offset = start * from[at(axis)];
}

void Slice::backward(const Exec& exec, const Saved&, OutGrads grads, GradSlots slots) const {
  const kernels::Target dx = slots[0];
  if (dx.write == kernels::Write::overwrite) kernels::fill(exec.queue(), 0, dx.view);
  add_or_copy(exec, grads[0], part(dx.view, axis, start, length, step), dx.write);
}

Specs Expand::infer(SpecSpan in) const {
  if (!(broadcast_shapes(name, in[0].shape, shape) == shape)) {
    throw ShapeError(
        fmt::format("[expand] {} does not stretch to {}", to_string(in[0].shape), to_string(shape)));
  }
  Spec out = in[0];
  out.channels_last = false;
  out.shape = shape;
  return {out};
}

void Expand::view(const Spec& in, const Strides& from, int, Strides& to, std::int64_t&) const {
  const int missing = shape.rank() - in.shape.rank();
  for (int axis = 0; axis < shape.rank(); ++axis) {
    const bool own = axis >= missing && in.shape[axis - missing] == shape[axis];
    to[at(axis)] = own ? from[at(axis - missing)] : 0;
  }
}

void Expand::backward(const Exec& exec, const Saved&, OutGrads grads, GradSlots slots) const {
  sum_to(exec, grads[0], slots[0]);
}

Specs Split::infer(SpecSpan in) const {
  Specs out;
  const std::int64_t total = in[0].shape[axis];
  for (std::int64_t start = 0; start < total; start += size) {
    Spec spec = in[0];
    spec.channels_last = false;
    spec.shape.set(axis, std::min(size, total - start));
    out.push_back(spec);
  }
  return out;
}

void Split::view(const Spec&, const Strides& from, int output, Strides& to, std::int64_t& offset) const {
  to = from;
  offset = output * size * from[at(axis)];
}

void Split::backward(const Exec& exec, const Saved&, OutGrads grads, GradSlots slots) const {
  const kernels::Target dx = slots[0];
  for (std::size_t i = 0; i < grads.size(); ++i) {
    const std::int64_t start = static_cast<std::int64_t>(i) * size;
    const kernels::View region = part(dx.view, axis, start, std::min(size, dx.view.sizes[at(axis)] - start));
    if (grads.has(i))
      add_or_copy(exec, grads[i], region, dx.write);
    else if (dx.write == kernels::Write::overwrite)
      kernels::fill(exec.queue(), 0, region);
  }
}

Specs Concatenate::infer(SpecSpan in) const {
  std::size_t first = 0;
  while (first + 1 < in.size() && is_nothing(in[first].shape)) ++first;
  Spec out = in[first];
  for (std::size_t i = 0; i < in.size(); ++i) {
    require_same_dtype(name, in[first], in[i]);
    if (i == first || is_nothing(in[i].shape)) continue;
    bool fits = in[i].shape.rank() == out.shape.rank();
    for (int a = 0; fits && a < out.shape.rank(); ++a) fits = a == axis || in[i].shape[a] == out.shape[a];
    if (!fits) {
      throw ShapeError(
          fmt::format("[concatenate] {} does not fit to {} along axis {}: all other sizes must agree",
                      to_string(in[i].shape), to_string(in[first].shape), axis));
    }
    out.shape.set(axis, checked::add(name, out.shape[axis], in[i].shape[axis]));
    out.channels_last = out.channels_last && in[i].channels_last;
  }
  return {out};
}

void Concatenate::forward(const Exec& exec, Inputs in, Outputs out) const {
  std::int64_t start = 0;
  for (std::size_t i = 0; i < in.size(); ++i) {
    if (is_nothing(in.spec(i).shape)) continue;
    const std::int64_t length = in.spec(i).shape[axis];
    add_or_copy(exec, in[i], part(out[0], axis, start, length), kernels::Write::overwrite);
    start += length;
  }
}

void Concatenate::backward(const Exec& exec, const Saved& saved, OutGrads grads, GradSlots slots) const {
  std::int64_t start = 0;
  for (std::size_t i = 0; i < saved.inputs(); ++i) {
    if (is_nothing(saved.input_spec(i).shape)) continue;
    const std::int64_t length = saved.input_spec(i).shape[axis];
    if (slots.wants(i)) add_or_copy(exec, part(grads[0], axis, start, length), slots[i].view, slots[i].write);
    start += length;
  }
}

Specs Pad::infer(SpecSpan in) const {
  if (before < 0 || after < 0)
    throw ValueError(fmt::format("[pad] negative padding {}, {}; use slice", before, after));
  Spec out = in[0];
  out.shape.set(axis, checked::add(name, checked::add(name, out.shape[axis], before), after));
  return {out};
}

void Pad::forward(const Exec& exec, Inputs in, Outputs out) const {
  kernels::fill(exec.queue(), 0, out[0]);
  add_or_copy(exec, in[0], part(out[0], axis, before, in.spec(0).shape[axis]), kernels::Write::overwrite);
}

void Pad::backward(const Exec& exec, const Saved& saved, OutGrads grads, GradSlots slots) const {
  add_or_copy(exec, part(grads[0], axis, before, saved.input_spec(0).shape[axis]), slots[0].view,
              slots[0].write);
}

}  // namespace ops

Tensor reshape(const Tensor& x, const Shape& shape) {
  const ops::Reshape op{.shape = shape};
  if (shape.numel() == x.numel() && !ops::reshaped_strides(x.shape(), x.value()->strides, shape))
    return apply(op, x.clone());
  return apply(op, x);
}

Tensor reshape(const Tensor& x, std::initializer_list<std::int64_t> sizes) {
  std::vector<std::int64_t> wanted(sizes);
  const auto open = std::find(wanted.begin(), wanted.end(), -1);
  if (open != wanted.end()) {
    if (std::find(open + 1, wanted.end(), -1) != wanted.end())
      throw ShapeError(fmt::format("[reshape] more than one -1 in ({})", fmt::join(sizes, ", ")));
    *open = 1;
    const std::int64_t known = Shape(std::span<const std::int64_t>(wanted)).numel();
    if (known == 0 || x.numel() % known != 0) {
      throw ShapeError(fmt::format("[reshape] {} has {} elements: no size fits the -1 in ({})",
                                   to_string(x.shape()), x.numel(), fmt::join(sizes, ", ")));
    }
    *open = x.numel() / known;
  }
  return reshape(x, Shape(std::span<const std::int64_t>(wanted)));
}

Tensor flatten(const Tensor& x, int first, int last) {
  if (x.rank() == 0) return reshape(x, Shape{1});
  first = normalise_axis("flatten", first, x.rank());
  last = normalise_axis("flatten", last, x.rank());
  if (first > last) throw ShapeError(fmt::format("[flatten] axis {} lies behind axis {}", first, last));
  detail::InlineVector<std::int64_t, kMaxRank> sizes;
  for (int axis = 0; axis < x.rank(); ++axis) {
    if (axis > first && axis <= last)
      sizes.back() *= x.shape()[axis];  // fits: a shape's sizes other than 0 do
    else
      sizes.push_back(x.shape()[axis]);
  }
  return reshape(x, Shape({sizes.data(), sizes.size()}));
}

Tensor permute(const Tensor& x, std::initializer_list<int> axes) {
  ops::Permute op;
  std::array<bool, kMaxRank> seen{};
  bool fits = static_cast<int>(axes.size()) == x.rank();
  int i = 0;
  for (const int axis : axes) {
    if (!fits) break;
    const int from = normalise_axis("permute", axis, x.rank());
    fits = !seen[ops::at(from)];
    seen[ops::at(from)] = true;
    op.axes[ops::at(i++)] = static_cast<std::int8_t>(from);
  }
  if (!fits)
    throw ShapeError(fmt::format("[permute] ({}) does not name each axis of {} once", fmt::join(axes, ", "),
                                 to_string(x.shape())));
  return apply(op, x);
}

Tensor transpose(const Tensor& x, int a, int b) {
  a = normalise_axis_or_scalar("transpose", a, x.rank());
  b = normalise_axis_or_scalar("transpose", b, x.rank());
  ops::Permute op;
  for (int axis = 0; axis < x.rank(); ++axis)
    op.axes[ops::at(axis)] = static_cast<std::int8_t>(axis == a ? b : axis == b ? a : axis);
  return apply(op, x);
}

Tensor slice(const Tensor& x, int axis, std::int64_t start, std::int64_t stop, std::int64_t step) {
  axis = normalise_axis("slice", axis, x.rank());
  if (step < 1) throw ValueError(fmt::format("[slice] step {}; it must be at least 1", step));
  const std::int64_t n = x.shape()[axis];
  const auto clamp = [n](std::int64_t i) { return std::clamp<std::int64_t>(i < 0 ? i + n : i, 0, n); };
  start = clamp(start);
  stop = clamp(stop);
  const std::int64_t length = stop > start ? checked::divide_up(stop - start, step) : 0;
  if (length <= 1) step = 1;  // no second element is that far
  return apply(ops::Slice{.axis = axis, .start = start, .length = length, .step = step}, x);
}

Tensor select(const Tensor& x, int axis, std::int64_t index) {
  axis = normalise_axis("select", axis, x.rank());
  const std::int64_t n = x.shape()[axis];
  if (index < -n || index >= n) {
    throw ValueError(fmt::format("[select] index {} on axis {} of {}", index, axis, to_string(x.shape())));
  }
  const std::int64_t from = index < 0 ? index + n : index;
  return reshape(slice(x, axis, from, from + 1), x.shape().without(axis));
}

Tensor expand(const Tensor& x, const Shape& shape) { return apply(ops::Expand{.shape = shape}, x); }

std::vector<Tensor> split(const Tensor& x, std::int64_t size, int axis) {
  axis = normalise_axis("split", axis, x.rank());
  if (size < 1) throw ValueError(fmt::format("[split] parts of {}; give at least 1", size));
  if (x.shape()[axis] == 0) return {slice(x, axis, 0, 0)};
  if (checked::divide_up(x.shape()[axis], size) <= kMaxOutputs)
    return apply_all(ops::Split{.axis = axis, .size = size}, {x});
  std::vector<Tensor> parts;
  for (const Tensor& several : split(x, size * kMaxOutputs, axis)) {
    for (Tensor& part : split(several, size, axis)) parts.push_back(std::move(part));
  }
  return parts;
}

Tensor concatenate(const std::vector<Tensor>& tensors, int axis) {
  if (tensors.empty()) throw ShapeError("[concatenate] no tensors given");
  const auto first = std::find_if(tensors.begin(), tensors.end(),
                                  [](const Tensor& tensor) { return !ops::is_nothing(tensor.shape()); });
  axis = normalise_axis("concatenate", axis, first == tensors.end() ? 1 : first->rank());
  if (tensors.size() <= static_cast<std::size_t>(kMaxInputs))
    return apply_all(ops::Concatenate{.axis = axis}, std::vector<Tensor>(tensors))[0];
  std::vector<Tensor> joined;
  for (std::size_t i = 0; i < tensors.size(); i += kMaxInputs) {
    const std::size_t stop = std::min(tensors.size(), i + static_cast<std::size_t>(kMaxInputs));
    joined.push_back(concatenate({tensors.begin() + static_cast<std::ptrdiff_t>(i),
                                  tensors.begin() + static_cast<std::ptrdiff_t>(stop)},
                                 axis));
  }
  return concatenate(joined, axis);
}

Tensor pad(const Tensor& x, int axis, std::int64_t before, std::int64_t after) {
  axis = normalise_axis("pad", axis, x.rank());
  return apply(ops::Pad{.axis = axis, .before = before, .after = after}, x);
}

}  // namespace reprise
