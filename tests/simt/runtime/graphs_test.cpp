// Stream capture and graphs: what is recorded, what is refused meanwhile, and what a launch repeats.
#include <catch2/catch.hpp>

#include <cmath>
#include <vector>

#include "runtime_kernels.h"

using namespace runtime_test;
using Catch::Contains;
using simt::runtime::control;
using simt::runtime::Schedule;

namespace {

// Captures what `record` queues on the stream, as an instance to launch.
template <class Record>
cudaGraphExec_t capture(cudaStream_t stream, Record record) {
  REQUIRE(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal) == cudaSuccess);
  record();
  cudaGraph_t graph = nullptr;
  REQUIRE(cudaStreamEndCapture(stream, &graph) == cudaSuccess);
  cudaGraphExec_t instance = nullptr;
  REQUIRE(cudaGraphInstantiate(&instance, graph, 0) == cudaSuccess);
  REQUIRE(cudaGraphDestroy(graph) == cudaSuccess);
  return instance;
}

// Begins a capture, makes a call that it does not allow, and expects the capture to be lost.
template <class Call>
void expect_refused(cudaStream_t stream, cudaStreamCaptureMode mode, cudaError_t expected, Call call) {
  REQUIRE(cudaStreamBeginCapture(stream, mode) == cudaSuccess);
  CHECK(call() == expected);
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  CHECK(cudaStreamIsCapturing(stream, &status) == cudaSuccess);
  CHECK(status == cudaStreamCaptureStatusInvalidated);
  cudaGraph_t graph = nullptr;
  CHECK(cudaStreamEndCapture(stream, &graph) == cudaErrorStreamCaptureInvalidated);
  CHECK(graph == nullptr);
  CHECK(cudaStreamIsCapturing(stream, &status) == cudaSuccess);
  CHECK(status == cudaStreamCaptureStatusNone);
  cudaGetLastError();
}

}  // namespace

TEST_CASE("a graph repeats what was captured, with the arguments of then", "[simt]") {
  Runtime runtime;
  control().schedule = GENERATE(Schedule::kEager, Schedule::kLazy, Schedule::kShuffled);
  Stream stream;
  Floats a(4), b(4);
  CHECK(cudaMemset(a, 0, 16) == cudaSuccess);
  float term = 1;
  const cudaGraphExec_t graph = capture(stream, [&] {
    CHECK(affine(a, a, 1, term, 4, stream) == cudaSuccess);
    CHECK(cudaMemcpyAsync(b, a, 16, cudaMemcpyDeviceToDevice, stream) == cudaSuccess);
    term = 100;
  });
  CHECK(a.at(0) == 0);  // recorded, not run
  for (int i = 1; i <= 3; ++i) {
    CHECK(cudaGraphLaunch(graph, stream) == cudaSuccess);
    CHECK(b.at(2) == static_cast<float>(i));
  }
  CHECK(cudaGraphExecDestroy(graph) == cudaSuccess);
}

TEST_CASE("nodes of a graph", "[simt]") {
  Runtime runtime;
  Stream stream;
  Floats a(4), b(4);
  REQUIRE(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed) == cudaSuccess);
  CHECK(cudaMemsetAsync(a, 0, 16, stream) == cudaSuccess);
  CHECK(affine(a, a, 1, 1, 4, stream) == cudaSuccess);
  CHECK(cudaMemcpyAsync(b, a, 16, cudaMemcpyDeviceToDevice, stream) == cudaSuccess);
  cudaGraph_t graph = nullptr;
  REQUIRE(cudaStreamEndCapture(stream, &graph) == cudaSuccess);
  std::size_t count = 0;
  CHECK(cudaGraphGetNodes(graph, nullptr, &count) == cudaSuccess);
  REQUIRE(count == 3);
  std::vector<cudaGraphNode_t> nodes(count);
  CHECK(cudaGraphGetNodes(graph, nodes.data(), &count) == cudaSuccess);
  const cudaGraphNodeType expected[] = {cudaGraphNodeTypeMemset, cudaGraphNodeTypeKernel,
                                        cudaGraphNodeTypeMemcpy};
  for (std::size_t i = 0; i < 3; ++i) {
    cudaGraphNodeType type = cudaGraphNodeTypeEmpty;
    CHECK(cudaGraphNodeGetType(nodes[i], &type) == cudaSuccess);
    CHECK(type == expected[i]);
  }
  CHECK(cudaGraphDestroy(graph) == cudaSuccess);
  cudaGraphExec_t instance = nullptr;
  CHECK(cudaGraphInstantiate(&instance, graph, 0) == cudaErrorInvalidValue);
  CHECK_THAT(runtime.take_fault(), Contains("[invalid-graph]"));
}

TEST_CASE("an event takes another stream into the capture and back", "[simt]") {
  Runtime runtime;
  control().schedule = Schedule::kShuffled;
  Stream stream, side;
  Event fork, join;
  Floats a(1), b(1), c(1);
  const cudaGraphExec_t graph = capture(stream, [&] {
    CHECK(fill(a, 2, 1, stream) == cudaSuccess);
    CHECK(cudaEventRecord(fork, stream) == cudaSuccess);
    CHECK(cudaStreamWaitEvent(side, fork, 0) == cudaSuccess);
    CHECK(affine(b, a, 10, 0, 1, side) == cudaSuccess);
    CHECK(affine(c, a, 100, 0, 1, stream) == cudaSuccess);
    CHECK(cudaEventRecord(join, side) == cudaSuccess);
    CHECK(cudaStreamWaitEvent(stream, join, 0) == cudaSuccess);
    CHECK(affine(c, b, 1, 1, 1, stream) == cudaSuccess);
  });
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    control().seed = seed;
    CHECK(cudaMemsetAsync(b, 0, 4, stream) == cudaSuccess);
    CHECK(cudaGraphLaunch(graph, stream) == cudaSuccess);
    CHECK(c.at(0) == 21);
  }
  CHECK(fill(b, 1, 1, side) == cudaSuccess);  // the capture is over: this runs
  CHECK(b.at(0) == 1);
  CHECK(cudaGraphExecDestroy(graph) == cudaSuccess);
}

TEST_CASE("captures that do not end well", "[simt]") {
  Runtime runtime;
  Stream stream, side;
  Event event, old;
  Floats a(1);
  cudaGraph_t graph = nullptr;
  CHECK(cudaStreamBeginCapture(nullptr, cudaStreamCaptureModeGlobal) == cudaErrorStreamCaptureUnsupported);
  CHECK(cudaStreamEndCapture(stream, &graph) == cudaErrorIllegalState);

  CHECK(cudaEventRecord(old, side) == cudaSuccess);
  expect_refused(stream, cudaStreamCaptureModeGlobal, cudaErrorStreamCaptureIsolation,
                 [&] { return cudaStreamWaitEvent(stream, old, 0); });

  // A stream that was forked and not joined.
  REQUIRE(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal) == cudaSuccess);
  CHECK(cudaEventRecord(event, stream) == cudaSuccess);
  CHECK(cudaStreamWaitEvent(side, event, 0) == cudaSuccess);
  CHECK(fill(a, 1, 1, side) == cudaSuccess);
  CHECK(cudaStreamEndCapture(stream, &graph) == cudaErrorStreamCaptureUnjoined);

  // Ended on the wrong stream.
  REQUIRE(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal) == cudaSuccess);
  CHECK(cudaEventRecord(event, stream) == cudaSuccess);
  CHECK(cudaStreamWaitEvent(side, event, 0) == cudaSuccess);
  CHECK(cudaStreamEndCapture(side, &graph) == cudaErrorStreamCaptureUnmatched);
  CHECK(cudaStreamEndCapture(stream, &graph) == cudaErrorStreamCaptureInvalidated);

  // Two captures that would become one.
  REQUIRE(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal) == cudaSuccess);
  REQUIRE(cudaStreamBeginCapture(side, cudaStreamCaptureModeGlobal) == cudaSuccess);
  CHECK(cudaEventRecord(event, stream) == cudaSuccess);
  CHECK(cudaStreamWaitEvent(side, event, 0) == cudaErrorStreamCaptureMerge);
  CHECK(cudaStreamEndCapture(stream, &graph) == cudaErrorStreamCaptureInvalidated);
  CHECK(cudaStreamEndCapture(side, &graph) == cudaErrorStreamCaptureInvalidated);
  CHECK(cudaDeviceSynchronize() == cudaSuccess);
  cudaGetLastError();
}

TEST_CASE("calls that a capture does not allow", "[simt]") {
  Runtime runtime;
  Stream stream, blocking(cudaStreamDefault);
  Event event;
  Floats a(4);
  std::vector<float> host(4);
  void* memory = nullptr;
  const auto mode = GENERATE(cudaStreamCaptureModeGlobal, cudaStreamCaptureModeThreadLocal);
  constexpr auto kUnsupported = cudaErrorStreamCaptureUnsupported;
  expect_refused(stream, mode, kUnsupported, [&] { return cudaMalloc(&memory, 4); });
  expect_refused(stream, mode, kUnsupported, [&] { return cudaMallocHost(&memory, 4); });
  REQUIRE(cudaMalloc(&memory, 4) == cudaSuccess);
  expect_refused(stream, mode, kUnsupported, [&] { return cudaFree(memory); });
  CHECK(cudaFree(memory) == cudaSuccess);  // it was not freed before
  expect_refused(stream, mode, kUnsupported, [&] { return cudaStreamSynchronize(stream); });
  expect_refused(stream, mode, kUnsupported, [&] { return cudaStreamQuery(stream); });
  expect_refused(stream, mode, kUnsupported, [&] { return cudaDeviceSynchronize(); });
  expect_refused(stream, mode, kUnsupported,
                 [&] { return cudaMemcpy(a, host.data(), 16, cudaMemcpyHostToDevice); });
  expect_refused(stream, mode, kUnsupported,
                 [&] { return cudaMemcpyAsync(a, host.data(), 16, cudaMemcpyHostToDevice, stream); });
  expect_refused(stream, mode, cudaErrorCapturedEvent, [&] {
    CHECK(cudaEventRecord(event, stream) == cudaSuccess);
    return cudaEventQuery(event);
  });
  expect_refused(stream, mode, cudaErrorCapturedEvent, [&] {
    CHECK(cudaEventRecord(event, stream) == cudaSuccess);
    return cudaEventSynchronize(event);
  });
  expect_refused(blocking, mode, cudaErrorStreamCaptureImplicit, [&] { return fill(a, 1, 4, nullptr); });
  CHECK(fill(a, 1, 4, nullptr) == cudaSuccess);
  CHECK(cudaDeviceSynchronize() == cudaSuccess);
}

TEST_CASE("a relaxed capture allows what only makes memory", "[simt]") {
  Runtime runtime;
  Stream stream;
  cudaGraph_t graph = nullptr;
  void* memory = nullptr;
  REQUIRE(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed) == cudaSuccess);
  CHECK(cudaMalloc(&memory, 4) == cudaSuccess);
  CHECK(cudaStreamEndCapture(stream, &graph) == cudaSuccess);
  CHECK(cudaGraphDestroy(graph) == cudaSuccess);
  CHECK(cudaFree(memory) == cudaSuccess);

  // A thread may also exempt itself for a moment.
  REQUIRE(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal) == cudaSuccess);
  cudaStreamCaptureMode mode = cudaStreamCaptureModeRelaxed;
  CHECK(cudaThreadExchangeStreamCaptureMode(&mode) == cudaSuccess);
  CHECK(cudaMalloc(&memory, 4) == cudaSuccess);
  CHECK(cudaThreadExchangeStreamCaptureMode(&mode) == cudaSuccess);
  CHECK(mode == cudaStreamCaptureModeRelaxed);
  CHECK(cudaStreamEndCapture(stream, &graph) == cudaSuccess);
  CHECK(cudaGraphDestroy(graph) == cudaSuccess);
  CHECK(cudaFree(memory) == cudaSuccess);
}

TEST_CASE("a graph of memory that is gone breaks the device", "[simt]") {
  Runtime runtime;
  Stream stream;
  void* memory = nullptr;
  REQUIRE(cudaMalloc(&memory, 16) == cudaSuccess);
  const cudaGraphExec_t graph =
      capture(stream, [&] { CHECK(fill(static_cast<float*>(memory), 1, 4, stream) == cudaSuccess); });
  CHECK(cudaGraphLaunch(graph, stream) == cudaSuccess);
  CHECK(cudaStreamSynchronize(stream) == cudaSuccess);
  CHECK(cudaFree(memory) == cudaSuccess);
  CHECK(cudaGraphLaunch(graph, stream) == cudaSuccess);
  CHECK(cudaStreamSynchronize(stream) == cudaErrorIllegalAddress);
  CHECK_THAT(runtime.take_fault(), Contains("[freed-pointer]") && Contains("fill_kernel"));
  simt::runtime::reset();
  CHECK(cudaGraphExecDestroy(graph) == cudaSuccess);
}

TEST_CASE("a copy to pinned memory lands late at every launch", "[simt]") {
  Runtime runtime;
  Stream stream;
  Floats a(1);
  void* pinned = nullptr;
  REQUIRE(cudaMallocHost(&pinned, 4) == cudaSuccess);
  auto* host = static_cast<float*>(pinned);
  CHECK(cudaMemset(a, 0, 4) == cudaSuccess);
  CHECK(cudaDeviceSynchronize() == cudaSuccess);  // the stream does not wait for the legacy stream
  const cudaGraphExec_t graph = capture(stream, [&] {
    CHECK(affine(a, a, 1, 1, 1, stream) == cudaSuccess);
    CHECK(cudaMemcpyAsync(host, a, 4, cudaMemcpyDeviceToHost, stream) == cudaSuccess);
  });
  for (int i = 1; i <= 2; ++i) {
    CHECK(cudaGraphLaunch(graph, stream) == cudaSuccess);
    CHECK(std::isnan(*host));
    CHECK(cudaStreamSynchronize(stream) == cudaSuccess);
    CHECK(*host == static_cast<float>(i));
  }
  CHECK(cudaGraphExecDestroy(graph) == cudaSuccess);
  CHECK(cudaDeviceSynchronize() == cudaSuccess);
  CHECK(cudaFreeHost(pinned) == cudaSuccess);
}
