// What the emulator tells AddressSanitizer; nothing in other builds.
#pragma once

#include <cstddef>

#if defined(__SANITIZE_ADDRESS__)
#define SIMT_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SIMT_ASAN 1
#endif
#endif

#if defined(SIMT_ASAN)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace simt {

#if defined(SIMT_ASAN)
inline constexpr bool kAsan = true;
inline void asan_start_switch(void** save, const void* base, std::size_t bytes) {
  __sanitizer_start_switch_fiber(save, base, bytes);
}
inline void asan_finish_switch(void* saved, const void** base, std::size_t* bytes) {
  __sanitizer_finish_switch_fiber(saved, base, bytes);
}
inline void asan_poison(const void* p, std::size_t bytes) { __asan_poison_memory_region(p, bytes); }
inline void asan_unpoison(const void* p, std::size_t bytes) { __asan_unpoison_memory_region(p, bytes); }
inline bool asan_is_poisoned(const void* p, std::size_t bytes) {
  return __asan_region_is_poisoned(const_cast<void*>(p), bytes) != nullptr;
}
#else
inline constexpr bool kAsan = false;
inline void asan_start_switch(void**, const void*, std::size_t) {}
inline void asan_finish_switch(void*, const void**, std::size_t*) {}
inline void asan_poison(const void*, std::size_t) {}
inline void asan_unpoison(const void*, std::size_t) {}
inline bool asan_is_poisoned(const void*, std::size_t) { return false; }
#endif

}  // namespace simt
