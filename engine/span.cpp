#include "reprise/span.h"

#include <atomic>
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

namespace detail {

WorkScope::WorkScope(Context& thread, Part changes)
    : outer_(std::exchange(thread.work, this)),
      operation_before_(thread.operation),
      place_before_(thread.place),
      phase_before_(thread.phase),
      changes_(changes) {}

WorkScope::~WorkScope() {
  Context& thread = context();
  if (thread.work != this) [[unlikely]] {
    hand_on(thread);
    return;
  }
  put_back(thread);
  thread.work = outer_;
}

void WorkScope::put_back(Context& thread) const noexcept {
  if ((changes_ & kOperation) != 0) thread.operation = operation_before_;
  if ((changes_ & kPhase) != 0) thread.phase = phase_before_;
  if ((changes_ & kPlace) != 0) thread.place = place_before_;
}

/// Closes before scopes that were opened inside it: of those that change a part, the outermost will put it
/// back to what this one found. A part that none of them changes is put back now.
void WorkScope::hand_on(Context& thread) const noexcept {
  WorkScope* operation = nullptr;
  WorkScope* phase = nullptr;
  WorkScope* place = nullptr;
  WorkScope* inner = thread.work;
  while (true) {
    if ((inner->changes_ & kOperation) != 0) operation = inner;
    if ((inner->changes_ & kPhase) != 0) phase = inner;
    if ((inner->changes_ & kPlace) != 0) place = inner;
    if (inner->outer_ == this) break;
    inner = inner->outer_;
  }
  inner->outer_ = outer_;
  if ((changes_ & kOperation) != 0)
    (operation == nullptr ? thread.operation : operation->operation_before_) = operation_before_;
  if ((changes_ & kPhase) != 0) (phase == nullptr ? thread.phase : phase->phase_before_) = phase_before_;
  if ((changes_ & kPlace) != 0) (place == nullptr ? thread.place : place->place_before_) = place_before_;
}

}  // namespace detail

SpanTrace::SpanTrace() : start_ns_(detail::now_ns()) {
  static std::atomic<std::uint64_t> traces{0};
  Context& ctx = context();
  if (ctx.spans != nullptr) throw Error("[span] this thread is being traced already; end that trace first");
  number_ = traces.fetch_add(1, std::memory_order_relaxed) + 1;
  spans_.reserve(1024);
  ctx.spans = this;
}

SpanTrace::~SpanTrace() { context().spans = nullptr; }

SpanScope::SpanScope(std::string_view operation, Phase phase, const Place* place, Device device,
                     const MemoryTag* segment)
    : WorkScope(context(), kAll), device_(device), has_range_(is_cuda(device)) {
  Context& ctx = context();
  ctx.operation = operation;
  ctx.phase = phase;
  ctx.place = place;
  if (ctx.spans != nullptr) [[unlikely]]
    begin_span(segment);
  if (has_range_) kernels::cuda::push_range(operation.data());
}

SpanScope::SpanScope(std::string_view operation, Phase phase, Device device)
    : SpanScope(operation, phase, context().place, device) {}

SpanScope::~SpanScope() {
  if (has_range_) kernels::cuda::pop_range();
  if (trace_ != 0) [[unlikely]]
    end_span();
}

void SpanScope::begin_span(const MemoryTag* segment) {
  const Context& ctx = context();
  SpanTrace& trace = *ctx.spans;
  wait_for(device_);
  span_ = trace.spans_.size();
  trace.spans_.push_back({.operation = ctx.operation,
                          .phase = ctx.phase,
                          .place = ctx.place,
                          .segment = segment == nullptr ? std::string_view() : segment->name,
                          .start_ns = detail::now_ns() - trace.start_ns_});
  trace_ = trace.number_;
}

void SpanScope::end_span() noexcept {
  SpanTrace* const trace = context().spans;
  if (trace == nullptr || trace->number_ != trace_) return;
  wait_for(device_);
  trace->spans_[span_].end_ns = detail::now_ns() - trace->start_ns_;
}

PhaseScope::PhaseScope(Phase phase, Device device)
    : WorkScope(context(), kPhase), has_range_(is_cuda(device)) {
  context().phase = phase;
  if (has_range_) kernels::cuda::push_range(name_of(phase).data());
}

PhaseScope::~PhaseScope() {
  if (has_range_) kernels::cuda::pop_range();
}

}  // namespace reprise
