#include "cli/session.h"

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <csignal>

#include "reprise/device.h"
#include "reprise/error.h"
#include "reprise/kernels/threads.h"
#include "reprise/memory.h"

namespace reprise::cli {
namespace {

volatile std::sig_atomic_t stop_requested = 0;

void request_stop(int signal) {
  // A second Ctrl-C ends the program the hard way.
  stop_requested = 1;
  std::signal(signal, SIG_DFL);
}

}  // namespace

bool interrupted() { return stop_requested != 0; }

void require_writable(const std::filesystem::path& path) {
  if (path.empty()) return;
  const std::filesystem::path folder =
      path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
  std::error_code error;
  if (std::filesystem::is_directory(path, error))
    throw Error(fmt::format("[output] {} is a folder; name a file", path.string()));
  if (!std::filesystem::is_directory(folder, error)) {
    throw Error(fmt::format("[output] there is no folder {}; make it first", folder.string()));
  }
  const std::filesystem::path probe = std::filesystem::exists(path, error) ? path : folder;
  if (access(probe.c_str(), W_OK) != 0)
    throw Error(fmt::format("[output] {} is not writable", probe.string()));
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
  if (options.threads) kernels::set_num_threads(*options.threads);
  require_writable(options.json);
  set_default_device(parse_device(options.device));
  if (options.graph && default_device().kind != DeviceKind::cuda)
    throw ValueError(fmt::format("[{}] --graph needs --device cuda", options.model));
  set_default_pool(make_pool(options));
  std::signal(SIGINT, request_stop);
  std::signal(SIGTERM, request_stop);
}

double now_ms() {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace reprise::cli
