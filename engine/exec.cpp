#include <fmt/format.h>

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
  throw std::logic_error(
      fmt::format("[{}] backward reads {} {}, which saves() does not declare", node.table->name, kind, i));
}
}  // namespace

kernels::ConstView Saved::input(std::size_t i) const {
  if (i >= node_.n_inputs || !(node_.saves.inputs >> i & 1u)) throw_unsaved(node_, "input", i);
  return view_of(*node_.inputs[i]);
}

kernels::ConstView Saved::output(std::size_t i) const {
  if (i >= node_.n_outputs || !(node_.saves.outputs >> i & 1u)) throw_unsaved(node_, "output", i);
  return view_of(*node_.outputs[i]);
}

const Spec& Saved::input_spec(std::size_t i) const { return node_.inputs[i]->spec; }
const Spec& Saved::output_spec(std::size_t i) const { return node_.outputs[i]->spec; }
std::size_t Saved::inputs() const { return node_.n_inputs; }

}  // namespace reprise
