#include "reprise/context.h"

#include "node_lifetime.h"

namespace reprise {

Context::Context() : tape(new Tape) {}

Context::~Context() {
  region.reset();
  detail::drop_tape(std::exchange(tape, nullptr));
}

Context& context() {
  static thread_local Context instance;
  return instance;
}

Generator& generator() { return context().generator; }

void manual_seed(std::uint64_t seed) { generator() = {.seed = seed, .next = 0}; }

NoGrad::NoGrad() : before_(std::exchange(context().grad_enabled, false)) {}
NoGrad::~NoGrad() { context().grad_enabled = before_; }
bool grad_enabled() { return context().grad_enabled; }

AnomalyMode::AnomalyMode() : before_(std::exchange(context().anomaly, true)) {}
AnomalyMode::~AnomalyMode() { context().anomaly = before_; }

const TapeCounters& tape_counters() { return context().counters; }
void reset_tape_counters() { context().counters = {}; }
std::int64_t live_nodes() { return context().tape->nodes; }

}  // namespace reprise
