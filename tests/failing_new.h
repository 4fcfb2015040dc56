// `operator new` that fails when told to, on this thread.
#pragma once

#include <cstdint>

namespace reprise::test {

/// False in builds with sanitizers, whose own `operator new` stays.
extern const bool kCanFailNew;

/// From the n-th call of `operator new` on this thread (1: the next) until the scope ends, every one fails,
/// or with `once` that one alone.
class FailingNew {
 public:
  FailingNew(std::int64_t n, bool once);
  ~FailingNew();
  FailingNew(const FailingNew&) = delete;
  FailingNew& operator=(const FailingNew&) = delete;
  bool has_failed() const;
};

}  // namespace reprise::test
