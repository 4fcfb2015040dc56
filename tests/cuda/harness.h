// Every CUDA kernel beside the CPU's: the same tensors on both, the same call, the results compared. The
// tests that use it run on the emulator and on a GPU.
#pragma once

#include <cuda_runtime.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <functional>
#include <initializer_list>
#include <random>
#include <vector>

#include "reprise/kernels/dtype.h"
#include "reprise/kernels/view.h"

namespace reprise::test {

inline void succeed(cudaError_t status) {
  INFO(cudaGetErrorString(status));
  REQUIRE(status == cudaSuccess);
}

/// A queue of each device; CUDA's has a stream and a report of its own, and must not outlive this object.
class Queues {
 public:
  Queues() {
    succeed(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
    succeed(cudaMalloc(reinterpret_cast<void**>(&report_), sizeof(kernels::DeviceReport)));
    succeed(cudaMemset(report_, 0, sizeof(kernels::DeviceReport)));
    succeed(cudaDeviceSynchronize());
  }
  ~Queues() {
    cudaStreamSynchronize(stream_);
    cudaFree(report_);
    cudaStreamDestroy(stream_);
  }
  Queues(const Queues&) = delete;
  Queues& operator=(const Queues&) = delete;

  kernels::Queue cpu() const { return {}; }
  kernels::Queue cuda() const { return {DeviceKind::cuda, stream_, report_, nullptr}; }
  void wait() const { succeed(cudaStreamSynchronize(stream_)); }
  /// What kernels reported; clears it.
  kernels::DeviceReport report() const {
    kernels::DeviceReport report;
    wait();
    succeed(cudaMemcpy(&report, report_, sizeof report, cudaMemcpyDeviceToHost));
    succeed(cudaMemset(report_, 0, sizeof report));
    succeed(cudaDeviceSynchronize());
    return report;
  }

 private:
  cudaStream_t stream_ = nullptr;
  kernels::DeviceReport* report_ = nullptr;
};

/// A tensor that exists on the CPU and on the device, with the same values and layout.
class Twin {
 public:
  using Sizes = std::vector<std::int64_t>;

  /// `offset` elements stand before the first one, which spoils its alignment. Row-major unless `strides`
  /// says otherwise. The memory starts as NaN on both sides.
  explicit Twin(DType dtype, Sizes sizes, Sizes strides = {}, std::int64_t offset = 0)
      : dtype_(dtype), offset_(offset) {
    layout_.rank = static_cast<int>(sizes.size());
    std::int64_t step = 1;
    for (int axis = layout_.rank - 1; axis >= 0; --axis) {
      layout_.sizes[axis] = sizes[static_cast<std::size_t>(axis)];
      layout_.strides[axis] = strides.empty() ? step : strides[static_cast<std::size_t>(axis)];
      step *= layout_.sizes[axis];
    }
    std::int64_t last = 0;
    for (int axis = 0; axis < layout_.rank; ++axis) {
      if (layout_.sizes[axis] > 0) last += (layout_.sizes[axis] - 1) * layout_.strides[axis];
    }
    bytes_ = layout_.numel() == 0 ? 0 : static_cast<std::size_t>(offset + last + 1) * size_of(dtype);
    host_.assign((bytes_ + 7) / 8, ~std::uint64_t{0});
    if (bytes_ > 0) succeed(cudaMalloc(&device_, bytes_));
    upload();
  }
  ~Twin() {
    cudaDeviceSynchronize();
    cudaFree(device_);
  }
  Twin(Twin&& other) noexcept
      : dtype_(other.dtype_),
        layout_(other.layout_),
        offset_(other.offset_),
        bytes_(other.bytes_),
        host_(std::move(other.host_)),
        device_(std::exchange(other.device_, nullptr)) {}
  Twin& operator=(Twin&&) = delete;

  /// The same random values on both sides: normal for floats, small integers otherwise.
  Twin& randomise(unsigned seed, double scale = 1.0) {
    std::mt19937 generator(seed);
    std::normal_distribution<double> normal(0.0, scale);
    return assign(
        [&](std::int64_t) { return is_floating(dtype_) ? normal(generator) : double(generator() % 7); });
  }
  /// Element i, counted through the memory behind the offset, becomes f(i), on both sides.
  Twin& assign(const std::function<double(std::int64_t)>& f) {
    for (std::int64_t i = 0; i < elements(); ++i) set(i, f(i));
    upload();
    return *this;
  }
  void upload() {
    if (bytes_ == 0) return;
    succeed(cudaMemcpy(device_, host_.data(), bytes_, cudaMemcpyHostToDevice));
    succeed(cudaDeviceSynchronize());
  }

  /// The CPU's values in float64, in the same layout: long sums in float32 are no reference for others.
  Twin widened() const {
    Sizes sizes, strides;
    for (int axis = 0; axis < layout_.rank; ++axis) {
      sizes.push_back(layout_.sizes[axis]);
      strides.push_back(layout_.strides[axis]);
    }
    Twin wide(DType::float64, sizes, strides, offset_);
    const std::vector<double> values = cpu_values();
    wide.assign([&](std::int64_t i) { return values[static_cast<std::size_t>(i)]; });
    return wide;
  }

  /// Takes another twin's values on the CPU, rounded; the device keeps its own.
  void take_cpu(const Twin& other) {
    const std::vector<double> values = other.cpu_values();
    for (std::int64_t i = 0; i < elements(); ++i) set(i, values[static_cast<std::size_t>(i)]);
  }

  kernels::View cpu() { return view(host_.data()); }
  kernels::View cuda() { return view(device_); }
  kernels::Target cpu(kernels::Write write) { return {cpu(), write}; }
  kernels::Target cuda(kernels::Write write) { return {cuda(), write}; }

  /// Values of the CPU's and of the device's memory behind the offset.
  std::vector<double> cpu_values() const { return values(reinterpret_cast<const std::byte*>(host_.data())); }
  std::vector<double> cuda_values() const {
    std::vector<std::byte> copy(bytes_);
    succeed(cudaDeviceSynchronize());
    if (bytes_ > 0) succeed(cudaMemcpy(copy.data(), device_, bytes_, cudaMemcpyDeviceToHost));
    return values(copy.data());
  }

  /// Both sides are equal bit for bit.
  void check_equal() const {
    std::vector<std::byte> copy(bytes_);
    succeed(cudaDeviceSynchronize());
    if (bytes_ > 0) succeed(cudaMemcpy(copy.data(), device_, bytes_, cudaMemcpyDeviceToHost));
    CHECK((bytes_ == 0 || std::memcmp(copy.data(), host_.data(), bytes_) == 0));
  }
  /// Both sides agree: |a - b| <= tolerance * max(1, |b|), or, by default, 1e-5 for float32 and wider, 1e-2
  /// for bfloat16, 2e-3 for float16; NaN agrees with NaN.
  void check_close(double tolerance = 0) const { check_close_to(*this, tolerance); }
  /// The device's values agree with the CPU's of another twin.
  void check_close_to(const Twin& reference, double tolerance = 0) const {
    if (tolerance == 0) tolerance = dtype_ == DType::bfloat16 ? 1e-2 : dtype_ == DType::float16 ? 2e-3 : 1e-5;
    const std::vector<double> expected = reference.cpu_values(), found = cuda_values();
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < expected.size(); ++i) {
      const bool same = found[i] == expected[i] || (std::isnan(found[i]) && std::isnan(expected[i])) ||
                        std::abs(found[i] - expected[i]) <= tolerance * std::max(1.0, std::abs(expected[i]));
      if (!same && ++wrong <= 3)
        UNSCOPED_INFO("element " << i << ": cuda " << found[i] << ", expected " << expected[i]);
    }
    CHECK(wrong == 0);
  }

 private:
  std::int64_t elements() const {
    return static_cast<std::int64_t>(bytes_ / size_of(dtype_)) - (bytes_ == 0 ? 0 : offset_);
  }
  kernels::View view(void* memory) const {
    kernels::View result;
    static_cast<kernels::Layout&>(result) = layout_;
    result.dtype = dtype_;
    result.data = memory == nullptr
                      ? nullptr
                      : static_cast<std::byte*>(memory) + static_cast<std::size_t>(offset_) * size_of(dtype_);
    return result;
  }
  void set(std::int64_t i, double value) {
    kernels::dispatch_all(dtype_, [&]<class T>() {
      T element;
      if constexpr (std::is_same_v<T, bfloat16> || std::is_same_v<T, float16>)
        element = T(static_cast<float>(value));
      else
        element = static_cast<T>(value);
      std::memcpy(
          reinterpret_cast<std::byte*>(host_.data()) + static_cast<std::size_t>(offset_ + i) * sizeof(T),
          &element, sizeof(T));
    });
  }
  std::vector<double> values(const std::byte* memory) const {
    std::vector<double> all;
    kernels::dispatch_all(dtype_, [&]<class T>() {
      for (std::int64_t i = 0; i < elements(); ++i) {
        T element;
        std::memcpy(&element, memory + static_cast<std::size_t>(offset_ + i) * sizeof(T), sizeof(T));
        all.push_back(static_cast<double>(static_cast<kernels::Compute<T>>(element)));
      }
    });
    return all;
  }

  DType dtype_;
  kernels::Layout layout_;
  std::int64_t offset_ = 0;
  std::size_t bytes_ = 0;
  std::vector<std::uint64_t> host_;
  void* device_ = nullptr;
};

/// Scratch on both sides, exactly as large as each asks for.
class TwinWorkspace {
 public:
  TwinWorkspace(std::size_t cpu_bytes, std::size_t cuda_bytes)
      : host_((cpu_bytes + 15) / 16 * 16), cuda_bytes_(cuda_bytes) {
    if (cuda_bytes > 0) succeed(cudaMalloc(&device_, cuda_bytes));
  }
  ~TwinWorkspace() {
    cudaDeviceSynchronize();
    cudaFree(device_);
  }
  TwinWorkspace(const TwinWorkspace&) = delete;
  TwinWorkspace& operator=(const TwinWorkspace&) = delete;
  kernels::Workspace cpu() { return {host_.data(), host_.size()}; }
  kernels::Workspace cuda() { return {device_, cuda_bytes_}; }

 private:
  std::vector<std::byte> host_;
  std::size_t cuda_bytes_ = 0;
  void* device_ = nullptr;
};

/// No tolerance: all sums are exact.
inline constexpr double kExactly = 1e-300;

/// For a library's product with exact sums that is added to what is there: on a device cuBLASLt may round the
/// product to 16 bits first (13.1 on an H100 does), which moves the sum by one unit in the last place.
inline double one_more_rounding([[maybe_unused]] DType dtype) {
#if !defined(REPRISE_SIMT)
  if (dtype == DType::bfloat16) return 0x1p-7;
  if (dtype == DType::float16) return 0x1p-10;
#endif
  return kExactly;
}

/// The element types that CUDA kernels train in.
inline constexpr DType kTrained[] = {DType::float32, DType::bfloat16, DType::float16};

}  // namespace reprise::test
