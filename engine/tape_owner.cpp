#include "tape_owner.h"

#include <fmt/format.h>

#include <utility>

#include "node_lifetime.h"

namespace reprise::detail {

constinit thread_local Tape* own_tape = nullptr;

namespace {

/// Keeps the tape while its last node may go.
class HeldTape {
 public:
  explicit HeldTape(Tape& tape) noexcept : tape_(&tape) { tape.refs.fetch_add(1, std::memory_order_relaxed); }
  ~HeldTape() { drop_tape(tape_); }
  HeldTape(const HeldTape&) = delete;
  HeldTape& operator=(const HeldTape&) = delete;

 private:
  Tape* tape_;
};

void drop_list(Value* first) noexcept {
  while (first != nullptr) drop_own_user(std::exchange(first, first->next_let_go));
}

}  // namespace

void require_own(const char* operation, const Value& value, const char* remedy) {
  if (!is_elsewhere(value)) return;
  throw TapeError(
      fmt::format("[{}] {} was recorded on another thread's tape; {}", operation, describe(value), remedy));
}

void let_go_elsewhere(Value* value) noexcept {
  std::int32_t users = value->users.load(std::memory_order_relaxed);
  while (users > 1) {
    if (value->users.compare_exchange_weak(users, users - 1, std::memory_order_acq_rel)) return;
  }
  Tape& tape = *value->producer->tape;
  const HeldTape held(tape);
  const std::lock_guard guard(tape.mutex);
  if (!tape.has_thread) return drop_own_user(value);
  value->next_let_go = std::exchange(tape.let_go, value);
  tape.any_let_go.store(true, std::memory_order_relaxed);
}

void take_back_slowly(Tape& tape) noexcept {
  Value* first = nullptr;
  {
    const std::lock_guard guard(tape.mutex);
    first = std::exchange(tape.let_go, nullptr);
    tape.any_let_go.store(false, std::memory_order_relaxed);
  }
  drop_list(first);
}

void abandon(Tape* tape) noexcept {
  {
    const std::lock_guard guard(tape->mutex);
    tape->has_thread = false;
    drop_list(std::exchange(tape->let_go, nullptr));
  }
  drop_tape(tape);
}

}  // namespace reprise::detail
