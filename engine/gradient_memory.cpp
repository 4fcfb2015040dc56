#include "gradient_memory.h"

#include <fmt/format.h>

#include "reprise/device.h"
#include "reprise/error.h"
#include "reprise/kernels/elementwise.h"

namespace reprise::detail {

Tensor make_gradient(const Value& value) {
  Spec spec = value.spec;
  Tensor gradient = Tensor::share(make_leaf(spec));
  gradient.value()->storage = allocate_storage(spec, Category::gradients);
  return gradient;
}

bool is_dense_like(const Value& gradient, const Value& value) {
  if (gradient.spec.dtype != value.spec.dtype || !(gradient.spec.shape == value.spec.shape)) return false;
  const kernels::View view = view_of(gradient);
  return value.spec.channels_last ? view.is_channels_last() : view.is_contiguous();
}

bool is_exclusive(const Value& value) {
  // What a hook computed inside an open segment is an output there, which the segment may compute again.
  return value.producer == nullptr && value.users.load(std::memory_order_acquire) == 1 &&
         value.keepers.load(std::memory_order_acquire) == 1 &&
         value.storage->refs.load(std::memory_order_acquire) == 1;
}

Tensor dense_copy(const Value& gradient, const Value& like) {
  Tensor copy = make_gradient(like);
  kernels::copy(queue_of(gradient.spec.device), view_of(gradient),
                {view_of(*copy.value()), kernels::Write::overwrite});
  return copy;
}

bool may_overwrite(const Node& node, std::uint32_t i) {
  if (!(node.table->gradient_over_input >> i & node.saves.inputs >> i & 1u)) return false;
  const Value& input = *node.inputs[i];
  return !input.is_leaf && !input.pinned && input.users.load(std::memory_order_acquire) == 0 &&
         input.keepers.load(std::memory_order_acquire) == 1 && input.storage != nullptr &&
         input.storage->block != nullptr && input.storage->refs.load(std::memory_order_acquire) == 1 &&
         is_dense_like(input, input);
}

Tensor gradient_over(Value& value) {
  Tensor gradient = Tensor::share(make_leaf(value.spec));
  retain(value.storage);
  gradient.value()->storage = value.storage;
  gradient.value()->offset = value.offset;
  value.storage->block->pool->recategorise(value.storage->block, Category::gradients);
  // Should this backward fail, no other may read it.
  value.storage->version.fetch_add(1, std::memory_order_relaxed);
  return gradient;
}

Tensor view_gradient(const Node& node, const Value& dy) {
  const Spec& input = node.inputs[0]->spec;
  Strides strides{};
  if (!node.table->view_gradient(node.op, input, node.outputs[0]->spec, dy.strides, strides)) return {};
  Tensor view = Tensor::share(make_leaf(input));
  view.value()->strides = strides;
  view.value()->offset = dy.offset;
  retain(dy.storage);
  view.value()->storage = dy.storage;
  return view;
}

void make_addable(Value*& pending, const Value& like) {
  if (is_exclusive(*pending) && is_dense_like(*pending, like)) return;
  Tensor copy = dense_copy(*pending, like);
  drop_user(pending);
  pending = copy.value();
  add_user(pending);
}

void set_gradient(Value& value, Tensor gradient) {
  Value* const now = gradient.defined() ? gradient.value() : nullptr;
  Value* const before = value.gradient;
  if (now != nullptr) add_user(now);
  std::atomic_ref(value.gradient).store(now, std::memory_order_relaxed);
  if (before != nullptr) drop_user(before);
}

void check_gradient(const Tensor& gradient, const Value& value, const char* what) {
  if (gradient.device() != value.spec.device) {
    throw TypeError(fmt::format("[backward] {} is on {}, but the tensor on {}; move it with to(Device)", what,
                                to_string(gradient.device()), to_string(value.spec.device)));
  }
  if (gradient.shape() == value.spec.shape && gradient.dtype() == value.spec.dtype) return;
  throw ShapeError(fmt::format("[backward] {} is {} {}, but the tensor is {} {}", what,
                               name_of(gradient.dtype()), to_string(gradient.shape()),
                               name_of(value.spec.dtype), to_string(value.spec.shape)));
}

Tensor run_hooks(const Value& value, Tensor gradient) {
  if (value.extras == nullptr) return gradient;
  if (!is_exclusive(*gradient.value())) gradient = dense_copy(*gradient.value(), value);
  const std::size_t hooks = value.extras->hooks.size();
  for (std::size_t i = 0; i < hooks; ++i) {
    const std::shared_ptr<const GradientHook> hook = value.extras->hooks[i];
    Tensor replaced = (*hook)(gradient);
    if (!replaced.defined()) continue;
    check_gradient(replaced, value, "what a hook returned");
    // A gradient is no part of the tape, whatever the hook computed it from.
    gradient = replaced.is_leaf() && !replaced.requires_grad() ? std::move(replaced) : replaced.detach();
  }
  return gradient;
}

bool has_hooks(const Value& value) { return value.extras != nullptr && !value.extras->hooks.empty(); }

void add_pending(Value*& pending, const Value& like, Tensor gradient) {
  if (pending == nullptr) {
    pending = gradient.value();
    add_user(pending);
    return;
  }
  make_addable(pending, like);
  kernels::copy(queue_of(pending->spec.device), view_of(*gradient.value()),
                {view_of(*pending), kernels::Write::accumulate});
}

}  // namespace reprise::detail
