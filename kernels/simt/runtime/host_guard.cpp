// Host accesses to device memory: the pages are shut while nothing runs, and a handler names who touched
// them.
#include "simt/runtime/host_guard.h"

#include <signal.h>
#include <sys/mman.h>

#include "simt/runtime/call.h"
#include "simt/runtime/control.h"
#include "simt/runtime/memory.h"

namespace simt::runtime {
namespace {

constexpr int kOpen = PROT_READ | PROT_WRITE;
int open_depth = 0;
bool shut = false;
struct sigaction other_handler;

void pass_on(int signal, siginfo_t* info, void* context) {
  if ((other_handler.sa_flags & SA_SIGINFO) != 0 && other_handler.sa_sigaction != nullptr) {
    other_handler.sa_sigaction(signal, info, context);
  } else if (other_handler.sa_handler != SIG_DFL && other_handler.sa_handler != SIG_IGN) {
    other_handler.sa_handler(signal);
  } else {
    ::signal(signal, SIG_DFL);  // the access happens again and ends the process
  }
}

// Runs in the thread that touched device memory, outside the runtime, so that it may allocate and print. The
// block is opened for the access to go on; it is shut again after the next operation.
void on_fault(int signal, siginfo_t* info, void* context) {
  const Block* block = shut && open_depth == 0 ? find_block(info->si_addr) : nullptr;
  if (block == nullptr) {
    pass_on(signal, info, context);
    return;
  }
  report_host_fault("host-access", describe_device_address(info->si_addr));
  mprotect(block->pages, block->page_bytes, kOpen);
}

void install_handler() {
  struct sigaction now;
  sigaction(SIGSEGV, nullptr, &now);
  if ((now.sa_flags & SA_SIGINFO) != 0 && now.sa_sigaction == on_fault) return;
  other_handler = now;
  struct sigaction action = {};
  action.sa_sigaction = on_fault;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  sigaction(SIGSEGV, &action, nullptr);
}

void remove_handler() {
  struct sigaction now;
  sigaction(SIGSEGV, nullptr, &now);
  if ((now.sa_flags & SA_SIGINFO) != 0 && now.sa_sigaction == on_fault)
    sigaction(SIGSEGV, &other_handler, nullptr);
}

}  // namespace

void shut_device_memory() {
  if (!control().host_guard || open_depth != 0) return;
  protect_live_blocks(PROT_NONE);
  install_handler();
  shut = true;
}

}  // namespace simt::runtime

namespace simt {

void open_device_memory(bool open) {
  using namespace runtime;
  open_depth += open ? 1 : -1;
  if (open && open_depth == 1 && shut) {
    protect_live_blocks(kOpen);
    // While a kernel runs, its faults belong to whoever handled them before.
    remove_handler();
    shut = false;
  } else if (!open) {
    shut_device_memory();
  }
}

}  // namespace simt
