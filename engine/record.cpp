// Recording: what happens between a call of an operation and the node on the tape.
#include <fmt/format.h>

#include <bit>

#include "node_lifetime.h"
#include "owned_values.h"
#include "reprise/context.h"
#include "reprise/cost.h"
#include "reprise/kernels/threads.h"
#include "run_forward.h"
#include "tape_owner.h"

namespace reprise {
namespace detail {
namespace {

[[noreturn]] void throw_bad_input(const OpTable& table, std::span<const Tensor> inputs) {
  if (inputs.size() > kMaxInputs) {
    throw ShapeError(
        fmt::format("[{}] {} inputs; at most {} are taken", table.name, inputs.size(), kMaxInputs));
  }
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (!inputs[i].defined()) throw Error(fmt::format("[{}] input {} is an undefined tensor", table.name, i));
    if (inputs[i].value()->storage == nullptr) {
      throw TapeError(
          fmt::format("[{}] input {}, {}, has no memory", table.name, i, describe(*inputs[i].value())));
    }
  }
  throw TypeError(fmt::format("[{}] inputs are on different devices: {} and {}; move one with to(Device)",
                              table.name, to_string(inputs.front().device()),
                              to_string(inputs.back().device())));
}

[[noreturn]] void throw_no_gradient(const OpTable& table, std::span<const Tensor> inputs, GradMask unmet) {
  const auto i = static_cast<std::size_t>(std::countr_zero(unmet));
  throw TapeError(fmt::format("[{}] gives no gradient for input {}, {}; detach() it", table.name, i,
                              describe(*inputs[i].value())));
}

[[noreturn]] void throw_bad_outputs(const OpTable& table, const Specs& specs) {
  const auto hidden = static_cast<std::size_t>(table.auxiliaries);
  if (specs.size() > kMaxOutputs) {
    throw ShapeError(fmt::format("[{}] {} outputs{}; at most {} are taken", table.name, specs.size(),
                                 hidden > 0 ? fmt::format(", {} auxiliary ones included", hidden) : "",
                                 kMaxOutputs));
  }
  if (specs.size() <= hidden) {
    throw ShapeError(
        fmt::format("[{}] infer gives {} outputs, of which {} are auxiliary; at least one must be "
                    "there to be seen",
                    table.name, specs.size(), hidden));
  }
  throw ShapeError(fmt::format("[{}] is a view of its input 0, but was given no inputs", table.name));
}

/// An operation of a user may infer what a node cannot hold.
void check_outputs(const OpTable& table, const Specs& specs, std::size_t inputs) {
  const bool countable =
      specs.size() > static_cast<std::size_t>(table.auxiliaries) && specs.size() <= kMaxOutputs;
  if (!countable || (table.view != nullptr && inputs == 0)) [[unlikely]]
    throw_bad_outputs(table, specs);
}

/// What another thread recorded may be read here, but no record of this tape may refer to it, and its memory
/// may not be taken over: its own thread may count on it.
void detach_foreign(const OpTable& table, std::span<Tensor> inputs, GradMask needs) {
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const Value& value = *inputs[i].value();
    if (!is_elsewhere(value)) continue;
    if (needs >> i & 1u) {
      throw TapeError(
          fmt::format("[{}] input {}, {}, was recorded on another thread's tape; detach() it first",
                      table.name, i, describe(value)));
    }
    inputs[i] = inputs[i].detach();
  }
}

/// Bits of the inputs that want a gradient from this operation.
GradMask wanted_gradients(const OpTable& table, std::span<Tensor> inputs, bool grad_enabled) {
  if (inputs.size() > kMaxInputs) throw_bad_input(table, inputs);
  GradMask needs = 0;
  bool foreign = false;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const Value* value = inputs[i].value();
    if (value == nullptr || value->storage == nullptr ||
        value->spec.device != inputs[0].value()->spec.device) {
      throw_bad_input(table, inputs);
    }
    if (value->requires_grad) needs |= GradMask{1} << i;
    foreign |= is_elsewhere(*value);
  }
  if (!grad_enabled || table.backward == nullptr) needs = 0;
  if ((needs & ~table.gradient_inputs) != 0) [[unlikely]]
    throw_no_gradient(table, inputs, needs & ~table.gradient_inputs);
  if (foreign) [[unlikely]]
    detach_foreign(table, inputs, needs);
  return needs;
}

/// The input whose memory output 0 may take over: nobody else needs it and it has the output's form. In an
/// open region only values of the region itself qualify, since a replay reads the others again.
int reusable_input(const OpTable& table, const void* op, std::span<const Tensor> inputs, const Spec& out,
                   Saves saves, const Region* region) {
  if (table.reuses == nullptr) return -1;
  const int i = table.reuses(op, 0);
  if (i < 0) return -1;
  const Value& in = *inputs[static_cast<std::size_t>(i)].value();
  const bool ours_alone = in.users.load(std::memory_order_acquire) == 1 &&
                          in.keepers.load(std::memory_order_acquire) == 1 &&
                          in.storage->refs.load(std::memory_order_acquire) == 1;
  if (!ours_alone || in.pinned || (saves.inputs >> i & 1u)) return -1;
  if (in.is_leaf && in.requires_grad) return -1;
  if (region != nullptr && (in.producer == nullptr || in.producer->region.get() != region)) return -1;
  if (in.spec.dtype != out.dtype || !(in.spec.shape == out.shape)) return -1;
  const kernels::View view = view_of(in);
  return (out.channels_last ? view.is_channels_last() : view.is_contiguous()) ? i : -1;
}

/// Runs without leaving a trace on the tape.
void run_unrecorded(const OpTable& table, void* op, std::span<Tensor> inputs, const Specs& specs,
                    kernels::RandomKey key, RecordedOutputs& outputs) {
  TensorList in;
  for (const Tensor& tensor : inputs) in.push_back(tensor.value());
  OwnedValues owned;
  owned.reserve(specs.size());
  for (const Spec& spec : specs) {
    owned.push_back(make_leaf(spec));
  }
  const int reused = reusable_input(table, op, inputs, specs[0], {}, nullptr);
  run_forward(
      {table, op, in, owned.span(), key, Category::activations, Phase::forward, context().place, reused});
  const std::size_t visible = specs.size() - static_cast<std::size_t>(table.auxiliaries);
  outputs.reserve(visible);
  for (std::size_t i = 0; i < visible; ++i) outputs.take_over(owned.take(i));
}

void run_recorded(const OpTable& table, void* op, std::span<Tensor> inputs, const Specs& specs,
                  kernels::RandomKey key, GradMask needs, RecordedOutputs& outputs) {
  Context& ctx = context();
  Node* node = make_node(table, op, inputs, specs);
  const std::uint32_t visible = node->n_visible();
  try {
    outputs.reserve(visible);
    node->key = key;
    node->needs = needs;
    node->place = ctx.place;
    if (ctx.region != nullptr && table.view == nullptr && node->device().kind == DeviceKind::cpu)
      node->threads = kernels::num_threads();
    if (needs != 0) node->saves = table.saves(node->op, needs);
    const int reused = reusable_input(table, node->op, inputs, specs[0], node->saves, ctx.region.get());
    run_forward({table,
                 node->op,
                 {node->inputs, node->n_inputs},
                 {node->outputs, node->n_outputs},
                 key,
                 Category::activations,
                 Phase::forward,
                 ctx.place,
                 reused});
    if (reused >= 0) node->outputs[0]->storage->version.store(0, std::memory_order_relaxed);
    link_node(*node);
    if (const Device device = node->device(); device.is_dry) [[unlikely]]
      ctx.counters.recorded_ms += estimated_forward_ms(profile_of(device), *node);
  } catch (...) {
    discard_node(node);
    throw;
  }
  for (std::uint32_t i = 0; i < visible; ++i) {
    Value* value = node->outputs[i];
    value->requires_grad = needs != 0 && (table.differentiable >> i & 1u) && is_floating(value->spec.dtype);
    value->is_leaf = !value->requires_grad;
    outputs.adopt(value);
  }
  for (std::uint32_t i = visible; i < node->n_outputs; ++i) drop_unkept(*node->outputs[i]);
}

}  // namespace

void record(const OpTable& table, void* op, std::span<Tensor> inputs, RecordedOutputs& outputs) {
  Context& ctx = context();
  take_back(*ctx.tape);
  const GradMask needs = wanted_gradients(table, inputs, ctx.grad_enabled());
  TensorList in;
  for (const Tensor& tensor : inputs) in.push_back(tensor.value());
  Specs specs;
  table.infer(op, SpecSpan(in.data(), in.size()), specs);
  check_outputs(table, specs, in.size());

  const std::uint64_t next_key = ctx.generator.next;
  kernels::RandomKey key;
  if (table.random) key = ctx.generator.take();
  try {
    if (needs != 0 || ctx.region != nullptr)
      run_recorded(table, op, inputs, specs, key, needs, outputs);
    else
      run_unrecorded(table, op, inputs, specs, key, outputs);
  } catch (...) {
    ctx.generator.next = next_key;
    throw;
  }
}

}  // namespace detail

namespace {

/// Outputs that are there and that a user can see are left alone, whether or not they were changed in place
/// since (through a detach()ed alias, too): while this lives the operation writes beside them.
class Aside {
 public:
  explicit Aside(Node& node) {
    if (node.table->view != nullptr) return;
    for (std::uint32_t i = 0; i < node.n_outputs; ++i) {
      Value* const value = node.outputs[i];
      if (value->storage == nullptr) continue;
      if (!value->pinned && value->version() == 0 && value->users.load(std::memory_order_acquire) == 0)
        continue;
      kept_.push_back({value, value->storage, value->offset});
    }
    for (const Kept& kept : kept_) kept.value->storage = nullptr;
  }
  ~Aside() {
    for (const auto& [value, storage, offset] : kept_) {
      if (value->storage != nullptr) release(value->storage);
      value->storage = storage;
      value->offset = offset;
    }
  }
  Aside(const Aside&) = delete;
  Aside& operator=(const Aside&) = delete;

 private:
  struct Kept {
    Value* value;
    Storage* storage;
    std::int64_t offset;
  };
  detail::InlineVector<Kept, 3> kept_;
};

/// Sums are cut for the number of threads: a replay has as many as the forward had, or other bits.
void require_threads(const Node& node) {
  const int threads = kernels::num_threads();
  if (threads >= node.threads) return;
  throw Error(fmt::format(
      "[{}] was recorded with {} threads and would be replayed with {}, which gives other bits: here no more "
      "can be, as in a parallel region or a forked child; call backward where the forward was called",
      node.table->name, node.threads, threads));
}

}  // namespace

void replay(Node& node, Category category) {
  Context& ctx = context();
  check_versions(node, false);
  const kernels::FixedThreads as_recorded(node.threads);
  require_threads(node);
  std::int64_t bytes = 0;
  for (std::uint32_t i = 0; i < node.n_outputs; ++i) {
    if (node.outputs[i]->storage == nullptr && node.table->view == nullptr) {
      bytes += static_cast<std::int64_t>(node.outputs[i]->spec.bytes());
    }
  }
  const Aside aside(node);
  detail::run_forward({*node.table,
                       node.op,
                       {node.inputs, node.n_inputs},
                       {node.outputs, node.n_outputs},
                       node.key,
                       category,
                       Phase::replay,
                       node.place});
  ++ctx.counters.replayed_nodes;
  ctx.counters.replayed_bytes += bytes;
  if (const Device device = node.device(); device.is_dry) [[unlikely]]
    ctx.counters.replayed_ms += estimated_forward_ms(profile_of(device), node);
}

}  // namespace reprise
