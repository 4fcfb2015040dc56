// Services of CUDA devices: what there is, memory, streams, events, graphs and profiler ranges.
#include "reprise/kernels/device.h"

#include <cublasLt.h>
#include <cudnn.h>
#include <nvtx3/nvToolsExt.h>

#include "cuda/architectures.h"
#include "cuda/host.h"

namespace reprise::kernels::cuda {
namespace {

#if defined(REPRISE_CUDA_ARCHITECTURES)
constexpr std::string_view kArchitectures = REPRISE_CUDA_ARCHITECTURES;
#else
constexpr std::string_view kArchitectures = kEmulated;
#endif

/// "13.0" for 13000, as CUDA counts.
std::string cuda_version(int number) {
  return std::to_string(number / 1000) + "." + std::to_string(number % 1000 / 10);
}

/// "13.1" for 130100 (cuBLASLt) and "9.19" for 91900 (cuDNN).
std::string library_version(std::size_t number) {
  return std::to_string(number / 10000) + "." + std::to_string(number % 10000 / 100);
}

/// Devices that the runtime sees; the status says why there is none.
cudaError_t count_visible(int& count) {
  count = 0;  // stays as it is without a driver
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status == cudaSuccess) return status;
  cudaGetLastError();
  count = 0;
  return status;
}

Capability capability_of(int device) {
  Capability capability;
  check(cudaDeviceGetAttribute(&capability.major, cudaDevAttrComputeCapabilityMajor, device), "device_info");
  check(cudaDeviceGetAttribute(&capability.minor, cudaDevAttrComputeCapabilityMinor, device), "device_info");
  return capability;
}

bool is_usable(int device) { return runs_on(kArchitectures, capability_of(device)); }

/// Why the runtime sees no device.
std::string reason_for(cudaError_t status) {
  int driver = 0;
  if (cudaDriverGetVersion(&driver) != cudaSuccess) cudaGetLastError();
  if (status == cudaErrorInsufficientDriver || driver == 0) {
    if (driver == 0) return "no NVIDIA driver on this machine (libcuda is missing)";
    return "the driver supports CUDA " + cuda_version(driver) + ", this program needs " +
           cuda_version(CUDART_VERSION);
  }
  if (status == cudaSuccess || status == cudaErrorNoDevice) return "no CUDA device is visible";
  return std::string("CUDA does not start: ") + cudaGetErrorString(status) + " (" + cudaGetErrorName(status) +
         ")";
}

std::string reason_for_device(int device) {
  const DeviceInfo info = device_info(device);
  const Capability capability{info.major, info.minor};
  return "device " + std::to_string(device) + " (" + info.name + ", sm_" + capability.digits() +
         ") is not among the architectures that this program was built for: " + describe(kArchitectures) +
         ": configure with -DCMAKE_CUDA_ARCHITECTURES=" + capability.digits();
}

void select(int device, const char* operation) {
  if (current_device(operation) != device) check(cudaSetDevice(device), operation);
}

/// Objects that outlive the runtime, in a program that ends, are gone already.
void check_release(cudaError_t status, const char* operation) {
  if (status == cudaErrorCudartUnloading) return;
  check(status, operation);
}

cudaStream_t as_stream(Stream stream) { return static_cast<cudaStream_t>(stream); }
cudaEvent_t as_event(Event event) { return static_cast<cudaEvent_t>(event); }
cudaGraphExec_t as_graph(Graph graph) { return static_cast<cudaGraphExec_t>(graph); }

/// `memory` of a successful allocation, null for one that does not fit.
void* allocated(void* memory, cudaError_t status, const char* operation) {
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    return nullptr;
  }
  check(status, operation);
  return memory;
}

}  // namespace

Build build() {
  int runtime = 0;
  if (cudaRuntimeGetVersion(&runtime) != cudaSuccess) cudaGetLastError();
  return {.present = true,
          .architectures = describe(kArchitectures),
          .libraries = {"CUDA " + cuda_version(runtime), "cuBLASLt " + library_version(cublasLtGetVersion()),
                        "cuDNN " + library_version(cudnnGetVersion())}};
}

int device_count() {
  int visible = 0;
  count_visible(visible);
  try {
    // Indices must name devices that work: counting stops at the first that does not.
    int usable = 0;
    while (usable < visible && is_usable(usable)) ++usable;
    return usable;
  } catch (const DeviceError&) {
    return 0;
  }
}

std::string unavailable_reason() {
  int visible = 0;
  const cudaError_t status = count_visible(visible);
  if (visible == 0) return reason_for(status);
  try {
    for (int device = 0; device < visible; ++device) {
      if (!is_usable(device)) return reason_for_device(device);
    }
  } catch (const DeviceError& error) {
    return error.what();
  }
  return {};
}

void use_device(int device) { select(device, "use_device"); }

DeviceInfo device_info(int device) {
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, device), "device_info");
  return {.name = properties.name,
          .major = properties.major,
          .minor = properties.minor,
          .multiprocessors = properties.multiProcessorCount,
          .total_bytes = properties.totalGlobalMem};
}

MemoryInfo memory_info(int device) {
  select(device, "memory_info");
  MemoryInfo info;
  check(cudaMemGetInfo(&info.free_bytes, &info.total_bytes), "memory_info");
  return info;
}

void* allocate(int device, std::size_t bytes) {
  select(device, "allocate");
  void* memory = nullptr;
  const cudaError_t status = cudaMalloc(&memory, bytes);
  return allocated(memory, status, "allocate");
}

void release(int, void* memory) {  // which knows its device
  if (memory != nullptr) check_release(cudaFree(memory), "release");
}

void* allocate_pinned(std::size_t bytes) {
  void* memory = nullptr;
  const cudaError_t status = cudaHostAlloc(&memory, bytes, cudaHostAllocPortable);
  return allocated(memory, status, "allocate_pinned");
}

void release_pinned(void* memory) {
  if (memory != nullptr) check_release(cudaFreeHost(memory), "release_pinned");
}

void copy_bytes(void* to, const void* from, std::size_t bytes, CopyKind kind, Stream stream) {
  if (bytes == 0) return;
  const cudaMemcpyKind direction = kind == CopyKind::host_to_device   ? cudaMemcpyHostToDevice
                                   : kind == CopyKind::device_to_host ? cudaMemcpyDeviceToHost
                                                                      : cudaMemcpyDeviceToDevice;
  check(cudaMemcpyAsync(to, from, bytes, direction, as_stream(stream)), "copy_bytes");
}

void fill_bytes(void* to, int value, std::size_t bytes, Stream stream) {
  if (bytes > 0) check(cudaMemsetAsync(to, value, bytes, as_stream(stream)), "fill_bytes");
}

Stream create_stream(int device) {
  select(device, "create_stream");
  cudaStream_t stream = nullptr;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "create_stream");
  return stream;
}

void destroy_stream(Stream stream) {
  if (stream != nullptr) check_release(cudaStreamDestroy(as_stream(stream)), "destroy_stream");
}

void synchronise(Stream stream) { check(cudaStreamSynchronize(as_stream(stream)), "synchronise"); }

Event create_event(bool timing) {
  cudaEvent_t event = nullptr;
  check(cudaEventCreateWithFlags(&event, timing ? cudaEventDefault : cudaEventDisableTiming), "create_event");
  return event;
}

void destroy_event(Event event) {
  if (event != nullptr) check_release(cudaEventDestroy(as_event(event)), "destroy_event");
}

void record_event(Event event, Stream stream) {
  check(cudaEventRecord(as_event(event), as_stream(stream)), "record_event");
}

void wait_event(Stream stream, Event event) {
  check(cudaStreamWaitEvent(as_stream(stream), as_event(event), 0), "wait_event");
}

bool event_happened(Event event) {
  const cudaError_t status = cudaEventQuery(as_event(event));
  if (status == cudaErrorNotReady) {
    cudaGetLastError();
    return false;
  }
  check(status, "event_happened");
  return true;
}

void synchronise_event(Event event) { check(cudaEventSynchronize(as_event(event)), "synchronise_event"); }

float elapsed_ms(Event from, Event to) {
  float ms = 0;
  check(cudaEventElapsedTime(&ms, as_event(from), as_event(to)), "elapsed_ms");
  return ms;
}

void begin_capture(Stream stream) {
  // Other threads may go on allocating meanwhile.
  check(cudaStreamBeginCapture(as_stream(stream), cudaStreamCaptureModeThreadLocal), "begin_capture");
}

Graph end_capture(Stream stream) {
  cudaGraph_t recorded = nullptr;
  check(cudaStreamEndCapture(as_stream(stream), &recorded), "end_capture");
  cudaGraphExec_t graph = nullptr;
  const cudaError_t status = cudaGraphInstantiate(&graph, recorded, 0);
  const cudaError_t destroyed = cudaGraphDestroy(recorded);
  check(status, "end_capture");
  if (destroyed != cudaSuccess) cudaGraphExecDestroy(graph);
  check(destroyed, "end_capture");
  return graph;
}

void abandon_capture(Stream stream) {
  cudaGraph_t recorded = nullptr;
  cudaStreamEndCapture(as_stream(stream), &recorded);  // a capture that is invalid ends with an error
  if (recorded != nullptr) cudaGraphDestroy(recorded);
  cudaGetLastError();
}

void launch_graph(Graph graph, Stream stream) {
  check(cudaGraphLaunch(as_graph(graph), as_stream(stream)), "launch_graph");
}

void destroy_graph(Graph graph) {
  if (graph != nullptr) check_release(cudaGraphExecDestroy(as_graph(graph)), "destroy_graph");
}

void push_range(const char* name) { nvtxRangePushA(name); }

void pop_range() { nvtxRangePop(); }

}  // namespace reprise::kernels::cuda
