// Stream capture: what is recorded, and what is not allowed meanwhile.
#include "simt/runtime/capture.h"

#include <algorithm>

namespace simt::runtime {

thread_local cudaStreamCaptureMode thread_capture_mode = cudaStreamCaptureModeGlobal;

namespace {

std::vector<CapturePointer> open_captures() {
  std::vector<CapturePointer> open;
  for (const StreamPointer& stream : all_streams()) {
    if (stream->capture != nullptr && stream->capture->origin == stream) open.push_back(stream->capture);
  }
  return open;
}

void add_missing(std::vector<std::size_t>& to, const std::vector<std::size_t>& from) {
  for (const std::size_t node : from) {
    if (std::find(to.begin(), to.end(), node) == to.end()) to.push_back(node);
  }
}

// Every node must come before the end of the stream where the capture began.
bool all_joined(const Capture& capture) {
  std::vector<bool> reached(capture.nodes.size(), false);
  std::vector<std::size_t> pending = capture.origin->capture_tail;
  while (!pending.empty()) {
    const std::size_t node = pending.back();
    pending.pop_back();
    if (reached[node]) continue;
    reached[node] = true;
    pending.insert(pending.end(), capture.nodes[node].after.begin(), capture.nodes[node].after.end());
  }
  return std::find(reached.begin(), reached.end(), false) == reached.end();
}

void close(const CapturePointer& capture) {
  for (const StreamPointer& stream : all_streams()) {
    if (stream->capture != capture) continue;
    stream->capture = nullptr;
    stream->capture_tail.clear();
  }
}

bool forbids_unsafe_calls(const Capture& capture) {
  if (thread_capture_mode == cudaStreamCaptureModeRelaxed || capture.mode == cudaStreamCaptureModeRelaxed)
    return false;
  if (capture.thread == std::this_thread::get_id()) return true;
  return capture.mode == cudaStreamCaptureModeGlobal && thread_capture_mode == cudaStreamCaptureModeGlobal;
}

}  // namespace

cudaError_t invalidate(Capture& capture, cudaError_t error) {
  capture.invalidated = true;
  return error;
}

cudaError_t begin_capture(const StreamPointer& stream, cudaStreamCaptureMode mode) {
  if (stream == legacy_stream()) return cudaErrorStreamCaptureUnsupported;
  if (stream->capture != nullptr) return cudaErrorIllegalState;
  static std::uint64_t begun = 0;
  auto capture = std::make_shared<Capture>();
  capture->number = ++begun;
  capture->mode = mode;
  capture->thread = std::this_thread::get_id();
  capture->origin = stream;
  stream->capture = std::move(capture);
  return cudaSuccess;
}

cudaError_t end_capture(const StreamPointer& stream, std::vector<Node>* nodes) {
  const CapturePointer capture = stream->capture;
  if (capture == nullptr) return cudaErrorIllegalState;
  if (capture->origin != stream) return invalidate(*capture, cudaErrorStreamCaptureUnmatched);
  if (capture->mode != cudaStreamCaptureModeRelaxed && capture->thread != std::this_thread::get_id()) {
    return cudaErrorStreamCaptureWrongThread;
  }
  const bool joined = all_joined(*capture);
  close(capture);
  if (capture->invalidated) return cudaErrorStreamCaptureInvalidated;
  if (!joined) return cudaErrorStreamCaptureUnjoined;
  *nodes = std::move(capture->nodes);
  return cudaSuccess;
}

cudaError_t record_work(CUstream_st& stream, WorkPointer work) {
  Capture& capture = *stream.capture;
  if (capture.invalidated) return cudaErrorStreamCaptureInvalidated;
  capture.nodes.push_back({std::move(work), std::move(stream.capture_tail)});
  stream.capture_tail = {capture.nodes.size() - 1};
  return cudaSuccess;
}

cudaError_t join_capture(CUstream_st& stream, const CapturePoint& point) {
  if (point.capture->invalidated) return cudaErrorStreamCaptureInvalidated;
  if (stream.capture != nullptr && stream.capture != point.capture) {
    stream.capture->invalidated = true;
    return invalidate(*point.capture, cudaErrorStreamCaptureMerge);
  }
  if (&stream == legacy_stream().get()) return invalidate(*point.capture, cudaErrorStreamCaptureImplicit);
  stream.capture = point.capture;
  add_missing(stream.capture_tail, point.nodes);
  return cudaSuccess;
}

Capture* implicit_capture(const StreamPointer& stream) {
  if (stream != legacy_stream()) return nullptr;
  for (const StreamPointer& other : all_streams()) {
    if (other->capture != nullptr && other->is_blocking()) return other->capture.get();
  }
  return nullptr;
}

cudaError_t check_implicit_capture(const StreamPointer& stream) {
  Capture* capture = implicit_capture(stream);
  return capture == nullptr ? cudaSuccess : invalidate(*capture, cudaErrorStreamCaptureImplicit);
}

cudaError_t check_device_wait() {
  const std::vector<CapturePointer> open = open_captures();
  for (const CapturePointer& capture : open) capture->invalidated = true;
  return open.empty() ? cudaSuccess : cudaErrorStreamCaptureUnsupported;
}

bool unsafe_call_is_captured() {
  bool forbidden = false;
  for (const CapturePointer& capture : open_captures()) {
    if (!forbids_unsafe_calls(*capture)) continue;
    capture->invalidated = forbidden = true;
  }
  return forbidden;
}

}  // namespace simt::runtime
