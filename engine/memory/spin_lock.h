// A lock for sections of some ten nanoseconds that now and then hold a call to the system.
#pragma once

#include <atomic>
#include <thread>

namespace reprise::detail {

class SpinLock {
 public:
  void lock() noexcept {
    if (!held_.exchange(true, std::memory_order_acquire)) [[likely]]
      return;
    wait();
  }
  void unlock() noexcept { held_.store(false, std::memory_order_release); }

 private:
  static constexpr int kSpins = 64;  // about as long as the section takes; then its holder may need this core

  void wait() noexcept {
    do {
      for (int spin = 0; held_.load(std::memory_order_relaxed); ++spin) {
        if (spin < kSpins) {
#if defined(__x86_64__)
          __builtin_ia32_pause();
#endif
        } else {
          std::this_thread::yield();
        }
      }
    } while (held_.exchange(true, std::memory_order_acquire));
  }

  std::atomic<bool> held_{false};
};

}  // namespace reprise::detail
