// The state of the engine on one thread.
#pragma once

#include <atomic>
#include <memory>

#include "reprise/node.h"
#include "reprise/random.h"
#include "reprise/span.h"
#include "reprise/tape.h"

namespace reprise {

/// Asked when memory has run out: what the tape knows that would help.
class Adviser {
 public:
  virtual ~Adviser() = default;
  /// A line for the error, or nothing; `pool`, of a device of that kind, had no room.
  virtual std::string advice(const Pool& pool, DeviceKind kind) const = 0;
};

namespace detail {
/// How many scopes that were opened on a thread are open. They may end on another one, and after it.
struct OpenScopes {
  std::atomic<int> no_grad{0}, anomaly{0};
};
}  // namespace detail

struct Context {
  std::shared_ptr<detail::OpenScopes> scopes;
  Device device;           // where new tensors go
  bool playing = false;    // inside a backward
  bool retaining = false;  // which keeps the tape
  Tape* tape = nullptr;
  std::shared_ptr<Region> region;  // the innermost open one
  const Adviser* adviser = nullptr;
  MemoryTag* tag = nullptr;  // the segment that new memory is booked under
  // What the thread is doing, for errors, traces and profilers:
  std::string_view operation;  // of static storage; empty: none
  Phase phase = Phase::other;
  const Place* place = nullptr;
  detail::WorkScope* work = nullptr;  // the innermost open scope that says so
  SpanTrace* spans = nullptr;
  Generator generator;
  TapeCounters counters;

  Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;
  ~Context();

  bool grad_enabled() const { return scopes->no_grad.load(std::memory_order_relaxed) == 0; }
  bool anomaly() const { return scopes->anomaly.load(std::memory_order_relaxed) > 0; }
};

Context& context();

}  // namespace reprise
