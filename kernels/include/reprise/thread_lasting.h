// An object of each thread that is there as long as anything can run on it.
#pragma once

#include <pthread.h>

#include <memory>
#include <new>

namespace reprise {

/// The thread's T, made when it is first asked for. It goes after all that the thread has in `thread_local`
/// variables, whose destructors may use it; that of the main thread never goes, as objects in static storage
/// may compute when the program ends.
template <class T>
class ThreadLasting {
 public:
  static T& get() {
    if (made_ == nullptr) [[unlikely]]
      make();
    return *made_;
  }

 private:
  static void make() {
    static const pthread_key_t key = [] {
      pthread_key_t made{};
      if (pthread_key_create(&made, &end) != 0) throw std::bad_alloc();
      return made;
    }();
    auto made = std::make_unique<T>();
    if (pthread_setspecific(key, made.get()) != 0) throw std::bad_alloc();
    made_ = made.release();
  }
  static void end(void* object) noexcept {
    delete static_cast<T*>(object);
    made_ = nullptr;
  }

  static inline constinit thread_local T* made_ = nullptr;
};

}  // namespace reprise
