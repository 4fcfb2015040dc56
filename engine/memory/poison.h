// Marks memory that belongs to nobody, so that AddressSanitizer reports who touches it.
#pragma once

#include <cstddef>

#if defined(__SANITIZE_ADDRESS__)
#define REPRISE_ADDRESS_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define REPRISE_ADDRESS_SANITIZER 1
#endif
#endif
#ifndef REPRISE_ADDRESS_SANITIZER
#define REPRISE_ADDRESS_SANITIZER 0
#endif

#if REPRISE_ADDRESS_SANITIZER
#include <sanitizer/asan_interface.h>
#endif

namespace reprise::detail {

inline constexpr bool kAddressSanitizer = REPRISE_ADDRESS_SANITIZER != 0;

inline void poison([[maybe_unused]] const void* data, [[maybe_unused]] std::size_t bytes) noexcept {
#if REPRISE_ADDRESS_SANITIZER
  ASAN_POISON_MEMORY_REGION(data, bytes);
#endif
}

inline void unpoison([[maybe_unused]] const void* data, [[maybe_unused]] std::size_t bytes) noexcept {
#if REPRISE_ADDRESS_SANITIZER
  ASAN_UNPOISON_MEMORY_REGION(data, bytes);
#endif
}

}  // namespace reprise::detail
