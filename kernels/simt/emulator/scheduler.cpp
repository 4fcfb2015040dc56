// Which thread of the block runs next, and block barriers.
#include <utility>

#include "simt/emulator/block.h"
#include "simt/emulator/call_sites.h"
#include "simt/emulator/clocks.h"
#include "simt/emulator/diagnostics.h"
#include "simt/emulator/fibers.h"

namespace simt {

Thread* current = nullptr;
Grid grid;
Block block;
Statistics statistics;

namespace {

std::uint64_t random_state = 88172645463325252ull;

/// Threads that can run.
class ReadyQueue {
 public:
  void clear() { head_ = count_ = 0; }
  bool empty() const { return count_ == 0; }
  void push_back(std::uint32_t thread) {
    slots_[(head_ + count_++) % kMaxThreads] = static_cast<std::uint16_t>(thread);
  }
  void push_front(std::uint32_t thread) {
    head_ = (head_ - 1) % kMaxThreads;
    slots_[head_] = static_cast<std::uint16_t>(thread);
    count_++;
  }
  Thread& pop() {
    if (config.order == Order::random && count_ > 1) {
      std::swap(slots_[(head_ + next_random() % count_) % kMaxThreads], slots_[head_]);
    }
    Thread& thread = block.threads[slots_[head_]];
    head_ = (head_ + 1) % kMaxThreads;
    count_--;
    return thread;
  }

 private:
  std::uint32_t head_ = 0, count_ = 0;
  std::uint16_t slots_[kMaxThreads];
};
ReadyQueue ready;

[[noreturn]] void fail_deadlock() { fail("deadlock", "", "no thread of the block can run" + census()); }

[[noreturn]] void fail_exited_before_barrier() {
  fail("exit-before-barrier", "", "threads exit while the rest of the block waits at a barrier" + census());
}

void check_same_barrier(const Thread& first) {
  for (std::uint32_t i = 0; i < block.size; i++) {
    const Thread& thread = block.threads[i];
    if (thread.state == ThreadState::at_barrier && !same_site(first.site, thread.site)) {
      fail("divergent-barrier", thread.site, "threads of one block meet at different barriers" + census());
    }
  }
}

void count_votes() {
  block.votes = {};
  for (std::uint32_t i = 0; i < block.size; i++) {
    const Thread& thread = block.threads[i];
    if (thread.state != ThreadState::at_barrier) continue;
    block.votes.voters++;
    block.votes.count += thread.predicate ? 1 : 0;
  }
}

/// Everyone is at the barrier: checks that it is the same one, and lets them go.
void release_barrier() {
  if (block.sites_differ) check_same_barrier(block.threads[block.first_at_barrier]);
  if (block.voting) count_votes();
  if (race_hooks.access != nullptr) order_block();
  statistics.barriers += block.at_barrier;
  block.at_barrier = 0;
  block.sites_differ = block.voting = false;
  const bool reverse = config.order == Order::reverse;
  for (std::uint32_t k = 0; k < block.size; k++) {
    const std::uint32_t i = reverse ? block.size - 1 - k : k;
    Thread& thread = block.threads[i];
    if (thread.state != ThreadState::at_barrier) continue;
    thread.state = ThreadState::ready;
    thread.spins = 0;
    ready.push_back(i);
  }
}

/// Goes on with a thread, from a stack that is suspended or idle.
void resume(Thread& thread) {
  if (thread.state == ThreadState::fresh) thread.fiber = take_fiber();
  thread.state = ThreadState::running;
  current = &thread;
  switch_to(thread.fiber);
}

void exit_thread(Thread& thread) {
  check_pending_copies(thread);
  thread.state = ThreadState::done;
  block.done++;
  leave_open_rendezvous(thread);
  if (block.at_barrier != 0 && block.at_barrier + block.done == block.size) {
    if (config.strict_exit) fail_exited_before_barrier();
    release_barrier();
  }
}

}  // namespace

void seed_random(std::uint64_t seed) {
  random_state = seed * 0x9E3779B97F4A7C15ull | 1;
  for (int i = 0; i < 8; i++) next_random();
}

std::uint32_t next_random() {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  random_state ^= random_state << 17;
  return static_cast<std::uint32_t>(random_state >> 32);
}

bool random_turn(std::uint32_t one_in) {
  return config.order == Order::random && next_random() % one_in == 0;
}

void make_ready(Thread& thread, bool front) {
  thread.state = ThreadState::ready;
  if (front) {
    ready.push_front(thread.linear);
  } else {
    ready.push_back(thread.linear);
  }
}

void suspend() {
  Thread& me = *current;
  if (ready.empty()) fail_deadlock();
  Thread& next = ready.pop();
  if (&next == &me) {
    me.state = ThreadState::running;
    return;
  }
  resume(next);
}

void fiber_main() {
  fiber_started();
  Fiber* const me = running_fiber;
  for (;;) {
    Thread& thread = *current;
    statistics.threads++;
    launch_now->call(launch_now->parameters);
    exit_thread(thread);
    if (ready.empty()) {
      if (block.done != block.size) fail_deadlock();
      current = nullptr;
      give_fiber(me);
      switch_to(&main_fiber);
      continue;
    }
    Thread& next = ready.pop();
    if (next.state == ThreadState::fresh) {  // takes over this stack: no switch
      next.fiber = me;
      next.state = ThreadState::running;
      current = &next;
      continue;
    }
    give_fiber(me);
    resume(next);  // comes back when this stack is taken for another thread, which is then current
  }
}

void run_threads() {
  ready.clear();
  const bool reverse = config.order == Order::reverse;
  for (std::uint32_t k = 0; k < block.size; k++) ready.push_back(reverse ? block.size - 1 - k : k);
  running_fiber = &main_fiber;
  resume(ready.pop());
}

void block_barrier(Site site, const char* what) {
  if (skipped(site, what)) return;
  Thread& me = *current;
  me.state = ThreadState::at_barrier;
  me.site = site;
  me.waits_in = what;
  if (block.at_barrier == 0) {
    block.first_at_barrier = me.linear;
  } else if (identity(site) != identity(block.threads[block.first_at_barrier].site)) {
    block.sites_differ = true;
  }
  if (++block.at_barrier + block.done == block.size) {
    if (block.done != 0 && config.strict_exit) fail_exited_before_barrier();
    release_barrier();
  }
  suspend();
}

BarrierVotes block_vote(bool predicate, Site site, const char* what) {
  current->predicate = predicate;
  block.voting = true;
  block_barrier(site, what);
  // Valid until the next barrier opens, which waits for this thread too.
  return block.votes;
}

void preempt_point() {
  Thread& me = *current;
  me.spins++;
  if (me.spins > config.livelock_spins) {
    fail("livelock", "",
         format("the thread has done %u atomics without progress: it waits for a thread that cannot run, or "
                "for another block",
                me.spins));
  }
  if ((me.spins % 256 != 0 && !random_turn(4)) || ready.empty()) return;
  make_ready(me, false);
  suspend();
}

}  // namespace simt
