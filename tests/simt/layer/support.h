// What the layer's own tests share: device arrays, launches that may fail, and what a report must say.
#pragma once

#include <cuda_runtime.h>

#include <catch2/catch.hpp>
#include <functional>
#include <string>
#include <vector>

#include "simt/runtime/control.h"
#include "simt/simt.h"

namespace simt_test {

template <class T>
class DeviceArray {
 public:
  explicit DeviceArray(std::size_t count) : count_(count) {
    REQUIRE(cudaMalloc(reinterpret_cast<void**>(&data_), count * sizeof(T)) == cudaSuccess);
  }
  explicit DeviceArray(const std::vector<T>& values) : DeviceArray(values.size()) {
    REQUIRE(cudaMemcpy(data_, values.data(), count_ * sizeof(T), cudaMemcpyHostToDevice) == cudaSuccess);
  }
  ~DeviceArray() { cudaFree(data_); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;

  operator T*() const { return data_; }
  std::vector<T> host() const {
    std::vector<T> values(count_);
    REQUIRE(cudaMemcpy(values.data(), data_, count_ * sizeof(T), cudaMemcpyDeviceToHost) == cudaSuccess);
    return values;
  }

 private:
  T* data_ = nullptr;
  std::size_t count_;
};

template <class T>
std::vector<T> zeros(std::size_t count) {
  return std::vector<T>(count, T{});
}

/// Puts the configuration back.
class ConfigGuard {
 public:
  ConfigGuard() : saved_(simt::config) { simt::config.abort_on_error = simt::config.print_faults = false; }
  ~ConfigGuard() { simt::config = saved_; }
  ConfigGuard(const ConfigGuard&) = delete;
  ConfigGuard& operator=(const ConfigGuard&) = delete;

 private:
  simt::Config saved_;
};

struct Outcome {
  cudaError_t error = cudaSuccess;
  std::string report;
};

/// Runs a kernel to its end; a fault is returned rather than fatal.
template <class... Params>
Outcome run(void (*kernel)(Params...), dim3 grid, dim3 block, std::size_t shared_bytes,
            std::type_identity_t<Params>... args) {
  const ConfigGuard guard;
  simt::last_error.clear();
  Outcome outcome;
  outcome.error = simt::launch(kernel, grid, block, shared_bytes, nullptr, args...);
  if (outcome.error == cudaSuccess) outcome.error = cudaDeviceSynchronize();
  outcome.report = simt::last_error;
  if (outcome.error != cudaSuccess) simt::runtime::reset();
  return outcome;
}

/// What a report must say; empty parts are not asked for.
struct Expected {
  std::string kind, kernel{}, block{}, thread{}, line{}, text{};
};
void check_report(const std::string& report, const Expected& expected);

inline void check_fault(const Outcome& outcome, const Expected& expected) {
  CHECK(outcome.error == cudaErrorLaunchFailure);
  check_report(outcome.report, expected);
}
inline void check_clean(const Outcome& outcome) {
  CHECK(outcome.error == cudaSuccess);
  CHECK(outcome.report == "");
}

/// What a child process wrote to stderr while it ran `body`: for faults that end the process.
std::string stderr_of_child(const std::function<void()>& body);

/// What this test program prints when it runs one of its tests with a variable set in the environment.
std::string output_of_test(const std::string& environment, const std::string& test);

inline bool in_race_mode() { return simt::mode() == simt::Mode::race; }
inline bool in_asan_mode() { return simt::mode() == simt::Mode::asan; }

/// "file.cu:12" for a line of this file.
#define SIMT_TEST_LINE(line) (simt_test::file_name(__FILE__) + ":" + std::to_string(line))
inline std::string file_name(const std::string& path) { return path.substr(path.rfind('/') + 1); }

}  // namespace simt_test
