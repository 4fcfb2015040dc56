#include <fmt/format.h>

#include "reprise/error.h"
#include "reprise/kernels/elementwise.h"
#include "reprise/node.h"
#include "take_block.h"

namespace reprise {

Exec::~Exec() {
  for (Block* block : blocks_) block->pool->free(block);
}

kernels::Workspace Exec::scratch(std::size_t bytes) const {
  if (bytes == 0) return {};
  blocks_.reserve(blocks_.size() + 1);
  Block* block = detail::take_block(device_, bytes, Category::workspace,
                                    {.scratch = true, .shape = {static_cast<std::int64_t>(bytes)}});
  blocks_.push_back(block);
  return {block->data, bytes};
}

kernels::View Exec::temporary(DType dtype, const Shape& shape, bool channels_last) const {
  kernels::View view;
  view.rank = shape.rank();
  const Strides strides = channels_last ? channels_last_strides(shape) : row_major_strides(shape);
  for (int axis = 0; axis < view.rank; ++axis) view.sizes[static_cast<std::size_t>(axis)] = shape[axis];
  view.strides = strides;
  view.dtype = dtype;
  view.data = scratch(static_cast<std::size_t>(shape.numel()) * size_of(dtype)).data;
  return view;
}

kernels::View Exec::laid_out_scratch(const kernels::ConstView& like) const {
  kernels::View view;
  static_cast<kernels::Layout&>(view) = like;
  view.dtype = like.dtype;
  view.data = scratch(static_cast<std::size_t>(like.numel()) * size_of(like.dtype)).data;
  return view;
}

kernels::ConstView Exec::laid_out_as(const kernels::ConstView& view, const kernels::Layout& like) const {
  if (view.data == nullptr || view.same_layout(like)) return view;
  kernels::ConstView wanted = view;
  static_cast<kernels::Layout&>(wanted) = like;
  const kernels::View copy = laid_out_scratch(wanted);
  kernels::copy(queue(), view, {copy, kernels::Write::overwrite});
  return copy;
}

kernels::ConstView Exec::contiguous(const kernels::ConstView& view) const {
  if (view.data == nullptr || view.is_contiguous()) return view;
  const kernels::View copy =
      temporary(view.dtype, Shape(std::span(view.sizes.data(), static_cast<std::size_t>(view.rank))));
  kernels::copy(queue(), view, {copy, kernels::Write::overwrite});
  return copy;
}

kernels::ConstView Exec::channels_last(const kernels::ConstView& view) const {
  if (view.data == nullptr || view.is_channels_last()) return view;
  const kernels::View copy =
      temporary(view.dtype, Shape(std::span(view.sizes.data(), static_cast<std::size_t>(view.rank))), true);
  kernels::copy(queue(), view, {copy, kernels::Write::overwrite});
  return copy;
}

namespace {
[[noreturn]] void throw_unsaved(const Node& node, const char* kind, std::size_t i) {
  throw TapeError(
      fmt::format("[{}] backward reads {} {}, which saves() does not declare", node.table->name, kind, i));
}
}  // namespace

kernels::ConstView Saved::input(std::size_t i) const {
  if (i >= node_.n_inputs || !(node_.saves.inputs >> i & 1u)) throw_unsaved(node_, "input", i);
  return row_major_inputs_ == nullptr ? kernels::ConstView(view_of(*node_.inputs[i])) : row_major_inputs_[i];
}

kernels::ConstView Saved::output(std::size_t i) const {
  if (i >= node_.n_outputs || !(node_.saves.outputs >> i & 1u)) throw_unsaved(node_, "output", i);
  return row_major_outputs_ == nullptr ? kernels::ConstView(view_of(*node_.outputs[i]))
                                       : row_major_outputs_[i];
}

const Spec& Saved::input_spec(std::size_t i) const { return node_.inputs[i]->spec; }
const Spec& Saved::output_spec(std::size_t i) const { return node_.outputs[i]->spec; }
std::size_t Saved::inputs() const { return node_.n_inputs; }

namespace detail {

RowMajorForward::RowMajorForward(const Exec& exec, Inputs in) : in_(in), views_(in.size()) {
  for (std::size_t i = 0; i < in.size(); ++i) views_[i] = exec.contiguous(in[i]);
}

RowMajorBackward::RowMajorBackward(const Exec& exec, const Saved& saved, OutGrads dy, GradSlots dx)
    : saved_(saved),
      dy_(dy),
      dx_(dx),
      inputs_(saved.node_.n_inputs),
      outputs_(saved.node_.n_outputs),
      gradients_(dy.size()),
      targets_(dx.size()) {
  const Saves& saves = saved.node_.saves;
  for (std::size_t i = 0; i < inputs_.size(); ++i) {
    if (saves.inputs >> i & 1u) inputs_[i] = exec.contiguous(saved.input(i));
  }
  for (std::size_t i = 0; i < outputs_.size(); ++i) {
    if (saves.outputs >> i & 1u) outputs_[i] = exec.contiguous(saved.output(i));
  }
  for (std::size_t i = 0; i < dy.size(); ++i) gradients_[i] = exec.contiguous(dy[i]);
  for (std::size_t i = 0; i < dx.size(); ++i) {
    targets_[i] = dx[i];
    const kernels::View slot = targets_[i].view;
    if (!slot || slot.is_contiguous()) continue;
    const Shape shape(std::span(slot.sizes.data(), static_cast<std::size_t>(slot.rank)));
    targets_[i] = {exec.temporary(slot.dtype, shape), kernels::Write::overwrite};
  }
}

void RowMajorBackward::finish(const Exec& exec) const {
  for (std::size_t i = 0; i < targets_.size(); ++i) {
    const kernels::Target slot = dx_[i];
    if (slot && targets_[i].view.data != slot.view.data) kernels::copy(exec.queue(), targets_[i].view, slot);
  }
}

}  // namespace detail

}  // namespace reprise
