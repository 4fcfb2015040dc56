// Which devices there are, and where new tensors go.
#pragma once

#include <string>
#include <string_view>

#include "reprise/detail/scoped_value.h"
#include "reprise/shape.h"

namespace reprise {

/// Reads "cpu", "cuda" or "cuda:1"; throws ValueError for anything else.
Device parse_device(std::string_view text);

/// CUDA devices that this program can use: 0 without a GPU, a driver or the backend.
int cuda_device_count();

/// Throws DeviceError, saying what is missing, unless the device can be used.
void require_device(Device device);

/// Makes `device` this thread's default; throws DeviceError when it cannot be used.
void set_default_device(Device device);

/// Makes a device this thread's default for as long as it lives; the innermost open one decides, in whatever
/// order they close. Throws DeviceError when the device cannot be used.
class OnDevice {
 public:
  explicit OnDevice(Device device);

 private:
  detail::ScopedValue<Device> scope_;
};

/// Waits until the device has done all it was given; throws what went wrong there, such as an id outside an
/// embedding. The CPU is never waited for.
void synchronise(Device device = default_device());

/// How often the host has waited for a device in this process: a training step waits when it reads a value,
/// and never else.
std::int64_t synchronisations();

/// The queue that this thread's work on `device` goes to.
kernels::Queue queue_of(Device device);

}  // namespace reprise
