// What a library chose for a set of shapes, chosen once in the life of the process.
#pragma once

#include <map>
#include <memory>
#include <mutex>

namespace reprise::kernels::cuda {

/// Plans by key, for all threads. A key keeps its plan as long as the process lives, so that the same shapes
/// on the same alignment run the same algorithm: a step that is replayed gives the same bits.
template <class Key, class Plan>
class PlanCache {
 public:
  /// The plan of this key, `make()` if it is new; nothing is kept when `make` throws.
  template <class Make>
  Plan& find(const Key& key, Make&& make) {
    const std::lock_guard lock(mutex_);
    const auto found = plans_.find(key);
    if (found != plans_.end()) return *found->second;
    return *plans_.emplace(key, make()).first->second;
  }

 private:
  std::mutex mutex_;
  std::map<Key, std::unique_ptr<Plan>> plans_;
};

/// One object for the life of the process, never destroyed: at its end the libraries may be gone already.
template <class T>
T& immortal() {
  static T* const object = new T;
  return *object;
}

}  // namespace reprise::kernels::cuda
