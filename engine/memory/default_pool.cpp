#include <array>
#include <atomic>
#include <mutex>
#include <utility>

#include "reprise/kernels/processor.h"
#include "reprise/memory/pool.h"

namespace reprise {
namespace {

constexpr std::size_t kMostDevices = 1 + 64 + 64;  // the CPU, CUDA's and dry ones

struct Default {
  std::mutex mutex;
  std::array<std::shared_ptr<Pool>, kMostDevices> pools;
};

/// Never destroyed: tensors in static storage may still allocate when the program ends.
Default& instance() {
  static auto& made = *new Default;
  return made;
}

std::array<std::atomic<Pool*>, kMostDevices> current{};

std::size_t place_of(Device device) {
  const auto index = static_cast<std::size_t>(device.index);
  if (device.is_dry) return 1 + 64 + index;
  return device.kind == DeviceKind::cpu ? 0 : 1 + index;
}

}  // namespace

std::unique_ptr<Source> source_of(Device device) {
  if (device.is_dry) return dry_source(device);
  return device.kind == DeviceKind::cpu ? host_source() : cuda_source(device.index);
}

std::shared_ptr<Pool> default_pool(Device device) {
  Default& state = instance();
  const std::lock_guard guard(state.mutex);
  std::shared_ptr<Pool>& pool = state.pools.at(place_of(device));
  if (pool == nullptr) {
    kernels::require_processor();  // whatever allocates comes by here first
    pool = std::make_shared<Pool>(source_of(device));
    current[place_of(device)].store(pool.get(), std::memory_order_release);
  }
  return pool;
}

void set_default_pool(std::shared_ptr<Pool> pool, Device device) {
  Default& state = instance();
  const std::lock_guard guard(state.mutex);
  current.at(place_of(device)).store(pool.get(), std::memory_order_release);
  state.pools[place_of(device)] = std::move(pool);
}

Pool& pool_of(Device device) {
  Pool* const pool = current.at(place_of(device)).load(std::memory_order_acquire);
  return pool != nullptr ? *pool : *default_pool(device);
}

}  // namespace reprise
