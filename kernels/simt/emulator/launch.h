// simt::launch on the CPU: binds the arguments and hands the launch to the stand-in runtime's streams.
#pragma once

#include "simt/emulator/thread.h"
#include "simt/seam.h"

namespace simt {

/// The kernel's name as written in the source, with template arguments, from the program's symbol table.
const char* kernel_name(const void* function);

namespace detail {

template <class T>
SIMT_PRIMITIVE inline bool argument_is_good(const T& argument, const char* name, int index) {
  if constexpr (std::is_pointer_v<T>) {
    return argument == nullptr || check_pointer_argument(argument, name, index);
  } else {
    return true;
  }
}

}  // namespace detail

/// Launches a kernel on a stream; returns the error of the launch itself.
template <class... Params>
SIMT_PRIMITIVE inline cudaError_t launch(void (*kernel)(Params...), dim3 grid_dim, dim3 block_dim,
                                         std::size_t shared_bytes, cudaStream_t stream,
                                         std::type_identity_t<Params>... args) {
  const void* function = reinterpret_cast<const void*>(kernel);
  const char* name = kernel_name(function);
  [[maybe_unused]] int index = 0;
  bool good = true;
  ((good = detail::argument_is_good(args, name, index++) && good), ...);
  if (!good) return cudaErrorInvalidValue;
  auto bound = [kernel, args...]() SIMT_PRIMITIVE { kernel(args...); };
  using Bound = decltype(bound);
  Launch launch;
  launch.call = [](const void* parameters) SIMT_PRIMITIVE { (*static_cast<const Bound*>(parameters))(); };
  launch.parameters = new Bound(bound);
  launch.grid = grid_dim;
  launch.block = block_dim;
  launch.shared_bytes = shared_bytes;
  launch.name = name;
  launch.function = function;
  return enqueue_kernel(
      launch, [](void* parameters) { delete static_cast<Bound*>(parameters); }, stream);
}

}  // namespace simt
