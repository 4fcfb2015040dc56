// Kernels for the tests of the stand-in runtime, and what every such test begins and ends with.
#pragma once

#include <cuda_runtime_api.h>

#include <string>

#include "simt/runtime/control.h"

namespace runtime_test {

/// out[i] = in[i] * factor + term
cudaError_t affine(float* out, const float* in, float factor, float term, int count, cudaStream_t stream);

/// out[i] = value
cudaError_t fill(float* out, float value, int count, cudaStream_t stream);

/// Launches a kernel that does nothing, in any shape and with any amount of dynamic shared memory.
cudaError_t launch_shape(dim3 grid, dim3 block, std::size_t shared_bytes);

/// The address of that kernel, for its attributes.
const void* shape_kernel_address();

/// A clean runtime: faults are kept for the test to read, and neither printed nor fatal. Ends with a check
/// that the test left nothing behind.
class Runtime {
 public:
  Runtime();
  ~Runtime();
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  /// The report of the last fault, which is then forgotten.
  std::string take_fault();

 private:
  bool aborts_, prints_;
  std::size_t allocations_, objects_;
};

/// Device memory for floats.
class Floats {
 public:
  explicit Floats(int count);
  ~Floats();
  Floats(const Floats&) = delete;
  Floats& operator=(const Floats&) = delete;

  float* get() const { return data_; }
  operator float*() const { return data_; }
  /// The value of one entry, after everything that was queued.
  float at(int index) const;

 private:
  float* data_ = nullptr;
};

/// A stream that does not synchronise with the legacy stream.
class Stream {
 public:
  explicit Stream(unsigned flags = cudaStreamNonBlocking);
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  operator cudaStream_t() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

class Event {
 public:
  explicit Event(unsigned flags = cudaEventDisableTiming);
  ~Event();
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  operator cudaEvent_t() const { return event_; }

 private:
  cudaEvent_t event_ = nullptr;
};

}  // namespace runtime_test
