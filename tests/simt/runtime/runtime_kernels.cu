#include "runtime_kernels.h"

#include <catch2/catch.hpp>

#include "simt/simt.h"

namespace runtime_test {
namespace {

__global__ void affine_kernel(float* out, const float* in, float factor, float term, int count) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < count) out[i] = in[i] * factor + term;
}

__global__ void fill_kernel(float* out, float value, int count) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < count) out[i] = value;
}

__global__ void shape_kernel() {}

constexpr int kThreads = 128;

dim3 blocks(int count) { return dim3(static_cast<unsigned>((count + kThreads - 1) / kThreads)); }

}  // namespace

cudaError_t affine(float* out, const float* in, float factor, float term, int count, cudaStream_t stream) {
  return simt::launch(affine_kernel, blocks(count), dim3(kThreads), 0, stream, out, in, factor, term, count);
}

cudaError_t fill(float* out, float value, int count, cudaStream_t stream) {
  return simt::launch(fill_kernel, blocks(count), dim3(kThreads), 0, stream, out, value, count);
}

cudaError_t launch_shape(dim3 grid, dim3 block, std::size_t shared_bytes) {
  return simt::launch(shape_kernel, grid, block, shared_bytes, nullptr);
}

const void* shape_kernel_address() { return reinterpret_cast<const void*>(shape_kernel); }

Runtime::Runtime() : aborts_(simt::config.abort_on_error), prints_(simt::config.print_faults) {
  simt::runtime::reset();
  simt::runtime::reset_calls();
  simt::config.abort_on_error = simt::config.print_faults = false;
  allocations_ = simt::runtime::live_allocations();
  objects_ = simt::runtime::live_objects();
}

Runtime::~Runtime() {
  CHECK(simt::last_error == "");
  CHECK((simt::runtime::live_allocations() == allocations_ || simt::runtime::leak_report() == ""));
  CHECK((simt::runtime::live_objects() == objects_ || simt::runtime::leak_report() == ""));
  simt::runtime::reset();
  simt::config.abort_on_error = aborts_;
  simt::config.print_faults = prints_;
}

std::string Runtime::take_fault() {
  cudaGetLastError();
  return std::exchange(simt::last_error, "");
}

Floats::Floats(int count) {
  REQUIRE(cudaMalloc(reinterpret_cast<void**>(&data_), static_cast<std::size_t>(count) * sizeof(float)) ==
          cudaSuccess);
}

Floats::~Floats() {
  simt::runtime::drain();
  cudaFree(data_);
}

float Floats::at(int index) const {
  float value = 0;
  CHECK(cudaDeviceSynchronize() == cudaSuccess);
  CHECK(cudaMemcpy(&value, data_ + index, sizeof value, cudaMemcpyDeviceToHost) == cudaSuccess);
  return value;
}

Stream::Stream(unsigned flags) { REQUIRE(cudaStreamCreateWithFlags(&stream_, flags) == cudaSuccess); }

Stream::~Stream() { cudaStreamDestroy(stream_); }

Event::Event(unsigned flags) { REQUIRE(cudaEventCreateWithFlags(&event_, flags) == cudaSuccess); }

Event::~Event() { cudaEventDestroy(event_); }

}  // namespace runtime_test
