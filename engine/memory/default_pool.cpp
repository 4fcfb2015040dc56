#include <atomic>
#include <mutex>
#include <utility>

#include "reprise/memory/pool.h"

namespace reprise {
namespace {

struct Default {
  std::mutex mutex;
  std::shared_ptr<Pool> pool;
};

/// Never destroyed: tensors in static storage may still allocate when the program ends.
Default& instance() {
  static auto& made = *new Default;
  return made;
}

std::atomic<Pool*> current{nullptr};

const std::shared_ptr<Pool>& made_pool(Default& state) {
  if (state.pool == nullptr) {
    state.pool = std::make_shared<Pool>(host_source());
    current.store(state.pool.get(), std::memory_order_release);
  }
  return state.pool;
}

}  // namespace

std::shared_ptr<Pool> default_pool() {
  Default& state = instance();
  const std::lock_guard guard(state.mutex);
  return made_pool(state);
}

void set_default_pool(std::shared_ptr<Pool> pool) {
  Default& state = instance();
  const std::lock_guard guard(state.mutex);
  current.store(pool.get(), std::memory_order_release);
  state.pool = std::move(pool);
}

Pool& current_pool() {
  Pool* const pool = current.load(std::memory_order_acquire);
  return pool != nullptr ? *pool : *default_pool();
}

}  // namespace reprise
