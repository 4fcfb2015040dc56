#include "reprise/node.h"

#include <fmt/format.h>

#include <algorithm>
#include <new>

#include "node_lifetime.h"
#include "reprise/context.h"
#include "reprise/detail/recycler.h"

namespace reprise {
namespace detail {
namespace {

constexpr std::size_t align_up(std::size_t bytes, std::size_t alignment) {
  return (bytes + alignment - 1) / alignment * alignment;
}

void destroy_record(Node* node) noexcept {
  for (std::uint32_t i = 0; i < node->n_outputs; ++i) {
    Value* value = node->outputs[i];
    if (value->gradient != nullptr) drop_user(std::exchange(value->gradient, nullptr));
    if (value->storage != nullptr) release(value->storage);
    value->~Value();
  }
  if (node->table->destroy != nullptr) node->table->destroy(node->op);
  const std::size_t bytes = node->bytes;
  node->~Node();
  recycled_free(node, bytes);
}

void unlink(Node& node) noexcept {
  Tape& tape = *node.tape;
  if (node.newer != nullptr)
    node.newer->older = node.older;
  else
    tape.newest = node.older;
  if (node.older != nullptr) node.older->newer = node.newer;
  --tape.nodes;
}

void destroy_node(Node& node) noexcept {
  if (node.region != nullptr) node.region->erased(node);
  if (node.tape != nullptr) {
    unlink(node);
    drop_tape(node.tape);
  }
  if (node.holds_saved) release_saved(node);
  forget_inputs(node);
  destroy_record(&node);
}

}  // namespace

Node* make_node(const OpTable& table, void* op, std::span<const Tensor> inputs, const Specs& specs) {
  const std::size_t n_in = inputs.size();
  const std::size_t n_out = specs.size();
  const std::size_t op_at = align_up(sizeof(Node), std::max<std::size_t>(table.alignment, 16));
  const std::size_t inputs_at = align_up(op_at + table.size, alignof(Value));
  const std::size_t outputs_at = inputs_at + n_in * sizeof(Value*);
  const std::size_t values_at = align_up(outputs_at + n_out * sizeof(Value*), alignof(Value));
  const std::size_t versions_at = values_at + n_out * sizeof(Value);
  const std::size_t bytes = versions_at + n_in * sizeof(std::uint32_t);

  auto* memory = static_cast<std::byte*>(recycled_allocate(bytes));
  Node* node = new (memory) Node;
  node->table = &table;
  node->op = memory + op_at;
  node->inputs = reinterpret_cast<Value**>(memory + inputs_at);
  node->outputs = reinterpret_cast<Value**>(memory + outputs_at);
  node->versions = reinterpret_cast<std::uint32_t*>(memory + versions_at);
  node->n_inputs = static_cast<std::uint32_t>(n_in);
  node->n_outputs = static_cast<std::uint32_t>(n_out);
  node->bytes = bytes;
  table.move(node->op, op);
  for (std::size_t i = 0; i < n_in; ++i) {
    Value* value = inputs[i].value();
    add_ref(value);
    node->inputs[i] = value;
    node->versions[i] = value->version();
  }
  auto* values = reinterpret_cast<Value*>(memory + values_at);
  for (std::size_t i = 0; i < n_out; ++i) {
    auto* value = new (values + i) Value;
    value->spec = specs[i];
    value->strides =
        specs[i].channels_last ? channels_last_strides(specs[i].shape) : row_major_strides(specs[i].shape);
    value->producer = node;
    value->output_index = static_cast<std::uint16_t>(i);
    node->outputs[i] = value;
  }
  return node;
}

void discard_node(Node* node) noexcept {
  forget_inputs(*node);
  destroy_record(node);
}

void link_node(Node& node) {
  Context& ctx = context();
  Tape& tape = *ctx.tape;
  if (ctx.region != nullptr) {
    ctx.region->recorded(node);
    node.region = ctx.region;
  }
  node.tape = &tape;
  tape.refs.fetch_add(1, std::memory_order_relaxed);
  node.sequence = tape.next_sequence++;
  node.older = tape.newest;
  if (tape.newest != nullptr) tape.newest->newer = &node;
  tape.newest = &node;
  ++tape.nodes;
  ++ctx.counters.recorded_nodes;
  hold_saved(node);
}

void forget_inputs(Node& node) noexcept {
  node.retired = true;
  const std::uint32_t n = std::exchange(node.n_inputs, 0);
  for (std::uint32_t i = 0; i < n; ++i) drop_ref(node.inputs[i]);
}

namespace {

// A long chain must not be destroyed by recursion: whoever defers first works off those that follow.
constinit thread_local Node* dead = nullptr;
constinit thread_local bool deferring = false;

}  // namespace

void drop_node_ref(Node& node) noexcept {
  if (node.live_outputs.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  const DeferDestruction now;
  node.grave = std::exchange(dead, &node);
}

void output_died(Node& node) noexcept { drop_node_ref(node); }

}  // namespace detail

void drop_tape(Tape* tape) noexcept {
  if (tape->refs.fetch_sub(1, std::memory_order_acq_rel) == 1) delete tape;
}

void hold_saved(Node& node) noexcept {
  if (node.holds_saved) return;
  for_each_saved(node, [](Value& value) { add_keeper(&value); });
  node.holds_saved = true;
}

void release_saved(Node& node) noexcept {
  if (!node.holds_saved) return;
  node.holds_saved = false;
  for_each_saved(node, [](Value& value) { drop_keeper(&value); });
}

DeferDestruction::DeferDestruction() noexcept : outermost_(!std::exchange(detail::deferring, true)) {}

DeferDestruction::~DeferDestruction() {
  if (!outermost_) return;
  while (detail::dead != nullptr) {
    Node& first = *detail::dead;
    detail::dead = first.grave;
    detail::destroy_node(first);
  }
  detail::deferring = false;
}

void keep_changed(Value& value) {
  Value* changed = &value;
  while (changed->producer != nullptr) {
    Node& producer = *changed->producer;
    if (producer.region != nullptr) {
      producer.region->keep(*changed);
      if (changed->storage == nullptr) {  // only the view was still there
        retain(value.storage);
        changed->storage = value.storage;
      }
    }
    changed->pinned = true;
    if (producer.table->view == nullptr || producer.n_inputs == 0) return;
    changed = producer.inputs[0];
  }
}

void retire(Node* first) noexcept {
  for (Node* node = first; node != nullptr; node = node->grave)
    node->live_outputs.fetch_add(1, std::memory_order_relaxed);
  for (Node* node = first; node != nullptr; node = node->grave) detail::forget_inputs(*node);
  while (first != nullptr) detail::drop_node_ref(*std::exchange(first, first->grave));
}

void check_versions(const Node& node, bool saved_only) {
  for (std::uint32_t i = 0; i < node.n_inputs; ++i) {
    if (saved_only && (i >= kMaxInputs || !(node.saves.inputs >> i & 1u))) continue;
    const Value& value = *node.inputs[i];
    if (value.storage == nullptr || value.version() == node.versions[i]) continue;
    throw TapeError(
        fmt::format("[{}] input {}, {}, was changed in place after it was recorded (version {}, recorded at "
                    "{}); change it after backward, or give the operation a clone(), made before the segment "
                    "if it is in one",
                    node.table->name, i, describe(value), value.version(), node.versions[i]));
  }
  if (node.saves.outputs == 0 || node.table->view != nullptr) return;
  for (std::uint32_t i = 0; i < node.n_outputs; ++i) {
    const Value& value = *node.outputs[i];
    if (!(node.saves.outputs >> i & 1u) || value.version() == 0) continue;
    throw TapeError(
        fmt::format("[{}] output {}, which backward reads, was changed in place after it was recorded; "
                    "change a clone() instead",
                    node.table->name, describe(value)));
  }
}

}  // namespace reprise
