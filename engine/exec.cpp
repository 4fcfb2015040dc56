#include <fmt/format.h>

#include "devices/transfer.h"
#include "reprise/error.h"
#include "reprise/kernels/elementwise.h"
#include "reprise/node.h"
#include "take_block.h"

namespace reprise {

Exec::~Exec() {
  for (MemoryBlock* block : blocks_) block->pool->free(block);
}

kernels::Workspace Exec::scratch(std::size_t bytes) const {
  if (bytes == 0) return {};
  blocks_.reserve(blocks_.size() + 1);
  MemoryBlock* block = detail::take_block(device_, bytes, Category::workspace,
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
  return view_of(*(row_major_inputs_ == nullptr ? node_.inputs : row_major_inputs_)[i]);
}

kernels::ConstView Saved::output(std::size_t i) const {
  if (i >= node_.n_outputs || !(node_.saves.outputs >> i & 1u)) throw_unsaved(node_, "output", i);
  return view_of(*(row_major_outputs_ == nullptr ? node_.outputs : row_major_outputs_)[i]);
}

const Spec& Saved::input_spec(std::size_t i) const { return node_.inputs[i]->spec; }
const Spec& Saved::output_spec(std::size_t i) const { return node_.outputs[i]->spec; }
std::size_t Saved::inputs() const { return node_.n_inputs; }

namespace detail {

bool has_values(std::string_view operation, Device from, Device to) {
  if (to.is_dry) return false;
  require_values(from, operation);
  return true;
}

bool RowMajorValues::set_row_major(std::size_t i, Value& value, const Exec& exec, bool with_elements) {
  const kernels::View view = view_of(value);
  if (!view || view.is_contiguous()) {
    values_[i] = &value;
    return false;
  }
  if (copies_ == nullptr) copies_ = std::make_unique<RowMajorCopy[]>(values_.size());
  RowMajorCopy& copy = copies_[i];
  const kernels::View target = exec.temporary(view.dtype, value.spec.shape);
  if (with_elements) kernels::copy(exec.queue(), view, {target, kernels::Write::overwrite});
  copy.storage.data = target.data;
  copy.value.spec = value.spec;
  copy.value.spec.channels_last = false;
  copy.value.strides = row_major_strides(value.spec.shape);
  copy.value.storage = &copy.storage;
  values_[i] = &copy.value;
  return true;
}

RowMajorForward::RowMajorForward(const Exec& exec, Inputs in) : values_(in.size()) {
  for (std::size_t i = 0; i < in.size(); ++i) values_.set_row_major(i, *in.values_[i], exec, true);
}

RowMajorBackward::RowMajorBackward(const Exec& exec, const Saved& saved, OutGrads dy, GradSlots dx)
    : saved_(saved),
      dx_(dx),
      inputs_(saved.node_.n_inputs),
      outputs_(saved.node_.n_outputs),
      gradients_(dy.size()),
      targets_(dx.size_),
      slots_(dx.size_) {
  const Node& node = saved.node_;
  for (std::uint32_t i = 0; i < node.n_inputs; ++i) {
    if (node.saves.inputs >> i & 1u) inputs_.set_row_major(i, *node.inputs[i], exec, true);
  }
  for (std::uint32_t i = 0; i < node.n_outputs; ++i) {
    if (node.saves.outputs >> i & 1u) outputs_.set_row_major(i, *node.outputs[i], exec, true);
  }
  saved_.row_major_inputs_ = inputs_.data();
  saved_.row_major_outputs_ = outputs_.data();
  for (std::size_t i = 0; i < dy.size(); ++i) {
    if (dy.has(i)) gradients_.set_row_major(i, *dy.gradients_[i], exec, true);
  }
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    slots_[i] = dx.slots_[i];
    if (!dx.wants(i)) continue;
    if (targets_.set_row_major(i, *slots_[i].gradient, exec, false))
      slots_[i].write = kernels::Write::overwrite;
    slots_[i].gradient = targets_.data()[i];
  }
}

void RowMajorBackward::finish(const Exec& exec) const {
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    if (slots_[i].gradient == nullptr || slots_[i].gradient == dx_.slots_[i].gradient) continue;
    kernels::copy(exec.queue(), view_of(*slots_[i].gradient), dx_[i]);
  }
}

}  // namespace detail

}  // namespace reprise
