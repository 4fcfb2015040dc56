// How a kernel of a contract header reaches its backend.
#pragma once

#include "reprise/kernels/view.h"

namespace reprise::kernels {

constexpr DeviceKind device_of(const Queue& queue) { return queue.device; }
constexpr DeviceKind device_of(DeviceKind device) { return device; }
constexpr bool is_dry(const Queue& queue) { return queue.dry; }
constexpr bool is_dry(DeviceKind) { return false; }

/// A function of a contract: called like one, it runs on the device that its first argument names. On a
/// dry queue it does nothing; how much workspace it takes is known all the same.
template <class Signature>
struct Kernel;

template <class Result, class First, class... Rest>
struct Kernel<Result(First, Rest...)> {
  Result (*on_cpu)(First, Rest...);
  Result (*on_cuda)(First, Rest...);

  Result operator()(First first, Rest... rest) const {
    if (is_dry(first)) return Result();
    return (device_of(first) == DeviceKind::cpu ? on_cpu : on_cuda)(first, rest...);
  }
};

}  // namespace reprise::kernels

/// Declares `name` for the CPU and for CUDA, and `kernels::name`, which chooses between them.
#ifndef REPRISE_KERNEL
#define REPRISE_KERNEL(Result, name, ...) \
  namespace cpu {                         \
  Result name(__VA_ARGS__);               \
  }                                       \
  namespace cuda {                        \
  Result name(__VA_ARGS__);               \
  }                                       \
  inline constexpr Kernel<Result(__VA_ARGS__)> name { &cpu::name, &cuda::name }
#endif

/// Declares how much scratch a kernel takes on the CPU and on CUDA, and `kernels::name` as above. It follows
/// from the views alone (an address counts by its alignment) and is known in every program: without the CUDA
/// backend too, and without a device.
#define REPRISE_WORKSPACE_QUERY(name, ...) \
  namespace cpu {                          \
  std::size_t name(__VA_ARGS__);           \
  }                                        \
  namespace cuda {                         \
  std::size_t name(__VA_ARGS__);           \
  }                                        \
  inline constexpr Kernel<std::size_t(__VA_ARGS__)> name { &cpu::name, &cuda::name }
