// The functions that -fsanitize=thread makes kernels call. Kernel files are compiled with it, and the program
// is linked without it: these take the place of libtsan.
#include <cstddef>
#include <cstdint>

#include "simt/emulator/thread.h"

#define SIMT_CALLER __builtin_return_address(0)

namespace {

inline void observe(const volatile void* address, std::size_t bytes, simt::Access kind,
                    void* program_counter) {
  if (simt::race_hooks.access == nullptr || bytes == 0) return;
  simt::race_hooks.access(const_cast<const void*>(address), bytes, static_cast<int>(kind), program_counter);
}

constexpr int kOrder = __ATOMIC_SEQ_CST;

}  // namespace

extern "C" {

#define SIMT_TSAN_ACCESS(bytes)                                                                        \
  void __tsan_read##bytes(void* p) { observe(p, bytes, simt::Access::read, SIMT_CALLER); }             \
  void __tsan_write##bytes(void* p) { observe(p, bytes, simt::Access::write, SIMT_CALLER); }           \
  void __tsan_unaligned_read##bytes(void* p) { observe(p, bytes, simt::Access::read, SIMT_CALLER); }   \
  void __tsan_unaligned_write##bytes(void* p) { observe(p, bytes, simt::Access::write, SIMT_CALLER); } \
  void __tsan_volatile_read##bytes(void* p) {                                                          \
    if (simt::current != nullptr) simt::preempt_point(); /* a loop may wait for the value to change */ \
    observe(p, bytes, simt::Access::read, SIMT_CALLER);                                                \
  }                                                                                                    \
  void __tsan_volatile_write##bytes(void* p) { observe(p, bytes, simt::Access::write, SIMT_CALLER); }  \
  void __tsan_unaligned_volatile_read##bytes(void* p) {                                                \
    observe(p, bytes, simt::Access::read, SIMT_CALLER);                                                \
  }                                                                                                    \
  void __tsan_unaligned_volatile_write##bytes(void* p) {                                               \
    observe(p, bytes, simt::Access::write, SIMT_CALLER);                                               \
  }
SIMT_TSAN_ACCESS(1)
SIMT_TSAN_ACCESS(2)
SIMT_TSAN_ACCESS(4)
SIMT_TSAN_ACCESS(8)
SIMT_TSAN_ACCESS(16)
#undef SIMT_TSAN_ACCESS

void __tsan_read_range(void* p, std::size_t bytes) { observe(p, bytes, simt::Access::read, SIMT_CALLER); }
void __tsan_write_range(void* p, std::size_t bytes) { observe(p, bytes, simt::Access::write, SIMT_CALLER); }
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_init() {}

// Atomics of the host code in kernel files (reference counts, guards of static variables), and of kernels
// that use std::atomic.
#define SIMT_TSAN_UPDATE(bits, type, name)                                 \
  type __tsan_atomic##bits##_fetch_##name(volatile type* p, type v, int) { \
    observe(p, sizeof(type), simt::Access::atomic, SIMT_CALLER);           \
    return __atomic_fetch_##name(p, v, kOrder);                            \
  }
#define SIMT_TSAN_EXCHANGE(bits, type, strength, weak)                                                 \
  int __tsan_atomic##bits##_compare_exchange_##strength(volatile type* p, type* expected, type v, int, \
                                                        int) {                                         \
    observe(p, sizeof(type), simt::Access::atomic, SIMT_CALLER);                                       \
    return __atomic_compare_exchange_n(p, expected, v, weak, kOrder, kOrder);                          \
  }
#define SIMT_TSAN_ATOMICS(bits, type)                                                                  \
  type __tsan_atomic##bits##_load(const volatile type* p, int) {                                       \
    observe(p, sizeof(type), simt::Access::atomic, SIMT_CALLER);                                       \
    return __atomic_load_n(p, kOrder);                                                                 \
  }                                                                                                    \
  void __tsan_atomic##bits##_store(volatile type* p, type v, int) {                                    \
    observe(p, sizeof(type), simt::Access::atomic, SIMT_CALLER);                                       \
    __atomic_store_n(p, v, kOrder);                                                                    \
  }                                                                                                    \
  type __tsan_atomic##bits##_exchange(volatile type* p, type v, int) {                                 \
    observe(p, sizeof(type), simt::Access::atomic, SIMT_CALLER);                                       \
    return __atomic_exchange_n(p, v, kOrder);                                                          \
  }                                                                                                    \
  SIMT_TSAN_UPDATE(bits, type, add)                                                                    \
  SIMT_TSAN_UPDATE(bits, type, sub)                                                                    \
  SIMT_TSAN_UPDATE(bits, type, and)                                                                    \
  SIMT_TSAN_UPDATE(bits, type, or)                                                                     \
  SIMT_TSAN_UPDATE(bits, type, xor)                                                                    \
  SIMT_TSAN_UPDATE(bits, type, nand)                                                                   \
  SIMT_TSAN_EXCHANGE(bits, type, strong, false)                                                        \
  SIMT_TSAN_EXCHANGE(bits, type, weak, true)                                                           \
  type __tsan_atomic##bits##_compare_exchange_val(volatile type* p, type expected, type v, int, int) { \
    observe(p, sizeof(type), simt::Access::atomic, SIMT_CALLER);                                       \
    __atomic_compare_exchange_n(p, &expected, v, false, kOrder, kOrder);                               \
    return expected;                                                                                   \
  }
SIMT_TSAN_ATOMICS(8, std::int8_t)
SIMT_TSAN_ATOMICS(16, std::int16_t)
SIMT_TSAN_ATOMICS(32, std::int32_t)
SIMT_TSAN_ATOMICS(64, std::int64_t)
#undef SIMT_TSAN_ATOMICS
#undef SIMT_TSAN_EXCHANGE
#undef SIMT_TSAN_UPDATE

void __tsan_atomic_thread_fence(int) {}
void __tsan_atomic_signal_fence(int) {}

}  // extern "C"
