// The state of the engine on one thread.
#pragma once

#include <memory>

#include "reprise/node.h"
#include "reprise/random.h"
#include "reprise/span.h"
#include "reprise/tape.h"

namespace reprise {

/// Asked before the engine takes memory: a region that is kept only as long as that costs no peak may let go.
class Spare {
 public:
  virtual ~Spare() = default;
  /// `bytes` more are about to be taken for tensors of the tape.
  virtual void before_allocation(std::size_t bytes) = 0;
};

/// Asked when memory has run out: what the tape knows that would help.
class Adviser {
 public:
  virtual ~Adviser() = default;
  /// A line for the error, or nothing; `bytes` were asked of `pool` for a device of that kind.
  virtual std::string advice(std::size_t bytes, const Pool& pool, DeviceKind kind) const = 0;
};

struct Context {
  bool grad_enabled = true;
  bool anomaly = false;
  Device device;           // where new tensors go
  bool playing = false;    // inside a backward
  bool retaining = false;  // which keeps the tape
  Tape* tape = nullptr;
  std::shared_ptr<Region> region;  // the innermost open one
  Spare* spare = nullptr;
  const Adviser* adviser = nullptr;
  MemoryTag* tag = nullptr;  // the segment that new memory is booked under
  // What the thread is doing, for errors, traces and profilers:
  std::string_view operation;  // of static storage; empty: none
  Phase phase = Phase::other;
  const Place* place = nullptr;
  SpanTrace* spans = nullptr;
  Generator generator;
  TapeCounters counters;

  Context();
  ~Context();
};

Context& context();

}  // namespace reprise
