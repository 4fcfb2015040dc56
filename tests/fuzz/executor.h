// Runs instructions on a table of handles.
#pragma once

#include <atomic>
#include <mutex>
#include <optional>
#include <thread>

#include "operations.h"
#include "run.h"

namespace reprise::fuzz {

class Executor;

/// What all threads of a run have in common.
struct Shared {
  Mode mode;
  Executor* main = nullptr;
  std::atomic<std::uint64_t> hook_calls{0};
  std::atomic<std::uint64_t> hook_digest{0};  // a sum: the order of threads makes no difference
  std::atomic<std::uint64_t> met{0};
  std::atomic<bool> changed{false};
  std::atomic<bool> out_of_memory{false};
  std::vector<std::thread> beside;  // which let go of tensors
  std::mutex mutex;                 // of what follows
  std::string foreign;
  std::map<std::uint32_t, std::string> texts;
};

/// Leaves scopes on its way.
struct Unwind {
  int levels = 1;
};

class Executor {
 public:
  Executor(Shared& shared, std::size_t ids) : shared_(shared), slots_(ids) {}

  /// False when an exception left the whole.
  bool body(const Code& code);
  void observe_end();
  void clear();
  Log& log() { return log_; }
  Tensor& slot(Id id) { return slots_[id]; }

 private:
  void instructions(const Code& code);
  void step(const Instruction& i);
  void failed(const Instruction& i);
  void perform(const Instruction& i);
  bool can_run(const Instruction& i) const;
  void operate(const Instruction& i);
  void make_leaf(const Instruction& i);
  void let_go(const Instruction& i);
  void change_in_place(const Instruction& i);
  void play(const Instruction& i);
  void set_gradient(const Instruction& i);
  void gradients_of(const Instruction& i);
  void hang_hook(const Instruction& i);
  void read(const Instruction& i);
  void take_step();
  void scope(const Instruction& i);
  void sequence(const Instruction& i);
  void together(const Instruction& i);
  void keep(const Instruction& i, std::size_t part, Tensor tensor);
  void note(std::uint32_t at, What what, std::size_t part, std::uint64_t value, bool stale = false);
  void observe_played(std::uint32_t at);
  void observe_hooks(std::uint32_t at);
  void observe_gradients(std::uint32_t at, What what);
  template <class F>
  void for_each_leaf(F&& f);

  Shared& shared_;
  std::vector<Tensor> slots_;
  Log log_;
  bool alone_ = true;  // no other thread runs instructions beside this one
};

}  // namespace reprise::fuzz
