// Leaves, scopes, threads and hooks.
#include <chrono>
#include <cmath>
#include <memory>

#include "../failing_new.h"
#include "executor.h"
#include "user_operations.h"

namespace reprise::fuzz {
namespace {

constexpr const char* kNames[] = {"a", "b", "c"};

/// 0.17, 0.54, ... in [-1, 1], others for another `from`.
std::vector<double> reals(std::int64_t n, std::uint32_t from) {
  std::vector<double> elements(static_cast<std::size_t>(n));
  for (std::size_t k = 0; k < elements.size(); ++k)
    elements[k] = std::remainder(0.17 + 0.37 * static_cast<double>(k) + 0.113 * from, 2.0);
  return elements;
}

Tensor filled(const Instruction& i, const Shape& shape, const TensorOptions& options) {
  const std::int64_t n = shape.numel();
  switch (static_cast<Filling>(i.what)) {
    case Filling::normal:
      return randn(shape, options);
    case Filling::uniform:
      return rand(shape, options);
    case Filling::ones:
      return ones(shape, options);
    case Filling::identifiers: {
      std::vector<std::int64_t> elements(static_cast<std::size_t>(n));
      for (std::size_t k = 0; k < elements.size(); ++k)
        elements[k] =
            static_cast<std::int64_t>((k * 3 + i.at) % static_cast<std::size_t>(std::max<int>(1, i.p[4])));
      return from_host<std::int64_t>(elements, shape, options);
    }
    case Filling::flags: {
      const auto elements = std::make_unique<bool[]>(static_cast<std::size_t>(n));
      for (std::size_t k = 0; k < static_cast<std::size_t>(n); ++k) elements[k] = (k * 5 + i.at) % 3 == 0;
      return from_host<bool>(std::span<const bool>(elements.get(), static_cast<std::size_t>(n)), shape,
                             options);
    }
    case Filling::host:
      break;
  }
  return from_host<double>(reals(n, i.at), shape, options);
}

}  // namespace

void Executor::make_leaf(const Instruction& i) {
  const Shape shape = shape_of(i.p);
  const auto layout = static_cast<Layout>(i.layout);
  const int last = shape.rank() - 1;
  Tensor leaf = filled(i, base_of(layout, shape),
                       {.dtype = dtype_of(i.p), .channels_last = layout == Layout::channels_last});
  if (layout == Layout::transposed && last > 0) leaf = transpose(leaf, last, last - 1).detach();
  if (layout == Layout::strided && last >= 0) leaf = slice(leaf, last, 1, 2 * shape[last] + 1, 2).detach();
  if (layout == Layout::expanded && last >= 0) leaf = expand(leaf, shape).detach();
  if (i.wants) leaf.set_requires_grad(true);
  if (i.at % 5 == 0) leaf.set_name("weight");
  keep(i, 0, std::move(leaf));
}

void Executor::scope(const Instruction& i) {
  const bool segments = shared_.mode.segments;
  try {
    std::optional<checkpoint::Segment> segment;
    std::optional<NoGrad> no_grad;
    std::optional<AnomalyMode> anomaly;
    if (i.kind == Kind::no_grad) no_grad.emplace();
    if (i.kind == Kind::anomaly) anomaly.emplace();
    if (i.kind == Kind::segment && segments) {
      segment.emplace(kNames[i.p[2] % 3],
                      checkpoint::SegmentOptions{
                          .drop = i.p[0] != 0 ? checkpoint::Drop::cheap : checkpoint::Drop::everything,
                          .spare_last = i.p[1] != 0});
    }
    instructions(i.bodies[0]);
  } catch (Unwind& unwind) {
    if (--unwind.levels > 0) throw;
  }
}

void Executor::sequence(const Instruction& i) {
  try {
    const auto n = static_cast<std::int64_t>(i.bodies.size());
    const auto block = [&](std::int64_t k) { instructions(i.bodies[static_cast<std::size_t>(k)]); };
    if (shared_.mode.segments) {
      checkpoint::sequence({.strategy = static_cast<checkpoint::Strategy>(i.p[0]), .every = i.p[1]}, n,
                           block);
    } else {
      for (std::int64_t k = 0; k < n; ++k) block(k);
    }
  } catch (Unwind& unwind) {
    if (--unwind.levels > 0) throw;
  }
}

void Executor::together(const Instruction& i) {
  std::vector<std::unique_ptr<Executor>> executors;
  for (std::size_t k = 0; k < i.bodies.size(); ++k) {
    executors.push_back(std::make_unique<Executor>(shared_, slots_.size()));
    executors[k]->alone_ = false;
    executors[k]->slots_ = slots_;
    executors[k]->log_.reserve(128);
  }
  // They begin together, or the first would be done before the second is there.
  std::atomic<std::size_t> waiting{i.bodies.size()};
  std::vector<std::thread> threads;
  for (std::size_t k = 0; k < i.bodies.size(); ++k) {
    threads.emplace_back([&, k] {
      Executor& executor = *executors[k];
      waiting.fetch_sub(1);
      while (waiting.load() > 0) std::this_thread::yield();
      manual_seed(i.at + k);
      user::Stamp::runs = 0;
      executor.body(i.bodies[k]);
      // What it was given goes on its own thread.
      for (std::size_t id = 0; id < slots_.size(); ++id) {
        if (slots_[id].defined()) executor.slots_[id] = Tensor();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& executor : executors) {
    log_.insert(log_.end(), executor->log_.begin(), executor->log_.end());
    for (std::size_t id = 0; id < slots_.size(); ++id) {
      if (executor->slots_[id].defined()) slots_[id] = std::move(executor->slots_[id]);
    }
  }
  observe_hooks(i.at);
  observe_gradients(i.at, What::gradient);
}

namespace {

/// Waits for the other of two threads, but not for long: it may have failed.
void meet(std::atomic<std::uint64_t>& met) {
  const std::uint64_t both = met.fetch_add(1) / 2 * 2 + 2;
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; met.load() < both; ++i) {
    if (i < 10000) continue;
    if (std::chrono::steady_clock::now() - start > std::chrono::milliseconds(20)) return;
    std::this_thread::yield();
  }
}

}  // namespace

void Executor::hang_hook(const Instruction& i) {
  Shared* const shared = &shared_;
  const std::uint32_t at = i.at;
  const auto count = [shared, at](const Tensor& gradient) {
    shared->hook_calls += 1;
    shared->hook_digest += mix(digest(gradient), at);
  };
  const auto slot = [shared](Id id) -> Tensor& { return shared->main->slot(id); };
  const Id tensor = i.in[0], other = i.in[1];
  const Tensor& hung = slots_[tensor];
  switch (static_cast<Hook>(i.what)) {
    case Hook::count:
      hung.on_gradient([count](const Tensor& g) { return count(g), Tensor(); });
      break;
    case Hook::meet:
      hung.on_gradient([count, shared](const Tensor& g) { return count(g), meet(shared->met), Tensor(); });
      break;
    case Hook::scale:
      hung.on_gradient([count](const Tensor& g) { return count(g), g * 2.0; });
      break;
    case Hook::replace:
      hung.on_gradient([count, slot, other](const Tensor& g) { return count(g), slot(other).detach(); });
      break;
    case Hook::add_hook:
      hung.on_gradient([count, slot, tensor, added = 0](const Tensor& g) mutable {
        count(g);
        // The list is made long, so that it moves.
        for (; added < 5 && slot(tensor).defined(); ++added)
          slot(tensor).on_gradient([count](const Tensor& later) { return count(later), Tensor(); });
        return Tensor();
      });
      break;
    case Hook::drop:
      hung.on_gradient([count, slot, other](const Tensor& g) {
        count(g);
        if (other != kNone) slot(other) = Tensor();
        return Tensor();
      });
      break;
    case Hook::fail:
      hung.on_gradient([count, failed = false](const Tensor& g) mutable {
        count(g);
        if (!std::exchange(failed, true)) throw Planned("a hook failed");
        return Tensor();
      });
      break;
    case Hook::segment:
      hung.on_gradient([count, shared, slot, other](const Tensor& g) {
        count(g);
        std::optional<checkpoint::Segment> segment;
        if (shared->mode.segments) segment.emplace("hook", checkpoint::SegmentOptions{.spare_last = false});
        if (other == kNone || !slot(other).defined() || !is_floating(slot(other).dtype())) return Tensor();
        shared->hook_digest += digest(tanh(slot(other) * 2.0));
        return Tensor();
      });
      break;
    case Hook::play:
      hung.on_gradient([count, shared, slot, other](const Tensor& g) {
        count(g);
        if (other == kNone || !slot(other).defined()) return Tensor();
        try {
          slot(other).backward();
        } catch (const TapeError&) {
          shared->hook_digest += 17;
        } catch (const ShapeError&) {
          shared->hook_digest += 19;
        }
        return Tensor();
      });
      break;
  }
}

}  // namespace reprise::fuzz
