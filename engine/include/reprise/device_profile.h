// What is known of a device that need not be there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "reprise/memory/source.h"

namespace reprise {

struct DeviceProfile {
  std::string name = "cpu";
  /// Whose decisions and library workspaces: those of the CPU backend or of the CUDA backend.
  DeviceKind kind = DeviceKind::cpu;
  /// What a pool may take from it. For a GPU: its memory less what the driver and a context keep.
  std::size_t capacity_bytes = kUnlimited;
  /// Peak rates of matrix products and of memory, for estimates of what recomputation costs.
  double flops_32_bit = 1e11;
  double flops_16_bit = 1e11;
  double bytes_per_second = 2e10;
  /// What the driver's context and the libraries take of the device beside the pool; 0 where not known.
  std::size_t bytes_beside_pool = 0;

  bool operator==(const DeviceProfile&) const = default;
};

/// Reads "cpu", "h200", "h100", "a100", "rtx4090" or a capacity such as "24GiB" or "800MB" (a GPU whose pool
/// may take so much); throws ValueError for anything else.
DeviceProfile parse_profile(std::string_view text);

/// The profile of a dry device.
const DeviceProfile& profile_of(Device device);

}  // namespace reprise
