#include "run_forward.h"

#include <fmt/format.h>

#include "reprise/context.h"
#include "reprise/kernels/elementwise.h"
#include "reprise/kernels/reduce.h"

namespace reprise::detail {
namespace {

bool has_channels_last_order(const Value& value) {
  if (value.spec.shape.rank() != 4) return false;
  kernels::View view = view_of(value);
  return view.is_channels_last() && !view.is_contiguous();
}

void make_view(const ForwardCall& call) {
  const Value& base = *call.inputs[0];
  for (std::size_t i = 0; i < call.outputs.size(); ++i) {
    Value& out = *call.outputs[i];
    if (out.storage != nullptr) continue;
    std::int64_t offset = 0;
    call.table.view(call.op, base.spec, base.strides, static_cast<int>(i), out.strides, offset);
    out.offset = base.offset + offset;
    out.spec.channels_last = has_channels_last_order(out);
    retain(base.storage);
    out.storage = base.storage;
  }
}

void give_memory(const ForwardCall& call) {
  for (std::size_t i = 0; i < call.outputs.size(); ++i) {
    Value& out = *call.outputs[i];
    if (out.storage != nullptr) continue;
    if (i == 0 && call.reused_input >= 0) {
      Value& in = *call.inputs[static_cast<std::size_t>(call.reused_input)];
      retain(in.storage);
      out.storage = in.storage;
      out.offset = in.offset;
      continue;
    }
    out.storage = allocate_storage(out.spec, call.category);
    out.offset = 0;  // one that took over memory may have begun further in
  }
}

/// Kernels that have nothing to write leave at once, also what they would say of rows without elements.
void zero_auxiliaries_of_nothing(const ForwardCall& call) {
  if (call.table.auxiliaries == 0 || call.outputs[0]->spec.shape.numel() != 0) return;
  const std::size_t visible = call.outputs.size() - static_cast<std::size_t>(call.table.auxiliaries);
  for (Value* const value : call.outputs.subspan(visible))
    kernels::fill(queue_of(value->spec.device), 0, view_of(*value));
}

}  // namespace

void check_nan(const OpTable& table, Phase phase, const char* what, std::size_t index, const Value& value,
               std::span<Value* const> inputs) {
  if (!is_floating(value.spec.dtype) || value.data() == nullptr) return;
  if (!kernels::any_nan(queue_of(value.spec.device), view_of(value))) return;
  std::string shapes;
  for (const Value* input : inputs) shapes += (shapes.empty() ? "" : " x ") + to_string(input->spec.shape);
  throw AnomalyError(fmt::format("[{}] the first NaN is in {} {} of its {}; inputs {}", table.name, what,
                                 index, name_of(phase), shapes));
}

void run_forward(const ForwardCall& call) {
  if (call.table.view != nullptr) {
    make_view(call);
    return;
  }
  const SpanScope span(call.table.name, call.phase, call.place, call.outputs[0]->spec.device, context().tag);
  give_memory(call);
  const Exec exec(call.outputs[0]->spec.device, call.key);
  call.table.forward(call.op, exec, Inputs(call.inputs.data(), call.inputs.size()),
                     Outputs(call.outputs.data(), call.outputs.size()));
  zero_auxiliaries_of_nothing(call);
  if (context().anomaly()) [[unlikely]] {
    for (std::size_t i = 0; i < call.outputs.size(); ++i) {
      check_nan(call.table, call.phase, "output", i, *call.outputs[i], call.inputs);
    }
  }
}

}  // namespace reprise::detail
