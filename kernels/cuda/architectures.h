// The architectures that kernels were compiled for, as CMake writes them: "80;90-virtual".
#pragma once

#include <string>
#include <string_view>

namespace reprise::kernels::cuda {

/// Stands for the list of a program whose kernels run on the CPU.
inline constexpr std::string_view kEmulated = "emulated";

/// A compute capability, such as 9.0.
struct Capability {
  int major = 0, minor = 0;
  std::string digits() const { return std::to_string(major * 10 + minor); }
};

/// Whether a program with this list has code that the device can run: binary code of the same major and no
/// later minor version, or PTX of at most its version. A list that depends on the machine that compiled
/// ("native", "all", "all-major") is taken to fit.
bool runs_on(std::string_view architectures, Capability device);

/// The list for people to read: "sm_80, sm_90, PTX 9.0".
std::string describe(std::string_view architectures);

}  // namespace reprise::kernels::cuda
