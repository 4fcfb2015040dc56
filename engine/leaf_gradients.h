// Where the gradients of leaves go during one call of backward.
#pragma once

#include <unordered_map>
#include <utility>
#include <vector>

#include "gradient_memory.h"

namespace reprise::detail {

/// A leaf without hooks that no other call adds to is claimed and added to directly, which takes no memory
/// beside its gradient. Everything else is collected apart until the call ends: hooks see complete gradients
/// only, gradients() changes none, and several threads may play backward to one leaf at the same time.
class LeafGradients {
 public:
  explicit LeafGradients(std::uint64_t pass) : pass_(pass) {}
  LeafGradients(const LeafGradients&) = delete;
  LeafGradients& operator=(const LeafGradients&) = delete;
  ~LeafGradients();

  /// No leaf's own gradient is changed by this call.
  void collect_all() { collects_all_ = true; }

  /// The gradient so far, for the kernel of `reader` to add to; null when there is none yet, or it reads that
  /// memory.
  Value* addable(Value& leaf, Node& reader);

  void add(Value& leaf, Tensor gradient);

  /// Runs the hooks and adds what was collected to the leaves' gradients. Waits for calls on other threads
  /// that add to the same leaves.
  void finish();

  /// The same for a call that changes none: gives f(leaf, gradient) each complete gradient, which nobody else
  /// sees.
  template <class F>
  void hand_out(F&& f) {
    for (Collected& collected : collected_) {
      if (collected.gradient != nullptr) f(*collected.leaf, complete(collected));
    }
  }

  /// The call has failed: what it added to is taken back or marked as incomplete.
  void interrupted() noexcept;

  /// While a hook runs, which may wait for another thread, calls there may add to what this one has claimed.
  class Parked {
   public:
    explicit Parked(LeafGradients& gradients) : gradients_(gradients) { gradients_.park(); }
    ~Parked() { gradients_.unpark(); }
    Parked(const Parked&) = delete;
    Parked& operator=(const Parked&) = delete;

   private:
    LeafGradients& gradients_;
  };

 private:
  struct Claimed {
    Value* leaf;
    bool fresh;  // has no gradient but this call's
  };
  struct Collected {
    Value* leaf;
    Value* gradient;  // owned as a user; null: none
  };

  bool claim(Value& leaf);
  void release_claims() noexcept;
  void park() noexcept;
  void unpark() noexcept;
  Tensor complete(Collected& collected);

  std::uint64_t pass_;
  bool collects_all_ = false;
  std::vector<Claimed> claimed_;
  std::vector<Collected> collected_;
  std::unordered_map<const Value*, std::size_t> places_;  // in `collected_`
};

}  // namespace reprise::detail
