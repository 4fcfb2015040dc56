#include "simt/emulator/signals.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "simt/emulator/asan.h"
#include "simt/emulator/block.h"
#include "simt/emulator/diagnostics.h"
#include "simt/emulator/fibers.h"
#include "simt/emulator/symbols.h"

namespace simt {

namespace {

constexpr std::size_t kHandlerStack = 64 * 1024, kReportStack = 512 * 1024;
constexpr int kWatchdogSignal = SIGVTALRM;
constexpr int kCaught[] = {SIGSEGV, SIGBUS, SIGFPE, kWatchdogSignal};
constexpr int kCaughtCount = sizeof kCaught / sizeof kCaught[0];

struct sigaction saved_actions[kCaughtCount];
stack_t saved_stack;
alignas(64) char handler_stack[kHandlerStack];
char* report_stack = nullptr;

// What the handler leaves for report_crash.
int crash_signal;
bool crash_has_address;
char* crash_address;
void* crash_instruction;

// Progress, as the watchdog saw it last.
struct Progress {
  std::uint64_t launches = 0, blocks = 0, threads = 0, switches = 0;
  bool operator==(const Progress&) const = default;
};
Progress last_progress;
std::uint32_t idle_ticks = 0;

bool in_stack_guard(const char* address) {
  const Fiber& f = *running_fiber;
  return f.base != nullptr && address >= f.base - kStackGuardBytes && address < f.base;
}

/// Runs on its own stack in place of the kernel's code, which it never goes back to.
[[noreturn]] void report_crash() {
  void* fake_stack = nullptr;
  asan_start_switch(&fake_stack, report_stack, kReportStack);
  asan_finish_switch(fake_stack, nullptr, nullptr);
  const std::string where = source_line(crash_instruction);
  if (crash_signal == kWatchdogSignal) {
    fail("livelock", where,
         format("the thread ran for %u seconds without meeting any other: it seems to loop for ever",
                config.watchdog_seconds));
  }
  if (crash_signal == SIGFPE) fail("arithmetic", where, "integer division by zero, or overflow");
  if (!crash_has_address)
    fail("misaligned", where, "access to a misaligned vector, or to an address that cannot exist");
  if (in_stack_guard(crash_address)) {
    fail("stack-overflow", where,
         format("the thread needs more than its %zu bytes of stack", running_fiber->bytes));
  }
  std::string what = describe_shared_address(crash_address);
  if (what.empty()) what = describe_device_address(crash_address);
  fail("bad-address", where, format("access to %p: %s", static_cast<void*>(crash_address), what.c_str()));
}

void on_signal(int signal, siginfo_t* info, void* context) {
  auto& registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
  if (signal == kWatchdogSignal) {
    const Progress now{statistics.launches, statistics.blocks, statistics.threads, statistics.switches};
    idle_ticks = now == last_progress ? idle_ticks + 1 : 0;
    last_progress = now;
    if (current == nullptr || idle_ticks < config.watchdog_seconds) return;
    idle_ticks = 0;
  } else if (current == nullptr) {  // not the kernel's: let the program's own handler see it again
    sigaction(signal, &saved_actions[signal == SIGSEGV ? 0 : signal == SIGBUS ? 1 : 2], nullptr);
    return;
  }
  crash_signal = signal;
  crash_has_address = info->si_code > 0 && info->si_code != SI_KERNEL;
  crash_address = static_cast<char*>(info->si_addr);
  crash_instruction = reinterpret_cast<void*>(registers[REG_RIP]);
  const auto top = reinterpret_cast<std::uintptr_t>(report_stack + kReportStack) & ~std::uintptr_t{63};
  registers[REG_RIP] = static_cast<greg_t>(reinterpret_cast<std::uintptr_t>(&report_crash));
  registers[REG_RSP] = static_cast<greg_t>(top - 8);  // as after a call
}

/// One tick for every second of CPU time of this OS thread.
void start_watchdog() {
  static thread_local bool started = false;
  if (started) return;
  started = true;
  sigevent event{};
  event.sigev_notify = SIGEV_THREAD_ID;
  event.sigev_signo = kWatchdogSignal;
  event._sigev_un._tid = static_cast<pid_t>(syscall(SYS_gettid));
  timer_t timer;
  const itimerspec every_second{{1, 0}, {1, 0}};
  if (timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &timer) != 0 ||
      timer_settime(timer, 0, &every_second, nullptr) != 0) {
    std::perror("SIMT: no watchdog");
  }
}

#if defined(SIMT_ASAN)
void print_context() {
  if (current == nullptr || launch_now == nullptr) return;
  const uint3 b = grid.block_index, t = current->index;
  const std::string site = describe(current->site);
  std::fprintf(
      stderr,
      "SIMT fault [sanitizer] in kernel %s, block (%u,%u,%u), thread (%u,%u,%u), last synchronised at %s\n",
      launch_now->name, b.x, b.y, b.z, t.x, t.y, t.z, site.empty() ? "none" : site.c_str());
}
[[maybe_unused]] const bool installed = [] {
  __sanitizer_set_death_callback(print_context);
  return true;
}();
#endif

}  // namespace

#if defined(SIMT_ASAN)
// UBSan calls this for every report.
extern "C" void __ubsan_on_report();
extern "C" void __ubsan_on_report() { print_context(); }
// A fault abandons the stacks of its block, with the texts of the report on them. Weak, as a program may have
// its own.
extern "C" [[gnu::weak]] const char* __lsan_default_suppressions();
extern "C" const char* __lsan_default_suppressions() { return "leak:simt::fiber_main\nleak:report_crash\n"; }
#endif

SignalGuard::SignalGuard() {
  if (report_stack == nullptr) {
    void* memory = mmap(nullptr, kReportStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) std::abort();
    report_stack = static_cast<char*>(memory);
  }
  struct sigaction action {};
  action.sa_sigaction = on_signal;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
  stack_t stack{};
  stack.ss_sp = handler_stack;
  stack.ss_size = kHandlerStack;
  sigaltstack(&stack, &saved_stack);
  for (int i = 0; i < kCaughtCount; i++) sigaction(kCaught[i], &action, &saved_actions[i]);
  start_watchdog();
  idle_ticks = 0;
}

SignalGuard::~SignalGuard() {
  for (int i = 0; i < kCaughtCount; i++) {
    // The watchdog goes on ticking, which must not end the program.
    if (kCaught[i] != kWatchdogSignal) sigaction(kCaught[i], &saved_actions[i], nullptr);
  }
  sigaltstack(&saved_stack, nullptr);
}

}  // namespace simt
