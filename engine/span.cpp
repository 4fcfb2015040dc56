#include "reprise/span.h"

#include <utility>

#include "devices/cuda_state.h"
#include "memory/clock.h"
#include "memory/ledger.h"
#include "reprise/context.h"
#include "reprise/error.h"

namespace reprise {
namespace {

/// Whether there is a real device behind it.
bool is_cuda(Device device) {
  return device.kind == DeviceKind::cuda && !device.is_dry && detail::has_cuda_state(device.index);
}

/// Waits without looking at what went wrong: whoever reads a value next is told.
void wait_for(Device device) noexcept {
  if (!is_cuda(device)) return;
  try {
    kernels::cuda::synchronise(detail::cuda_state(device.index).compute());
  } catch (const Error&) {
    return;
  }
}

}  // namespace

SpanTrace::SpanTrace() : start_ns_(detail::now_ns()) {
  Context& ctx = context();
  if (ctx.spans != nullptr) throw Error("[span] this thread is being traced already; end that trace first");
  spans_.reserve(1024);
  ctx.spans = this;
}

SpanTrace::~SpanTrace() { context().spans = nullptr; }

SpanScope::SpanScope(std::string_view operation, Phase phase, const Place* place, Device device,
                     const MemoryTag* segment)
    : device_(device), has_range_(is_cuda(device)) {
  Context& ctx = context();
  operation_before_ = std::exchange(ctx.operation, operation);
  phase_before_ = std::exchange(ctx.phase, phase);
  place_before_ = std::exchange(ctx.place, place);
  if (ctx.spans != nullptr) [[unlikely]]
    begin_span(segment);
  if (has_range_) kernels::cuda::push_range(operation.data());
}

SpanScope::SpanScope(std::string_view operation, Phase phase, Device device)
    : SpanScope(operation, phase, context().place, device) {}

SpanScope::~SpanScope() {
  Context& ctx = context();
  if (has_range_) kernels::cuda::pop_range();
  if (span_ >= 0) [[unlikely]]
    end_span();
  ctx.operation = operation_before_;
  ctx.phase = phase_before_;
  ctx.place = place_before_;
}

void SpanScope::begin_span(const MemoryTag* segment) {
  const Context& ctx = context();
  SpanTrace& trace = *ctx.spans;
  wait_for(device_);
  span_ = static_cast<std::ptrdiff_t>(trace.spans_.size());
  trace.spans_.push_back({.operation = ctx.operation,
                          .phase = ctx.phase,
                          .place = ctx.place,
                          .segment = segment == nullptr ? std::string_view() : segment->name,
                          .start_ns = detail::now_ns() - trace.start_ns_});
}

void SpanScope::end_span() noexcept {
  SpanTrace* const trace = context().spans;
  if (trace == nullptr || static_cast<std::size_t>(span_) >= trace->spans_.size()) return;
  wait_for(device_);
  trace->spans_[static_cast<std::size_t>(span_)].end_ns = detail::now_ns() - trace->start_ns_;
}

PhaseScope::PhaseScope(Phase phase, Device device)
    : before_(std::exchange(context().phase, phase)), has_range_(is_cuda(device)) {
  if (has_range_) kernels::cuda::push_range(name_of(phase).data());
}

PhaseScope::~PhaseScope() {
  if (has_range_) kernels::cuda::pop_range();
  context().phase = before_;
}

}  // namespace reprise
