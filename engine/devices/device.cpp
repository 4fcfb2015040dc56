#include "reprise/device.h"

#include <fmt/format.h>

#include <charconv>

#include "devices/cuda_state.h"
#include "reprise/context.h"

namespace reprise {

Device parse_device(std::string_view text) {
  if (text == "cpu") return Device::cpu();
  if (text == "cuda") return Device::cuda();
  constexpr std::string_view kPrefix = "cuda:";
  if (text.starts_with(kPrefix)) {
    const std::string_view digits = text.substr(kPrefix.size());
    int index = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), index);
    if (error == std::errc() && end == digits.data() + digits.size() && index >= 0 && index < 64)
      return Device::cuda(index);
  }
  throw ValueError(fmt::format("[device] '{}' is no device; give cpu, cuda or cuda:N", text));
}

int cuda_device_count() { return kernels::cuda::device_count(); }

void require_device(Device device) {
  if (device.kind == DeviceKind::cpu || device.is_dry) return;
  const int count = cuda_device_count();
  if (device.index < count) return;
  if (count > 0) {
    throw DeviceError(fmt::format("[device] no {}: this machine has cuda:0{}", to_string(device),
                                  count > 1 ? fmt::format(" to cuda:{}", count - 1) : ""));
  }
  throw DeviceError(
      fmt::format("[device] no {}: {}", to_string(device), kernels::cuda::unavailable_reason()));
}

Device default_device() { return context().device; }

void set_default_device(Device device) {
  require_device(device);
  context().device = device;
}

namespace {

Device checked(Device device) {
  require_device(device);
  return device;
}

detail::ScopedValue<Device>*& innermost() {
  static constinit thread_local detail::ScopedValue<Device>* scope = nullptr;
  return scope;
}

}  // namespace

OnDevice::OnDevice(Device device) : scope_(context().device, innermost(), checked(device)) {}

void synchronise(Device device) {
  if (device.kind == DeviceKind::cuda && !device.is_dry && detail::has_cuda_state(device.index))
    detail::cuda_state(device.index).synchronise();
}

kernels::Queue queue_of(Device device) {
  if (device.is_dry) return {.device = device.kind, .dry = true};
  return device.kind == DeviceKind::cpu ? kernels::Queue{} : detail::cuda_state(device.index).queue();
}

}  // namespace reprise
