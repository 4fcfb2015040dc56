// Arrays in device memory for the tests of the stand-in libraries: values in double, elements of any type.
#pragma once

#include <catch2/catch.hpp>

#include <cstdint>
#include <random>
#include <vector>

#include "runtime_kernels.h"
#include "simt/runtime/elements.h"

namespace runtime_test {

/// Values as the element type can hold them.
inline std::vector<double> random_values(std::size_t count, cudaDataType type, unsigned seed) {
  std::mt19937 generator(seed);
  std::uniform_real_distribution<float> number(-1, 1);
  std::vector<double> values(count);
  simt::runtime::with_element(type, [&](auto element) {
    for (double& value : values) {
      value =
          simt::runtime::to_number<double>(simt::runtime::from_number<decltype(element)>(number(generator)));
    }
  });
  return values;
}

/// Relative error of one rounding to the type.
inline double rounding(cudaDataType type) {
  return type == CUDA_R_64F ? 1e-14 : type == CUDA_R_32F ? 1e-6 : type == CUDA_R_16F ? 1e-3 : 8e-3;
}

/// An array in device memory; NaN where it was not filled.
class DeviceArray {
 public:
  DeviceArray(std::size_t count, cudaDataType type) : count_(count), type_(type) {
    REQUIRE(cudaMalloc(&data_, bytes()) == cudaSuccess);
  }
  DeviceArray(const std::vector<double>& values, cudaDataType type) : DeviceArray(values.size(), type) {
    std::vector<char> host(bytes());
    simt::runtime::with_element(type, [&](auto element) {
      auto* to = reinterpret_cast<decltype(element)*>(host.data());
      for (const double value : values) *to++ = simt::runtime::from_number<decltype(element)>(value);
    });
    REQUIRE(cudaMemcpy(data_, host.data(), host.size(), cudaMemcpyHostToDevice) == cudaSuccess);
  }
  ~DeviceArray() {
    simt::runtime::drain();
    cudaFree(data_);
  }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;

  void* get() const { return data_; }
  std::size_t bytes() const { return count_ * simt::runtime::element_bytes(type_); }

  std::vector<char> raw() const {
    std::vector<char> host(bytes());
    CHECK(cudaDeviceSynchronize() == cudaSuccess);
    CHECK(cudaMemcpy(host.data(), data_, host.size(), cudaMemcpyDeviceToHost) == cudaSuccess);
    return host;
  }

  std::vector<double> values() const {
    const std::vector<char> host = raw();
    std::vector<double> values(count_);
    simt::runtime::with_element(type_, [&](auto element) {
      const auto* from = reinterpret_cast<const decltype(element)*>(host.data());
      for (double& value : values) value = simt::runtime::to_number<double>(*from++);
    });
    return values;
  }

 private:
  std::size_t count_;
  cudaDataType type_;
  void* data_ = nullptr;
};

}  // namespace runtime_test
