// operator new that fails on demand, on one thread.
#pragma once

namespace reprise::fuzz {

/// The n-th call of operator new on this thread from now on fails, once; 0: none does.
void fail_new(long n);
/// Calls of operator new on this thread since the last `fail_new`.
long new_calls();

/// While it lives, calls are neither counted nor failed: the harness's own.
class OwnMemory {
 public:
  OwnMemory();
  ~OwnMemory();
  OwnMemory(const OwnMemory&) = delete;
  OwnMemory& operator=(const OwnMemory&) = delete;
};

}  // namespace reprise::fuzz
