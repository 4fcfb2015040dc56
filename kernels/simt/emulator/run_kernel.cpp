// A launch: all blocks of the grid, one after another.
#include <cstdlib>
#include <numeric>
#include <string_view>
#include <utility>
#include <vector>

#include "simt/emulator/asan.h"
#include "simt/emulator/block.h"
#include "simt/emulator/clocks.h"
#include "simt/emulator/diagnostics.h"
#include "simt/emulator/fibers.h"
#include "simt/emulator/signals.h"

namespace simt {

const Launch* launch_now = nullptr;
bool kernel_failed = false;
RaceHooks race_hooks;

namespace {

Config config_from_environment() {
  Config c;
  const auto is = [](const char* variable, std::string_view value) {
    const char* text = std::getenv(variable);
    return text != nullptr && text == value;
  };
  if (is("SIMT_ORDER", "reverse")) c.order = Order::reverse;
  if (is("SIMT_ORDER", "random")) c.order = Order::random;
  if (const char* seed = std::getenv("SIMT_SEED")) c.seed = std::strtoull(seed, nullptr, 10);
  c.strict_exit = is("SIMT_STRICT_EXIT", "1");
  c.late_cp_async = !is("SIMT_CP_ASYNC", "early");
  return c;
}

/// The limits of a device on the shape of a launch; empty when it fits.
std::string shape_fault(const Launch& launch) {
  const dim3 b = launch.block, g = launch.grid;
  const std::uint64_t threads = std::uint64_t{b.x} * b.y * b.z, blocks = std::uint64_t{g.x} * g.y * g.z;
  if (threads == 0 || threads > kMaxThreads || b.z > 64) {
    return format("block of %u x %u x %u threads; a device takes 1 to 1,024, and at most 64 in z", b.x, b.y,
                  b.z);
  }
  if (blocks == 0 || g.x > 0x7fffffffu || g.y > 65535 || g.z > 65535) {
    return format("grid of %u x %u x %u blocks; a device takes 1 to 2,147,483,647 x 65,535 x 65,535", g.x,
                  g.y, g.z);
  }
  if (blocks > 0xffffffffu) return "a grid this large would run for days";
  if (launch.shared_bytes > 227 * 1024) {
    return format("%zu bytes of dynamic shared memory; a device has at most 232,448", launch.shared_bytes);
  }
  return "";
}

void set_up_threads(const Launch& launch) {
  const dim3 b = launch.block;
  block.size = b.x * b.y * b.z;
  block.warp_count = (block.size + 31) / 32;
  for (std::uint32_t i = 0; i < block.size; i++) {
    Thread& thread = block.threads[i];
    thread.linear = i;
    thread.index = {i % b.x, i / b.x % b.y, i / (b.x * b.y)};
  }
}

void run_block(std::uint32_t linear, const dim3& g) {
  statistics.blocks++;
  grid.block_index = {linear % g.x, linear / g.x % g.y, linear / (g.x * g.y)};
  block.linear = linear;
  block.done = block.at_barrier = 0;
  block.sites_differ = block.voting = false;
  if (race_hooks.block_start != nullptr) race_hooks.block_start();
  shared_start_block();
  for (std::uint32_t i = 0; i < block.size; i++) {
    Thread& thread = block.threads[i];
    thread.state = ThreadState::fresh;
    thread.site = Site{};
    thread.spins = 0;
    thread.predicate = false;
    block.copies[i].clear();
    block.copy_group[i] = 0;
  }
  reset_rendezvous(false);
  reset_clocks();
  run_threads();
  current = nullptr;
  if (!kernel_failed) shared_end_block();
}

void run_blocks(const Launch& launch) {
  const dim3 g = launch.grid;
  const std::uint32_t count = g.x * g.y * g.z;
  std::vector<std::uint32_t> shuffled;
  if (config.order == Order::random) {
    shuffled.resize(count);
    std::iota(shuffled.begin(), shuffled.end(), 0u);
    for (std::uint32_t i = count; i > 1; i--) std::swap(shuffled[i - 1], shuffled[next_random() % i]);
  }
  for (std::uint32_t k = 0; k < count && !kernel_failed; k++) {
    run_block(config.order == Order::random    ? shuffled[k]
              : config.order == Order::reverse ? count - 1 - k
                                               : k,
              g);
  }
}

}  // namespace

Config config = config_from_environment();

Mode mode() { return race_hooks.access != nullptr ? Mode::race : kAsan ? Mode::asan : Mode::fast; }

cudaError_t run_kernel(const Launch& launch) {
  if (launch_now != nullptr) {
    report_host_fault("launch",
                      "a kernel is launched while another one runs; run_kernel serves one caller at a time");
    return cudaErrorLaunchFailure;
  }
  last_error.clear();
  kernel_failed = false;
  launch_now = &launch;
  statistics.launches++;
  if (const std::string fault = shape_fault(launch); !fault.empty()) {
    report_fault("launch-shape", "", fault);
    launch_now = nullptr;
    if (config.abort_on_error) std::abort();
    return cudaErrorInvalidConfiguration;
  }
  grid.block_dim = launch.block;
  grid.grid_dim = launch.grid;
  main_fiber.base = nullptr;
  set_up_threads(launch);
  seed_random(config.seed);
  shared_start_launch(launch.shared_bytes);
  if (race_hooks.launch_start != nullptr) race_hooks.launch_start();
  open_device_memory(true);
  {
    const SignalGuard signals;
    run_blocks(launch);
  }
  open_device_memory(false);
  current = nullptr;
  running_fiber = &main_fiber;
  if (race_hooks.launch_end != nullptr && race_hooks.launch_end() != 0 && !kernel_failed) launch_has_failed();
  shared_end_launch();
  launch_now = nullptr;
  if (!kernel_failed) return cudaSuccess;
  reset_fibers();
  reset_rendezvous(true);
  return cudaErrorLaunchFailure;
}

}  // namespace simt
