// `operator new` that fails when told to, on one thread.
#pragma once

#include <cstdint>

namespace reprise::test {

/// From the n-th call of `operator new` on this thread on (1: the next) every one fails, or with `once` that
/// one alone; 0: none does. Counts from here.
void fail_new(std::int64_t n, bool once = true);
/// Calls of `operator new` on this thread since the last `fail_new`.
std::int64_t new_calls();

/// Until its scope ends, as `fail_new` says.
class FailingNew {
 public:
  FailingNew(std::int64_t n, bool once) { fail_new(n, once); }
  ~FailingNew() { fail_new(0); }
  FailingNew(const FailingNew&) = delete;
  FailingNew& operator=(const FailingNew&) = delete;
  static bool has_failed();
};

/// While it lives, calls are neither counted nor failed: a test's own.
class OwnMemory {
 public:
  OwnMemory();
  ~OwnMemory();
  OwnMemory(const OwnMemory&) = delete;
  OwnMemory& operator=(const OwnMemory&) = delete;
};

}  // namespace reprise::test
