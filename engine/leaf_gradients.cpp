#include "leaf_gradients.h"

#include <optional>
#include <thread>

#include "reprise/device.h"
#include "reprise/kernels/elementwise.h"

namespace reprise::detail {
namespace {

/// Adds to what a leaf has; what it has must be its own memory, since the user may change it.
void accumulate(Value& leaf, Tensor gradient) {
  if (leaf.gradient == nullptr) {
    const bool take = is_exclusive(*gradient.value()) && is_dense_like(*gradient.value(), leaf);
    set_gradient(leaf, take ? std::move(gradient) : dense_copy(*gradient.value(), leaf));
    return;
  }
  kernels::copy(queue_of(leaf.spec.device), view_of(*gradient.value()),
                {view_of(*leaf.gradient), kernels::Write::accumulate});
  leaf.gradient->storage->version.fetch_add(1, std::memory_order_relaxed);
}

/// Whether the node's backward reads that memory: the user may have made a leaf's gradient an operand.
bool reads(Node& node, const Storage& memory) {
  bool found = false;
  for_each_saved(node, [&](const Value& value) { found |= value.storage == &memory; });
  return found;
}

// Beside the number of the call that has claimed a leaf: it does not add now, and another one has meanwhile.
constexpr std::uint64_t kParked = std::uint64_t{1} << 63, kShared = std::uint64_t{1} << 62;

/// Waits until no call adds to the leaf, and keeps others from it meanwhile.
class Turn {
 public:
  Turn(Value& leaf, std::uint64_t pass) : leaf_(leaf) {
    while (true) {
      before_ = leaf.claimed_by.load(std::memory_order_relaxed);
      const bool is_free = before_ == 0 || (before_ & kParked) != 0;
      if (is_free && leaf.claimed_by.compare_exchange_weak(before_, pass, std::memory_order_acquire)) return;
      std::this_thread::yield();
    }
  }
  ~Turn() { leaf_.claimed_by.store(before_ == 0 ? 0 : before_ | kShared, std::memory_order_release); }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

 private:
  Value& leaf_;
  std::uint64_t before_ = 0;
};

}  // namespace

LeafGradients::~LeafGradients() {
  release_claims();
  for (const Collected& collected : collected_) {
    if (collected.gradient != nullptr) drop_user(collected.gradient);
    drop_ref(collected.leaf);
  }
}

/// True when this call may add to the leaf's own gradient. A hook that is added meanwhile is for the next
/// call.
bool LeafGradients::claim(Value& leaf) {
  if (collects_all_) return false;
  if (leaf.claimed_by.load(std::memory_order_relaxed) == pass_) return true;
  if (has_hooks(leaf)) return false;
  claimed_.push_back({&leaf, false});
  std::uint64_t nobody = 0;
  if (!leaf.claimed_by.compare_exchange_strong(nobody, pass_, std::memory_order_acquire)) {
    claimed_.pop_back();
    return false;
  }
  claimed_.back().fresh = leaf.gradient == nullptr;
  add_ref(&leaf);
  return true;
}

void LeafGradients::release_claims() noexcept {
  for (const Claimed& claimed : std::exchange(claimed_, {})) {
    claimed.leaf->claimed_by.store(0, std::memory_order_release);
    drop_ref(claimed.leaf);
  }
}

void LeafGradients::park() noexcept {
  for (const Claimed& claimed : claimed_)
    claimed.leaf->claimed_by.store(pass_ | kParked, std::memory_order_release);
}

void LeafGradients::unpark() noexcept {
  for (Claimed& claimed : claimed_) {
    std::uint64_t found = pass_ | kParked;
    while (!claimed.leaf->claimed_by.compare_exchange_weak(found, pass_, std::memory_order_acquire)) {
      if ((found & ~kShared) != (pass_ | kParked)) {  // another call has its turn
        std::this_thread::yield();
        found = pass_ | kParked;
      }
    }
    if ((found & kShared) != 0) claimed.fresh = false;
  }
}

Value* LeafGradients::addable(Value& leaf, Node& reader) {
  if (claim(leaf)) {
    if (leaf.gradient == nullptr || !is_dense_like(*leaf.gradient, leaf) ||
        reads(reader, *leaf.gradient->storage))
      return nullptr;
    leaf.gradient->storage->version.fetch_add(1, std::memory_order_relaxed);
    return leaf.gradient;
  }
  const auto found = places_.find(&leaf);
  if (found == places_.end() || collected_[found->second].gradient == nullptr) return nullptr;
  Value*& gradient = collected_[found->second].gradient;
  make_addable(gradient, leaf);
  return gradient;
}

void LeafGradients::add(Value& leaf, Tensor gradient) {
  if (claim(leaf)) return accumulate(leaf, std::move(gradient));
  auto found = places_.find(&leaf);
  if (found == places_.end()) {
    collected_.reserve(collected_.size() + 1);
    found = places_.emplace(&leaf, collected_.size()).first;
    collected_.push_back({&leaf, nullptr});
    add_ref(&leaf);
  }
  add_pending(collected_[found->second].gradient, leaf, std::move(gradient));
}

/// What the hooks make of it, dense, in memory of its own.
Tensor LeafGradients::complete(Collected& collected) {
  std::optional<Parked> parked;
  if (has_hooks(*collected.leaf)) parked.emplace(*this);
  Tensor gradient = run_hooks(*collected.leaf, Tensor::adopt(std::exchange(collected.gradient, nullptr)));
  if (is_exclusive(*gradient.value()) && is_dense_like(*gradient.value(), *collected.leaf)) return gradient;
  return dense_copy(*gradient.value(), *collected.leaf);
}

void LeafGradients::finish() {
  std::vector<std::pair<Value*, Tensor>> added;
  added.reserve(collected_.size());
  for (Collected& collected : collected_) {
    if (collected.gradient != nullptr) added.emplace_back(collected.leaf, complete(collected));
  }
  release_claims();
  for (auto& [leaf, gradient] : added) {
    const Turn turn(*leaf, pass_);
    accumulate(*leaf, std::move(gradient));
  }
}

void LeafGradients::interrupted() noexcept {
  for (const Claimed& claimed : claimed_) {
    if (claimed.fresh)
      set_gradient(*claimed.leaf, {});
    else
      claimed.leaf->gradient_incomplete = true;
  }
}

}  // namespace reprise::detail
