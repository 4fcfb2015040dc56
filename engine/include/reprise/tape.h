// Recording and playing: gradient modes, gradients of chosen inputs, the anomaly mode, and the tape's own
// counters.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "reprise/tensor.h"

namespace reprise {

namespace detail {
struct OpenScopes;
}

/// While one lives, operations on the thread that made it want no gradient. Scopes may end in any order, and
/// on any thread.
class NoGrad {
 public:
  NoGrad();
  ~NoGrad();
  NoGrad(const NoGrad&) = delete;
  NoGrad& operator=(const NoGrad&) = delete;

 private:
  std::shared_ptr<detail::OpenScopes> scopes_;
};

/// True when operations on this thread are recorded for gradients.
bool grad_enabled();

/// While one lives, every operation's outputs and gradients on the thread that made it are checked: the first
/// NaN throws AnomalyError that names the operation, its shapes, and whether it ran forward, replayed or
/// backward.
class AnomalyMode {
 public:
  AnomalyMode();
  ~AnomalyMode();
  AnomalyMode(const AnomalyMode&) = delete;
  AnomalyMode& operator=(const AnomalyMode&) = delete;

 private:
  std::shared_ptr<detail::OpenScopes> scopes_;
};

/// Plays the tape backward from several tensors at once; an undefined gradient stands for 1 of a scalar.
void backward(std::span<const Tensor> outputs, std::span<const Tensor> gradients = {},
              BackwardOptions options = {});

/// Gradients of `output` for `inputs` alone (any tensors of its tape); no `grad()` changes. An input that
/// does not lead to the output gets an undefined tensor.
std::vector<Tensor> gradients(const Tensor& output, std::span<const Tensor> inputs,
                              BackwardOptions options = {});

/// What the tape did on this thread since the last reset.
struct TapeCounters {
  std::int64_t recorded_nodes = 0;
  std::int64_t backward_nodes = 0;
  std::int64_t replayed_nodes = 0;
  std::int64_t replayed_bytes = 0;  // of outputs computed again
  double recorded_ms = 0;           // on a dry device: how long the forwards would take there
  double replayed_ms = 0;           // and those of the replays
  bool operator==(const TapeCounters&) const = default;
};

const TapeCounters& tape_counters();
void reset_tape_counters();

/// Nodes alive on this thread's tape.
std::int64_t live_nodes();

}  // namespace reprise
