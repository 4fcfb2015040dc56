// What the engine keeps for a CUDA device: its two streams, what its kernels report, and host memory for
// copies.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "reprise/kernels/device.h"

namespace reprise::detail {

/// Page-locked host memory that copies go through, reused as soon as the copy that read it has happened.
class Staging {
 public:
  struct Buffer {
    Buffer() = default;
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    ~Buffer();

    void* data = nullptr;
    std::size_t bytes = 0;
    kernels::cuda::Event copied = nullptr;
    bool used = false;  // the event was recorded
  };

  /// A buffer of at least `bytes` bytes that no copy reads any more; waits for one where there are enough.
  Buffer& take(std::size_t bytes);

 private:
  Buffer& add(std::size_t bytes);
  std::vector<std::unique_ptr<Buffer>> buffers_;
};

/// Made at the first use of a device.
class CudaState {
 public:
  explicit CudaState(int device);
  CudaState(const CudaState&) = delete;
  CudaState& operator=(const CudaState&) = delete;
  ~CudaState();

  kernels::Queue queue() const { return {DeviceKind::cuda, compute_, report_, node_offset_}; }
  kernels::cuda::Stream compute() const { return compute_; }

  /// Copies host memory to the device; the host memory may be changed when this returns.
  void upload(void* to, const void* from, std::size_t bytes);
  /// Copies from the device; waits for it, and throws what its kernels reported.
  void download(void* to, const void* from, std::size_t bytes);
  /// Waits, and throws what kernels reported.
  void synchronise();

  /// Records the compute stream's work from here on; `node_offset`, on the device, is what every RandomKey's
  /// node will be raised by when it runs. Copies from and to the host throw meanwhile.
  void begin_capture(const std::uint64_t* node_offset);
  kernels::cuda::Graph end_capture();
  void abandon_capture() noexcept;

 private:
  void wait_and_check();
  void refuse_in_capture(const char* what) const;

  /// A state of nothing: what the other constructor has made so far goes with it when that throws.
  CudaState(int device, std::nullptr_t) noexcept : device_(device) {}

  int device_;
  kernels::cuda::Stream compute_ = nullptr, copy_ = nullptr;
  kernels::cuda::Event computed_ = nullptr, copied_ = nullptr;
  kernels::DeviceReport* report_ = nullptr;       // on the device
  kernels::DeviceReport* report_copy_ = nullptr;  // page-locked
  const std::uint64_t* node_offset_ = nullptr;
  bool capturing_ = false;
  Staging staging_;
  std::mutex mutex_;
};

/// The state of a device, made where it is new. Throws DeviceError where the device cannot be used.
CudaState& cuda_state(int device);

/// True when the device has a state.
bool has_cuda_state(int device) noexcept;

/// Waits for the device and gives everything back to it; its tensors must be gone, and its pool goes too.
/// What its kernels reported is forgotten. For tests that count what is left.
void forget_cuda_state(int device);

}  // namespace reprise::detail
