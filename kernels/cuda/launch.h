// What every launcher of a CUDA kernel uses beside host.h: launches, grids, element types.
#pragma once

#include <algorithm>
#include <cstdint>

#include "cuda/host.h"
#include "reprise/kernels/dtype.h"
#include "reprise/kernels/view.h"
#include "simt/simt.h"

namespace reprise::kernels::cuda {

/// Launches `kernel` on the queue's stream; nothing happens for an empty grid.
template <class... Parameters, class... Arguments>
void launch(const char* operation, const Queue& queue, void (*kernel)(Parameters...), dim3 grid, dim3 block,
            std::size_t shared_bytes, const Arguments&... arguments) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
  check(simt::launch(kernel, grid, block, shared_bytes, stream_of(queue), arguments...), operation);
}

/// Lets `kernel` use more than 48 KiB of dynamic shared memory. Throws DeviceError, naming the size that asks
/// for them ("head size 128"), where this device does not have as many.
template <class... Parameters>
void allow_shared_bytes(const char* operation, const std::string& size, void (*kernel)(Parameters...),
                        std::size_t bytes) {
  const std::size_t available = max_shared_bytes(operation);
  if (bytes > available) {
    throw DeviceError(std::string("[") + operation + "] " + size + " needs " + std::to_string(bytes) +
                      " bytes of shared memory in a block, this device has " + std::to_string(available) +
                      "; make it smaller or use the CPU");
  }
  check(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                             cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)),
        operation);
}

/// A one-dimensional grid for `items`, `per_block` each, of at most `waves` full loads of the device: kernels
/// loop over what is left (grid stride).
inline unsigned grid_of(std::int64_t items, std::int64_t per_block, int waves = 16) {
  return static_cast<unsigned>(
      std::min(ceil_div(items, per_block), static_cast<std::int64_t>(multiprocessors()) * waves));
}

/// Calls `f.template operator()<T>()` with the device's type for float32, bfloat16 and float16.
template <class F>
void dispatch_trained(const char* operation, DType dtype, F&& f) {
  switch (dtype) {
    case DType::float32:
      return f.template operator()<float>();
    case DType::bfloat16:
      return f.template operator()<__nv_bfloat16>();
    case DType::float16:
      return f.template operator()<__half>();
    default:
      refuse(operation, dtype);
  }
}

/// Calls `f.template operator()<T>()` with the device's type for any element type.
template <class F>
void dispatch_any(DType dtype, F&& f) {
  switch (dtype) {
    case DType::float64:
      return f.template operator()<double>();
    case DType::int32:
      return f.template operator()<std::int32_t>();
    case DType::int64:
      return f.template operator()<std::int64_t>();
    case DType::boolean:
      return f.template operator()<bool>();
    default:
      return dispatch_trained("dispatch", dtype, f);
  }
}

}  // namespace reprise::kernels::cuda
