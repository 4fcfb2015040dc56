#include "cli/session.h"

#include <fmt/format.h>
#include <sys/sysinfo.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <future>
#include <system_error>
#include <thread>
#include <vector>

#include "cli/output.h"
#include "reprise/device.h"
#include "reprise/error.h"
#include "reprise/kernels/threads.h"
#include "reprise/memory.h"

namespace reprise::cli {
namespace {

/// Bytes of memory and swap, or what a container allows.
std::int64_t machine_bytes() {
  struct sysinfo machine {};
  if (::sysinfo(&machine) != 0) return INT64_MAX;
  auto bytes = static_cast<std::int64_t>((machine.totalram + machine.totalswap) * machine.mem_unit);
  for (const char* limit : {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}) {
    std::int64_t allowed = 0;
    if (std::ifstream(limit) >> allowed && allowed > 0) bytes = std::min(bytes, allowed);
  }
  return bytes;
}

/// How many of `wanted` threads the machine gives beside this one.
std::size_t threads_given(std::size_t wanted) {
  std::promise<void> done;
  const std::shared_future<void> end = done.get_future().share();
  std::vector<std::thread> threads;
  threads.reserve(wanted);
  try {
    while (threads.size() < wanted) threads.emplace_back([end] { end.wait(); });
  } catch (const std::system_error&) {  // as many as there are
  }
  done.set_value();
  for (std::thread& thread : threads) thread.join();
  return threads.size();
}

}  // namespace

void set_threads(const RunOptions& options) {
  if (!options.threads) return;
  const auto wanted = static_cast<std::size_t>(*options.threads);
  if (wanted > std::thread::hardware_concurrency()) {
    const std::size_t given = 1 + threads_given(wanted - 1);
    if (given < wanted) {
      throw ValueError(fmt::format("[{}] --threads {}: this machine gives {} at most", options.model,
                                   *options.threads, given));
    }
  }
  kernels::set_num_threads(*options.threads);
  if (const int available = kernels::num_threads(); available < *options.threads) {
    complain(fmt::format("{} of {} threads: OMP_THREAD_LIMIT or OMP_MAX_ACTIVE_LEVELS allows no more",
                         available, *options.threads));
  }
}

std::size_t capacity_of(const RunOptions& options) {
  return options.capacity_mib ? static_cast<std::size_t>(*options.capacity_mib) << 20 : kUnlimited;
}

std::shared_ptr<Pool> make_pool(const RunOptions& options, std::shared_ptr<const MemoryPlan> plan) {
  std::unique_ptr<Source> source = source_of(default_device());
  if (options.capacity_mib) source = limited_source(std::move(source), capacity_of(options));
  PoolOptions pool_options;
  pool_options.plan = std::move(plan);
  return std::make_shared<Pool>(std::move(source), std::move(pool_options));
}

void begin(const RunOptions& options) {
  set_threads(options);
  set_default_device(parse_device(options.device));
  if (options.graph && default_device().kind != DeviceKind::cuda)
    throw ValueError(fmt::format("[{}] --graph needs --device cuda", options.model));
  set_default_pool(make_pool(options));
}

void require_memory(const RunOptions& options, std::int64_t needed) {
  const std::int64_t there = machine_bytes();
  if (needed <= there) return;
  throw Error(
      fmt::format("[{}] a step takes {}, and this machine has {}; use a smaller model or batch, or "
                  "--segments (reprise predict says what fits)",
                  options.model, format_bytes(needed), format_bytes(there)));
}

void complain_about(std::string_view what, std::string_view why) {
  complain(fmt::format("{} failed, the work before it did not: {}", what, why));
}

std::string remark_on_loss(double loss) {
  constexpr double kMostPlausible = 1e6;
  if (loss <= kMostPlausible) return {};
  return fmt::format(
      "the last loss is {:.3g}: the run has diverged; a lower --lr or --clip, or a longer --warmup, "
      "may help",
      loss);
}

double now_ms() {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace reprise::cli
