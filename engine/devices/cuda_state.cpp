#include "devices/cuda_state.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>

#include "reprise/device.h"
#include "reprise/memory.h"

namespace reprise::detail {
namespace {

namespace cuda = kernels::cuda;

constexpr std::size_t kChunk = std::size_t{16} << 20;  // of one copy through staging memory
constexpr std::size_t kSmallestStaging = std::size_t{64} << 10;
constexpr std::size_t kMostStaging = 8;  // buffers, after which copies wait for one
constexpr std::size_t kMostDevices = 64;

std::atomic<std::int64_t> waits{0};

struct States {
  std::mutex mutex;
  std::array<std::unique_ptr<CudaState>, kMostDevices> of_device;
  std::array<std::atomic<CudaState*>, kMostDevices> made{};
};

/// Never destroyed: the driver may be gone before static storage is.
States& states() {
  static auto& made = *new States;
  return made;
}

[[noreturn]] void throw_fault(const kernels::DeviceReport& report) {
  const bool embedding = report.fault == kernels::DeviceFault::embedding_id;
  throw ValueError(fmt::format(
      "[{}] {} {} is outside [0, {}); found when the device was next waited for, so that results since then "
      "are of no use",
      embedding ? "embedding" : "cross_entropy", embedding ? "id" : "target", report.value, report.bound));
}

/// For the end of something, and after an error: nobody is left to be told, or was told already.
template <class F>
void quietly(F&& f) noexcept {
  try {
    f();
  } catch (const Error&) {  // NOLINT(bugprone-empty-catch)
  }
}

/// Does `f`, which queues copies between host memory and the device; when it throws, the copies that it has
/// queued have happened, so that both memories can be used for something else.
template <class F>
void copy_or_settle(cuda::Stream stream, F&& f) {
  try {
    f();
  } catch (const Error&) {
    quietly([&] { cuda::synchronise(stream); });
    throw;
  }
}

}  // namespace

Staging::Buffer::~Buffer() {
  quietly([&] { cuda::destroy_event(copied); });
  quietly([&] { cuda::release_pinned(data); });
}

Staging::Buffer& Staging::add(std::size_t bytes) {
  auto buffer = std::make_unique<Buffer>();
  buffer->bytes = std::max(bytes, kSmallestStaging);
  buffer->copied = cuda::create_event(false);
  buffer->data = cuda::allocate_pinned(buffer->bytes);
  if (buffer->data == nullptr) {
    throw OutOfMemory(fmt::format("[memory] the host has no {} of page-locked memory for a copy",
                                  format_bytes(buffer->bytes)));
  }
  buffers_.push_back(std::move(buffer));
  return *buffers_.back();
}

Staging::Buffer& Staging::take(std::size_t bytes) {
  Buffer* busy = nullptr;
  for (const auto& buffer : buffers_) {
    if (buffer->bytes < bytes) continue;
    if (!buffer->used || cuda::event_happened(buffer->copied)) return *buffer;
    busy = busy == nullptr ? buffer.get() : busy;
  }
  if (busy == nullptr || buffers_.size() < kMostStaging) return add(bytes);
  ++waits;
  cuda::synchronise_event(busy->copied);
  return *busy;
}

CudaState::CudaState(int device) : CudaState(device, nullptr) {
  compute_ = cuda::create_stream(device);
  copy_ = cuda::create_stream(device);
  computed_ = cuda::create_event(false);
  copied_ = cuda::create_event(false);
  report_ = static_cast<kernels::DeviceReport*>(cuda::allocate(device, sizeof(kernels::DeviceReport)));
  report_copy_ = static_cast<kernels::DeviceReport*>(cuda::allocate_pinned(sizeof(kernels::DeviceReport)));
  if (report_ == nullptr || report_copy_ == nullptr)
    throw OutOfMemory(fmt::format("[device] cuda:{} has no memory left at all", device));
  cuda::fill_bytes(report_, 0, sizeof(kernels::DeviceReport), compute_);
}

CudaState::~CudaState() {
  if (compute_ != nullptr) quietly([&] { cuda::synchronise(compute_); });
  if (copy_ != nullptr) quietly([&] { cuda::synchronise(copy_); });
  quietly([&] { cuda::release(device_, report_); });
  quietly([&] { cuda::release_pinned(report_copy_); });
  for (cuda::Event* event : {&computed_, &copied_}) {
    if (*event != nullptr) quietly([&] { cuda::destroy_event(std::exchange(*event, nullptr)); });
  }
  for (cuda::Stream* stream : {&compute_, &copy_}) {
    if (*stream != nullptr) quietly([&] { cuda::destroy_stream(std::exchange(*stream, nullptr)); });
  }
}

void CudaState::upload(void* to, const void* from, std::size_t bytes) {
  if (bytes == 0) return;
  refuse_in_capture("takes data from the host");
  const std::lock_guard guard(mutex_);
  // The memory may still be read by what runs on the compute stream, which was its owner until now.
  cuda::record_event(computed_, compute_);
  cuda::wait_event(copy_, computed_);
  copy_or_settle(copy_, [&] {
    for (std::size_t done = 0; done < bytes; done += kChunk) {
      const std::size_t size = std::min(kChunk, bytes - done);
      Staging::Buffer& buffer = staging_.take(size);
      std::memcpy(buffer.data, static_cast<const std::byte*>(from) + done, size);
      cuda::copy_bytes(static_cast<std::byte*>(to) + done, buffer.data, size, cuda::CopyKind::host_to_device,
                       copy_);
      cuda::record_event(buffer.copied, copy_);
      buffer.used = true;
    }
    cuda::record_event(copied_, copy_);
    cuda::wait_event(compute_, copied_);
  });
}

void CudaState::download(void* to, const void* from, std::size_t bytes) {
  refuse_in_capture("reads a value");
  const std::lock_guard guard(mutex_);
  for (std::size_t done = 0; done < bytes; done += kChunk) {
    const std::size_t size = std::min(kChunk, bytes - done);
    Staging::Buffer& buffer = staging_.take(size);
    copy_or_settle(compute_, [&] {
      cuda::copy_bytes(buffer.data, static_cast<const std::byte*>(from) + done, size,
                       cuda::CopyKind::device_to_host, compute_);
      wait_and_check();
    });
    std::memcpy(static_cast<std::byte*>(to) + done, buffer.data, size);
  }
}

void CudaState::refuse_in_capture(const char* what) const {
  if (!capturing_) return;
  throw DeviceError(fmt::format(
      "[capture] the work {}, which a CUDA graph cannot repeat; do that outside, before or after it", what));
}

void CudaState::begin_capture(const std::uint64_t* node_offset) {
  refuse_in_capture("captures other work");
  cuda::begin_capture(compute_);
  capturing_ = true;
  node_offset_ = node_offset;
}

cuda::Graph CudaState::end_capture() {
  capturing_ = false;
  node_offset_ = nullptr;
  return cuda::end_capture(compute_);
}

void CudaState::abandon_capture() noexcept {
  capturing_ = false;
  node_offset_ = nullptr;
  cuda::abandon_capture(compute_);
}

void CudaState::synchronise() {
  refuse_in_capture("waits for the device");
  const std::lock_guard guard(mutex_);
  wait_and_check();
}

void CudaState::wait_and_check() {
  cuda::copy_bytes(report_copy_, report_, sizeof(kernels::DeviceReport), cuda::CopyKind::device_to_host,
                   compute_);
  ++waits;
  cuda::synchronise(compute_);
  if (report_copy_->fault == kernels::DeviceFault::none) return;
  cuda::fill_bytes(report_, 0, sizeof(kernels::DeviceReport), compute_);
  throw_fault(*report_copy_);
}

CudaState& cuda_state(int device) {
  States& all = states();
  const auto place = static_cast<std::size_t>(device);
  if (CudaState* const made = all.made.at(place).load(std::memory_order_acquire)) {
    cuda::use_device(device);
    return *made;
  }
  require_device(Device::cuda(device));
  const std::lock_guard guard(all.mutex);
  if (all.of_device[place] == nullptr) {
    all.of_device[place] = std::make_unique<CudaState>(device);
    all.made[place].store(all.of_device[place].get(), std::memory_order_release);
  }
  return *all.of_device[place];
}

bool has_cuda_state(int device) noexcept {
  return states().made.at(static_cast<std::size_t>(device)).load(std::memory_order_acquire) != nullptr;
}

void forget_cuda_state(int device) {
  States& all = states();
  set_default_pool(nullptr, Device::cuda(device));
  const std::lock_guard guard(all.mutex);
  all.made[static_cast<std::size_t>(device)].store(nullptr, std::memory_order_release);
  all.of_device[static_cast<std::size_t>(device)].reset();
}

}  // namespace reprise::detail

namespace reprise {

std::int64_t synchronisations() { return detail::waits.load(std::memory_order_relaxed); }

}  // namespace reprise
