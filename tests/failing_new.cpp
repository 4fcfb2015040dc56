#include "failing_new.h"

#include <cstddef>
#include <cstdlib>
#include <new>

#include "sanitizers.h"

namespace reprise::test {
namespace {

struct State {
  std::int64_t calls = 0;
  std::int64_t fails_at = 0;
  bool once = true;
  int own = 0;
};
constinit thread_local State state;

bool fails_now() noexcept {
  if (state.own > 0) return false;
  ++state.calls;
  return state.fails_at > 0 && (state.once ? state.calls == state.fails_at : state.calls >= state.fails_at);
}

/// From malloc, which sanitizers watch as well.
void* take(std::size_t bytes, std::size_t alignment) noexcept {
  if (fails_now()) return nullptr;
  if (bytes == 0) bytes = 1;
  if (alignment <= alignof(std::max_align_t)) return std::malloc(bytes);
  void* memory = nullptr;
  return ::posix_memalign(&memory, alignment, bytes) == 0 ? memory : nullptr;
}

void* take_or_throw(std::size_t bytes, std::size_t alignment) {
  void* const memory = take(bytes, alignment);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

void fail_new(std::int64_t n, bool once) {
  state.calls = 0;
  state.fails_at = n;
  state.once = once;
}

std::int64_t new_calls() { return state.calls; }

bool FailingNew::has_failed() { return state.fails_at > 0 && state.calls >= state.fails_at; }

OwnMemory::OwnMemory() { ++state.own; }
OwnMemory::~OwnMemory() { --state.own; }

}  // namespace reprise::test

using reprise::test::take;
using reprise::test::take_or_throw;

// NOLINTBEGIN(misc-new-delete-overloads)
void* operator new(std::size_t n) { return take_or_throw(n, 1); }
void* operator new[](std::size_t n) { return take_or_throw(n, 1); }
void* operator new(std::size_t n, std::align_val_t a) {
  return take_or_throw(n, static_cast<std::size_t>(a));
}
void* operator new[](std::size_t n, std::align_val_t a) {
  return take_or_throw(n, static_cast<std::size_t>(a));
}
void* operator new(std::size_t n, const std::nothrow_t&) noexcept { return take(n, 1); }
void* operator new[](std::size_t n, const std::nothrow_t&) noexcept { return take(n, 1); }
void* operator new(std::size_t n, std::align_val_t a, const std::nothrow_t&) noexcept {
  return take(n, static_cast<std::size_t>(a));
}
void* operator new[](std::size_t n, std::align_val_t a, const std::nothrow_t&) noexcept {
  return take(n, static_cast<std::size_t>(a));
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete[](void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }
void operator delete[](void* p, std::size_t) noexcept { std::free(p); }
void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete[](void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }
void operator delete[](void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }
void operator delete(void* p, const std::nothrow_t&) noexcept { std::free(p); }
void operator delete[](void* p, const std::nothrow_t&) noexcept { std::free(p); }
void operator delete(void* p, std::align_val_t, const std::nothrow_t&) noexcept { std::free(p); }
void operator delete[](void* p, std::align_val_t, const std::nothrow_t&) noexcept { std::free(p); }
// NOLINTEND(misc-new-delete-overloads)

#if UNDER_ADDRESS_SANITIZER
/// oneDNN loses what a primitive has so far when a request of its own fails.
extern "C" const char* __lsan_default_suppressions();
extern "C" const char* __lsan_default_suppressions() { return "leak:libdnnl\n"; }
#endif
