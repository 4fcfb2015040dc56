// Which thread a tape belongs to, and what becomes of results that other threads let go.
//
// Leaves are free: any thread may hold, read and drop them. The result of an operation is part of its
// thread's tape. Other threads may read it, detach() it and drop it. A drop that would take away the last
// user waits in the tape's list until the owner next records, plays, opens or closes a segment, or counts its
// nodes. Once the owner has ended, whoever drops does the work, one thread at a time.
#pragma once

#include "reprise/node.h"

namespace reprise::detail {

/// This thread's tape; null before its first operation and once the thread's objects are being destroyed.
extern constinit thread_local Tape* own_tape;

/// True when the node is on the tape of another thread, or of one that has ended.
inline bool is_elsewhere(const Node& node) { return node.tape != nullptr && node.tape != own_tape; }
inline bool is_elsewhere(const Value& value) {
  return value.producer != nullptr && is_elsewhere(*value.producer);
}

/// Throws TapeError naming the operation where the value is on another thread's tape; `remedy` says what to
/// do.
void require_own(const char* operation, const Value& value, const char* remedy);

/// Gives back a user's count of a value that is on another thread's tape.
void let_go_elsewhere(Value* value) noexcept;

/// Gives back a user's count of a value that is nobody's or on this thread's tape.
void drop_own_user(Value* value) noexcept;

void take_back_slowly(Tape& tape) noexcept;

/// Gives back what other threads have let go of this thread's tape.
inline void take_back(Tape& tape) noexcept {
  if (tape.any_let_go.load(std::memory_order_relaxed)) [[unlikely]]
    take_back_slowly(tape);
}

/// The thread ends: from now on whoever lets go of a value of the tape destroys what follows from it.
void abandon(Tape* tape) noexcept;

}  // namespace reprise::detail
