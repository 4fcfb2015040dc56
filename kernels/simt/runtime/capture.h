// Stream capture: work that is recorded into a graph instead of queued.
#pragma once

#include <memory>
#include <thread>
#include <vector>

#include "simt/runtime/streams.h"

namespace simt::runtime {

/// Recorded work, and the nodes of the same graph that it comes after.
struct Node {
  WorkPointer work;
  std::vector<std::size_t> after;
};

/// A capture between its begin and its end.
struct Capture {
  std::uint64_t number = 0;
  cudaStreamCaptureMode mode = cudaStreamCaptureModeGlobal;
  std::thread::id thread;
  StreamPointer origin;
  std::vector<Node> nodes;
  bool invalidated = false;
};
using CapturePointer = std::shared_ptr<Capture>;

/// An event's place in a capture.
struct CapturePoint {
  CapturePointer capture;
  std::vector<std::size_t> nodes;
};

/// Starts to record a stream.
cudaError_t begin_capture(const StreamPointer& stream, cudaStreamCaptureMode mode);

/// Ends the recording and hands over its nodes.
cudaError_t end_capture(const StreamPointer& stream, std::vector<Node>* nodes);

/// Adds work to the capture of a stream.
cudaError_t record_work(CUstream_st& stream, WorkPointer work);

/// Adds what was captured at the point to what a stream waits for; the stream joins the capture.
cudaError_t join_capture(CUstream_st& stream, const CapturePoint& point);

/// The error of an operation that a capture does not allow. The capture is lost.
cudaError_t invalidate(Capture& capture, cudaError_t error);

/// The capture of a blocking stream that work on this stream would come after: only the legacy stream has
/// one.
Capture* implicit_capture(const StreamPointer& stream);

/// The error of work on the legacy stream while a blocking stream is captured.
cudaError_t check_implicit_capture(const StreamPointer& stream);

/// The error of waiting for the whole device while a stream is captured.
cudaError_t check_device_wait();

/// True when this thread must not make unsafe calls now. The captures that forbid them are lost.
bool unsafe_call_is_captured();

/// This thread's own mode, which cudaThreadExchangeStreamCaptureMode changes.
extern thread_local cudaStreamCaptureMode thread_capture_mode;

}  // namespace simt::runtime
