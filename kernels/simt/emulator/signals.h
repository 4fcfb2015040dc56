// Crashes of kernels, turned into reports.
#pragma once

namespace simt {

/// Catches SIGSEGV, SIGBUS, SIGFPE and the watchdog's signal while a kernel runs, and puts the program's own
/// handlers back.
class SignalGuard {
 public:
  SignalGuard();
  ~SignalGuard();
  SignalGuard(const SignalGuard&) = delete;
  SignalGuard& operator=(const SignalGuard&) = delete;
};

}  // namespace simt
