#include "folded_gradient.h"

#include <algorithm>

#include "gradient_memory.h"

namespace reprise::detail {
namespace {

/// Without gaps, by its strides alone: its memory may be dropped.
bool is_row_major(const Value& value) {
  kernels::Layout layout;
  layout.rank = value.spec.shape.rank();
  for (int axis = 0; axis < layout.rank; ++axis) layout.sizes[axis] = value.spec.shape[axis];
  layout.strides = value.strides;
  return !value.spec.channels_last && layout.is_contiguous();
}

/// The gradient of a result that goes to its producer and nowhere else.
bool is_private(const Value& value, std::uint64_t pass) {
  return value.gradient == nullptr && value.wanted_pass != pass && !has_hooks(value);
}

}  // namespace

bool folds_gradient(const Node& node, const Node& next) {
  if (!node.table->applies_derivative || next.table->activation == kernels::Activation::none) return false;
  const Value* const between = node.inputs[0];
  if (between != next.outputs[0] || (node.needs & next.needs & 1u) == 0) return false;
  if (std::count(node.inputs, node.inputs + node.n_inputs, between) > 1) return false;
  // What has a gradient already is added to, with one rounding: the activation's own backward does that.
  const Value& before = *next.inputs[0];
  return is_private(*between, node.pass) && !before.is_leaf && before.gradient == nullptr &&
         is_row_major(*between) && is_row_major(before);
}

GradSlots::Slot folded_slot(const Node& next, OwnedValues& fresh) {
  const Tensor gradient = make_gradient(*next.inputs[0]);
  add_user(gradient.value());
  fresh.adopt(0, gradient.value());
  return {fresh[0], kernels::Write::overwrite, next.table->activation, next.inputs[0]};
}

}  // namespace reprise::detail
