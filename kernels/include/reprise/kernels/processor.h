// Whether this processor has the instructions that Reprise was compiled for (REPRISE_CPU_ARCH).
#pragma once

namespace reprise::kernels {

/// One line that names the instructions which this build uses and this processor lacks, and what to do; empty
/// where it lacks none.
const char* missing_instructions() noexcept;

/// Throws DeviceError with that line, where there is one.
void require_processor();

}  // namespace reprise::kernels
