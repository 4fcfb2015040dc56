#include "reprise/value.h"

#include <fmt/format.h>

#include <new>

#include "reprise/detail/recycler.h"
#include "reprise/node.h"
#include "take_block.h"
#include "tape_owner.h"

namespace reprise {

namespace detail {
/// The node whose last output died; defined with the node's lifetime in node.cpp.
void output_died(Node& node) noexcept;
}  // namespace detail

Storage* allocate_storage(const Spec& spec, Category category) {
  MemoryBlock* block =
      detail::take_block(spec.device, spec.bytes(), category, {.dtype = spec.dtype, .shape = spec.shape});
  void* memory = nullptr;
  try {
    memory = detail::recycled_allocate(sizeof(Storage));
  } catch (...) {
    if (block != nullptr) block->pool->free(block);
    throw;
  }
  auto* storage = new (memory) Storage;
  storage->block = block;
  storage->data = block == nullptr ? nullptr : block->data;
  return storage;
}

void retain(Storage* storage) noexcept { storage->refs.fetch_add(1, std::memory_order_relaxed); }

void release(Storage* storage) noexcept {
  if (storage->refs.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  if (storage->block != nullptr) storage->block->pool->free(storage->block);
  storage->~Storage();
  detail::recycled_free(storage, sizeof(Storage));
}

Value* make_leaf(const Spec& spec) {
  auto* value = new (detail::recycled_allocate(sizeof(Value))) Value;
  value->spec = spec;
  value->strides = spec.channels_last ? channels_last_strides(spec.shape) : row_major_strides(spec.shape);
  return value;
}

void drop_unkept(Value& value) noexcept {
  if (value.storage != nullptr && value.keepers.load(std::memory_order_acquire) == 0) {
    release(std::exchange(value.storage, nullptr));
  }
}

void add_ref(Value* value) noexcept {
  if (value->refs.fetch_add(1, std::memory_order_relaxed) == 0 && value->producer != nullptr) {
    value->producer->live_outputs.fetch_add(1, std::memory_order_relaxed);
  }
}

void drop_ref(Value* value) noexcept {
  if (value->refs.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  if (value->producer != nullptr) {
    detail::output_died(*value->producer);
    return;
  }
  if (value->gradient != nullptr) drop_user(value->gradient);
  value->~Value();
  detail::recycled_free(value, sizeof(Value));
}

void add_keeper(Value* value) noexcept { value->keepers.fetch_add(1, std::memory_order_relaxed); }

void drop_keeper(Value* value) noexcept {
  if (value->keepers.fetch_sub(1, std::memory_order_acq_rel) == 1 && value->storage != nullptr) {
    release(std::exchange(value->storage, nullptr));
  }
}

void add_user(Value* value) noexcept {
  if (value->users.fetch_add(1, std::memory_order_relaxed) == 0) {
    add_keeper(value);
    add_ref(value);
  }
}

void detail::drop_own_user(Value* value) noexcept {
  if (value->users.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  drop_keeper(value);
  drop_ref(value);
}

void drop_user(Value* value) noexcept {
  if (detail::is_elsewhere(*value)) [[unlikely]]
    return detail::let_go_elsewhere(value);
  detail::drop_own_user(value);
}

kernels::View view_of(const Value& value) {
  kernels::View view;
  view.rank = value.spec.shape.rank();
  for (int axis = 0; axis < view.rank; ++axis) {
    const auto i = static_cast<std::size_t>(axis);
    view.sizes[i] = value.spec.shape[axis];
    view.strides[i] = value.strides[i];
  }
  view.dtype = value.spec.dtype;
  view.data = value.data();
  return view;
}

namespace {

bool is_view(const Value& value) {
  return value.producer != nullptr && value.producer->table->view != nullptr &&
         value.producer->n_inputs > 0 && (value.extras == nullptr || value.extras->name.empty());
}

/// Of one value, whatever it is a view of.
std::string describe_alone(const Value& value) {
  const std::string shape = to_string(value.spec.shape);
  if (value.extras != nullptr && !value.extras->name.empty())
    return fmt::format("'{}' {}", value.extras->name, shape);
  if (value.producer == nullptr) return fmt::format("an unnamed leaf {}", shape);
  const Node& node = *value.producer;
  if (node.n_visible() <= 1) return fmt::format("the result of {} {}", node.table->name, shape);
  return fmt::format("output {} of {} {}", value.output_index, node.table->name, shape);
}

}  // namespace

std::string describe(const Value& value) {
  constexpr int kMostViews = 3;
  std::string result = describe_alone(value);
  const Value* base = &value;
  for (int views = 0; is_view(*base) && views < kMostViews; ++views) {
    base = base->producer->inputs[0];
    result += ", a view of " + describe_alone(*base);
  }
  std::int64_t more = 0;
  for (; is_view(*base); base = base->producer->inputs[0]) ++more;
  return more == 0 ? result : fmt::format("{}, {} views on from {}", result, more, describe_alone(*base));
}

}  // namespace reprise
