// reprise info: what this program was built with, and what it finds on this machine.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "cli/options.h"
#include "cli/output.h"
#include "reprise/kernels/device.h"
#include "reprise/kernels/matmul.h"
#include "reprise/kernels/threads.h"
#include "reprise/reprise.h"

namespace reprise::cli {

int info() {
  say("reprise {}\n", REPRISE_VERSION);
  say("cpu      {} threads, matrix products by {}\n", kernels::num_threads(), kernels::matmul_library());
  const kernels::cuda::Build build = kernels::cuda::build();
  if (build.present)
    say("cuda     built for {}; {}\n", build.architectures, fmt::join(build.libraries, ", "));
  const std::string reason = kernels::cuda::unavailable_reason();
  if (!reason.empty()) say("{}{}\n", build.present ? "         " : "cuda     ", reason);
  for (int i = 0; i < cuda_device_count(); ++i) {
    const kernels::cuda::DeviceInfo device = kernels::cuda::device_info(i);
    const kernels::cuda::MemoryInfo memory = kernels::cuda::memory_info(i);
    say("cuda:{}   {}, sm_{}{}, {} multiprocessors, {} free of {}\n", i, device.name, device.major,
        device.minor, device.multiprocessors, format_bytes(memory.free_bytes),
        format_bytes(memory.total_bytes));
  }
  return 0;
}

}  // namespace reprise::cli
