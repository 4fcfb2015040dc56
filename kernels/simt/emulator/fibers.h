// Context switches between the stacks of CUDA threads.
#pragma once

#include <cstddef>

#include "simt/emulator/asan.h"
#include "simt/emulator/config.h"

extern "C" void simt_switch_stack(void** save, void* load);

namespace simt {

struct Fiber {
  void* stack_pointer = nullptr;
  char* base = nullptr;  // lowest usable address; a guard page lies below
  std::size_t bytes = 0;
  void* fake_stack = nullptr;  // ASan's
};

// Wide, as a large frame may step over a narrow one. An odd number of pages, as stacks a power of two apart
// fight for the same entries of the TLB.
inline constexpr std::size_t kStackGuardBytes = 15 * 4096;

extern Fiber main_fiber;  // the stack that called run_kernel
extern Fiber* running_fiber;

/// A fiber that starts in fiber_main when it is first switched to.
Fiber* take_fiber();
/// Returns a fiber that may be switched to again: it goes on in fiber_main.
void give_fiber(Fiber* fiber);
/// Tells ASan, and learns from it where the stack that was left lies.
void finish_switch(void* fake_stack);

/// Saves this stack and continues on another.
inline void switch_to(Fiber* fiber) {
  statistics.switches++;
  Fiber* from = running_fiber;
  running_fiber = fiber;
  asan_start_switch(&from->fake_stack, fiber->base, fiber->bytes);
  simt_switch_stack(&from->stack_pointer, fiber->stack_pointer);
  if (kAsan) finish_switch(from->fake_stack);
}
/// After a fault: abandons whatever the fibers were doing.
void reset_fibers();

/// The body of every fiber; the scheduler defines it.
[[noreturn]] void fiber_main();
/// To be called first on a fresh fiber.
void fiber_started();

}  // namespace simt
