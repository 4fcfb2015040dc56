#include "simt/emulator/fibers.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "simt/emulator/asan.h"
#include "simt/emulator/config.h"

// Saves what the calling convention asks a function to keep, and nothing else: about 2 ns.
asm(R"(
.text
.p2align 4
.globl simt_switch_stack
.type simt_switch_stack,@function
simt_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp,(%rdi)
  movq %rsi,%rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size simt_switch_stack,.-simt_switch_stack
)");

namespace simt {

Fiber main_fiber;
Fiber* running_fiber = &main_fiber;

namespace {

// Never destroyed: LeakSanitizer looks after static destructors have run.
std::vector<Fiber*>& idle = *new std::vector<Fiber*>;
std::vector<Fiber*>& all = *new std::vector<Fiber*>;

std::size_t stack_bytes() {
  if (config.stack_bytes != 0) return (config.stack_bytes + 4095) & ~std::size_t{4095};
  return kAsan ? 256 * 1024 : 64 * 1024;
}

void prepare(Fiber* fiber) {
  // Stacks that start at the same page offset fight for the same cache lines: a colour spreads them.
  static unsigned colour = 0;
  const auto top = reinterpret_cast<std::uintptr_t>(fiber->base + fiber->bytes) - (colour++ % 32) * 128;
  auto** slot = reinterpret_cast<void**>(top & ~std::uintptr_t{63});
  *--slot = nullptr;  // fiber_main returns nowhere; debuggers stop here
  *--slot = reinterpret_cast<void*>(&fiber_main);
  for (int saved_register = 0; saved_register < 6; saved_register++) *--slot = nullptr;
  fiber->stack_pointer = slot;
  fiber->fake_stack = nullptr;
}

}  // namespace

Fiber* take_fiber() {
  const std::size_t bytes = stack_bytes();
  while (!idle.empty()) {
    Fiber* fiber = idle.back();
    idle.pop_back();
    if (fiber->bytes == bytes)
      return fiber;  // others stay mapped and unused: the configured size was changed
  }
  void* memory = mmap(nullptr, bytes + kStackGuardBytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED || mprotect(memory, kStackGuardBytes, PROT_NONE) != 0) {
    std::perror("SIMT: no memory for a thread's stack");
    std::abort();
  }
  auto* fiber = new Fiber;
  fiber->base = static_cast<char*>(memory) + kStackGuardBytes;
  fiber->bytes = bytes;
  all.push_back(fiber);
  prepare(fiber);
  return fiber;
}

void give_fiber(Fiber* fiber) { idle.push_back(fiber); }

void finish_switch(void* fake_stack) {
  const void* base = nullptr;
  std::size_t bytes = 0;
  asan_finish_switch(fake_stack, &base, &bytes);
  // The first switch of a launch comes from the caller's stack, which may be another thread's than last time.
  if (main_fiber.base == nullptr) {
    main_fiber.base = static_cast<char*>(const_cast<void*>(base));
    main_fiber.bytes = bytes;
  }
}

void fiber_started() {
  if (kAsan) finish_switch(nullptr);
}

void reset_fibers() {
  idle.clear();
  for (Fiber* fiber : all) {
    asan_unpoison(fiber->base, fiber->bytes);
    prepare(fiber);
    idle.push_back(fiber);
  }
}

}  // namespace simt
