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

WorkScope::WorkScope(Context& thread, Part changes) noexcept
    : thread_(thread),
      outer_(std::exchange(thread.work, this)),
      operation_before_(thread.operation),
      place_before_(thread.place),
      phase_before_(thread.phase),
      changes_(changes) {}

WorkScope::~WorkScope() {
  if (thread_.work != this) [[unlikely]] {
    hand_on();
    return;
  }
  thread_.work = outer_;
  thread_.operation = operation_before_;
  thread_.place = place_before_;
  thread_.phase = phase_before_;
}

/// Closes before scopes that were opened inside it.
void WorkScope::hand_on() const noexcept {
  hand_on(kOperation, &WorkScope::operation_before_, thread_.operation);
  hand_on(kPhase, &WorkScope::phase_before_, thread_.phase);
  hand_on(kPlace, &WorkScope::place_before_, thread_.place);
  WorkScope* inner = thread_.work;
  while (inner->outer_ != this) inner = inner->outer_;
  inner->outer_ = outer_;
}

/// The scopes inside this one found the part as it left it, up to the first that changes it too: they are to
/// find it as this one did. If none changes it, it is so from now on.
template <class T>
void WorkScope::hand_on(Part part, T WorkScope::*before, T& now) const noexcept {
  if ((changes_ & part) == 0) return;
  WorkScope* last = nullptr;  // that found what this one left
  for (WorkScope* inner = thread_.work; inner != this; inner = inner->outer_) {
    if ((inner->changes_ & part) != 0) last = inner;
  }
  if (last == nullptr) {
    now = this->*before;
    last = thread_.work;
  }
  for (WorkScope* inner = last; inner != this; inner = inner->outer_) inner->*before = this->*before;
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
  thread_.operation = operation;
  thread_.phase = phase;
  thread_.place = place;
  if (thread_.spans != nullptr) [[unlikely]]
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
  SpanTrace& trace = *thread_.spans;
  wait_for(device_);
  if (segment != nullptr && (trace.segments_.empty() || trace.segments_.back().get() != segment))
    trace.segments_.push_back(segment->shared_from_this());
  span_ = trace.spans_.size();
  trace.spans_.push_back({.operation = thread_.operation,
                          .phase = thread_.phase,
                          .place = thread_.place,
                          .segment = segment == nullptr ? std::string_view() : segment->name,
                          .start_ns = detail::now_ns() - trace.start_ns_});
  trace_ = trace.number_;
}

void SpanScope::end_span() noexcept {
  SpanTrace* const trace = thread_.spans;
  if (trace == nullptr || trace->number_ != trace_) return;
  wait_for(device_);
  trace->spans_[span_].end_ns = detail::now_ns() - trace->start_ns_;
}

PhaseScope::PhaseScope(Phase phase, Device device)
    : WorkScope(context(), kPhase), has_range_(is_cuda(device)) {
  thread_.phase = phase;
  if (has_range_) kernels::cuda::push_range(name_of(phase).data());
}

PhaseScope::~PhaseScope() {
  if (has_range_) kernels::cuda::pop_range();
}

}  // namespace reprise
