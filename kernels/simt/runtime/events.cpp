// The entry points for events.
#include "simt/runtime/events.h"

#include <chrono>
#include <map>
#include <optional>

#include "simt/runtime/capture.h"
#include "simt/runtime/streams.h"

using namespace simt::runtime;

struct CUevent_st {
  unsigned flags = 0;
  Mark recorded;
  std::shared_ptr<double> time_ms;  // when the last record ran; null before the first
  std::optional<CapturePoint> captured;
};

namespace simt::runtime {
namespace {

std::map<cudaEvent_t, std::unique_ptr<CUevent_st>>& events() {
  static auto& all = *new std::map<cudaEvent_t, std::unique_ptr<CUevent_st>>;
  return all;
}

cudaError_t make_event(cudaEvent_t* event, unsigned flags) {
  constexpr unsigned kKnown = cudaEventBlockingSync | cudaEventDisableTiming;
  if (event == nullptr || (flags & ~kKnown) != 0) return cudaErrorInvalidValue;
  auto created = std::make_unique<CUevent_st>();
  created->flags = flags;
  *event = created.get();
  events()[*event] = std::move(created);
  return cudaSuccess;
}

/// Runs the body with the event of a handle.
template <class Body>
cudaError_t event_call(const char* name, unsigned traits, cudaEvent_t event, Body body) {
  return call(name, traits, [&]() -> cudaError_t {
    if (!events().contains(event)) {
      return fault(cudaErrorInvalidResourceHandle, "invalid-event",
                   std::string(name) + " of an event that was destroyed or never created");
    }
    return body();
  });
}

// The host cannot wait for work that is being captured.
cudaError_t check_not_captured(const CUevent_st& event) {
  if (!event.captured) return cudaSuccess;
  return invalidate(*event.captured->capture, cudaErrorCapturedEvent);
}

double now_ms() {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

cudaError_t record_event(CUevent_st& event, cudaStream_t handle) {
  const StreamPointer stream = find_stream(handle);
  if (stream == nullptr) return cudaErrorInvalidResourceHandle;
  if (stream->capture != nullptr) {
    if (stream->capture->invalidated) return cudaErrorStreamCaptureInvalidated;
    event.captured = CapturePoint{stream->capture, stream->capture_tail};
    return cudaSuccess;
  }
  Work work;
  work.name = "event record";
  work.run = [time = event.time_ms = std::make_shared<double>(0)] {
    *time = now_ms();
    return cudaSuccess;
  };
  const cudaError_t error = enqueue(handle, std::move(work));
  if (error != cudaSuccess) return error;
  event.captured.reset();
  event.recorded = end_of(stream);
  return cudaSuccess;
}

cudaError_t wait_for_event(cudaStream_t handle, const CUevent_st& event) {
  const StreamPointer stream = find_stream(handle);
  if (stream == nullptr) return cudaErrorInvalidResourceHandle;
  // A capture that ended leaves nothing to wait for.
  if (event.captured && event.captured->capture->origin->capture == event.captured->capture) {
    return join_capture(*stream, *event.captured);
  }
  if (stream->capture != nullptr) {
    if (stream->capture->invalidated) return cudaErrorStreamCaptureInvalidated;
    if (event.recorded.stream == nullptr && !event.captured) return cudaSuccess;
    return invalidate(*stream->capture, cudaErrorStreamCaptureIsolation);
  }
  if (const cudaError_t error = check_implicit_capture(stream); error != cudaSuccess) return error;
  if (event.captured || event.recorded.stream == nullptr) return cudaSuccess;
  Work work;
  work.name = "event wait";
  return enqueue_now(stream, std::make_shared<Work>(std::move(work)), {event.recorded});
}

}  // namespace

std::size_t event_count() { return events().size(); }

std::string list_events() { return events().empty() ? "" : std::to_string(events().size()) + " events\n"; }

}  // namespace simt::runtime

cudaError_t cudaEventCreate(cudaEvent_t* event) {
  return call(__func__, kPlain, [&] { return make_event(event, cudaEventDefault); });
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  return call(__func__, kPlain, [&] { return make_event(event, flags); });
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  return event_call(__func__, kRelease, event, [&] {
    events().erase(event);
    return cudaSuccess;
  });
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  return event_call(__func__, kPlain, event, [&] { return record_event(*event, stream); });
}

cudaError_t cudaEventRecordWithFlags(cudaEvent_t event, cudaStream_t stream, unsigned flags) {
  return event_call(__func__, kPlain, event, [&] {
    return flags == cudaEventRecordDefault ? record_event(*event, stream) : cudaErrorNotSupported;
  });
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags) {
  return event_call(__func__, kPlain, event, [&] {
    return flags == cudaEventWaitDefault ? wait_for_event(stream, *event) : cudaErrorNotSupported;
  });
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  return event_call(__func__, kSynchronises, event, [&] {
    if (const cudaError_t error = check_not_captured(*event); error != cudaSuccess) return error;
    return run_until(event->recorded);
  });
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  return event_call(__func__, kPlain, event, [&] {
    if (const cudaError_t error = check_not_captured(*event); error != cudaSuccess) return error;
    if (is_done(event->recorded)) return sticky_error();
    run_a_little(event->recorded);  // so that a loop that polls comes to an end
    return cudaErrorNotReady;
  });
}

cudaError_t cudaEventElapsedTime(float* ms, cudaEvent_t start, cudaEvent_t end) {
  return event_call(__func__, kPlain, start, [&] {
    if (ms == nullptr) return cudaErrorInvalidValue;
    if (!events().contains(end)) return cudaErrorInvalidResourceHandle;
    for (const cudaEvent_t event : {start, end}) {
      const bool timed = (event->flags & cudaEventDisableTiming) == 0;
      if (!timed || event->captured || event->time_ms == nullptr) return cudaErrorInvalidResourceHandle;
    }
    if (!is_done(start->recorded) || !is_done(end->recorded)) return cudaErrorNotReady;
    *ms = static_cast<float>(*end->time_ms - *start->time_ms);
    return cudaSuccess;
  });
}
