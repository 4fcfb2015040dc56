#include "reprise/context.h"

#include "reprise/thread_lasting.h"
#include "tape_owner.h"

namespace reprise {

Context::Context() : scopes(std::make_shared<detail::OpenScopes>()), tape(new Tape) {
  detail::own_tape = tape;
}

Context::~Context() {
  region.reset();
  // Tensors that other threads hold outlive this: they find a tape without a thread.
  detail::own_tape = nullptr;
  detail::abandon(std::exchange(tape, nullptr));
}

Context& context() { return ThreadLasting<Context>::get(); }

Generator& generator() { return context().generator; }

void manual_seed(std::uint64_t seed) { generator() = {.seed = seed, .next = 0}; }

NoGrad::NoGrad() : scopes_(context().scopes) { ++scopes_->no_grad; }
NoGrad::~NoGrad() { --scopes_->no_grad; }
bool grad_enabled() { return context().grad_enabled(); }

AnomalyMode::AnomalyMode() : scopes_(context().scopes) { ++scopes_->anomaly; }
AnomalyMode::~AnomalyMode() { --scopes_->anomaly; }

const TapeCounters& tape_counters() { return context().counters; }
void reset_tape_counters() { context().counters = {}; }

std::int64_t live_nodes() {
  Tape& tape = *context().tape;
  detail::take_back(tape);
  return tape.nodes;
}

}  // namespace reprise
