// The one way in which an operation's forward runs: recorded, replayed, or without a tape.
#pragma once

#include "reprise/node.h"

namespace reprise::detail {

struct ForwardCall {
  const OpTable& table;
  const void* op;
  std::span<Value* const> inputs;
  std::span<Value* const> outputs;
  kernels::RandomKey key;
  Category category;  // of new output memory
  Phase phase;        // forward or replay
  const Place* place = nullptr;
  int reused_input = -1;  // input whose memory output 0 takes over, or -1
};

/// Gives every output memory (or makes it a view) and fills it. Throws what the operation throws; outputs may
/// then have memory that their owner frees with them.
void run_forward(const ForwardCall& call);

/// Throws AnomalyError when a floating value holds a NaN; `what` says where.
void check_nan(const OpTable& table, Phase phase, const char* what, std::size_t index, const Value& value,
               std::span<Value* const> inputs);

}  // namespace reprise::detail
