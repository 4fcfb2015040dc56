#include "executor.h"

#include <bit>

#include "../failing_new.h"
#include "user_operations.h"

namespace reprise::fuzz {

void Executor::note(std::uint32_t at, What what, std::size_t part, std::uint64_t value, bool stale) {
  const test::OwnMemory own;
  log_.push_back({at, what, static_cast<std::uint16_t>(part), stale, value});
}

void Executor::keep(const Instruction& i, std::size_t part, Tensor tensor) {
  note(i.at, What::value, part, digest(tensor));
  slots_[i.result + part] = std::move(tensor);
}

bool Executor::body(const Code& code) {
  try {
    instructions(code);
    return true;
  } catch (const Unwind&) {
    return false;
  }
}

void Executor::instructions(const Code& code) {
  for (const Instruction& i : code) step(i);
}

void Executor::step(const Instruction& i) {
  if (!can_run(i)) return;
  for (bool again = false;; again = true) {
    const Generator generator_before = generator();
    const int runs_before = user::Stamp::runs;
    try {
      perform(i);
      return;
    } catch (const Unwind&) {
      throw;
    } catch (...) {
      // An operation that got no memory has left no trace: it can be tried again, unless it took its operands
      // with it.
      bool stale = false;
      std::string text;
      const test::OwnMemory own;
      const bool retries = shared_.mode.after == After::retry && shared_.mode.faults != Faults::none &&
                           !again && i.kind == Kind::operation && i.consumes == 0 &&
                           classify(stale, text) == Thrown::memory;
      if (!retries) {
        failed(i);
        return;
      }
      generator() = generator_before;
      user::Stamp::runs = runs_before;
    }
  }
}

/// Notes the exception under way; throws on where the program leaves scopes for it.
void Executor::failed(const Instruction& i) {
  bool stale = false;
  std::string text;
  const Thrown thrown = classify(stale, text);
  note(i.at, What::error, 0, static_cast<std::uint64_t>(thrown), stale);
  if (i.kind == Kind::backward && thrown != Thrown::memory) observe_played(i.at);
  const std::lock_guard lock(shared_.mutex);
  if (thrown == Thrown::foreign && shared_.foreign.empty()) shared_.foreign = text;
  shared_.texts[i.at] = text;
  if (thrown == Thrown::memory) {
    shared_.out_of_memory = true;
    if (shared_.mode.after != After::go_on) throw Unwind{1 << 20};
  }
  if (i.escapes > 0) throw Unwind{i.escapes};
}

/// Operands that an earlier error left undefined: the instruction is passed over.
bool Executor::can_run(const Instruction& i) const {
  if (i.kind == Kind::backward || i.kind == Kind::gradients)
    return i.in[0] != kNone && slots_[i.in[0]].defined();
  for (const Id id : i.in) {
    if (id != kNone && !slots_[id].defined()) return false;
  }
  return true;
}

void Executor::perform(const Instruction& i) {
  switch (i.kind) {
    case Kind::leaf:
      return make_leaf(i);
    case Kind::operation:
      return operate(i);
    case Kind::drop:
    case Kind::elsewhere:
      return let_go(i);
    case Kind::in_place:
      return change_in_place(i);
    case Kind::want:
      slots_[i.in[0]].set_requires_grad(i.p[0] != 0);
      return;
    case Kind::gradient_of:
      shared_.changed = true;  // what is added to it changes what the handle shows
      return keep(i, 0, slots_[i.in[0]].grad());
    case Kind::backward:
      return play(i);
    case Kind::gradients:
      return gradients_of(i);
    case Kind::clear:
      if (i.in[0] != kNone) return slots_[i.in[0]].clear_grad();
      return for_each_leaf([](Id, Tensor& leaf) { leaf.clear_grad(); });
    case Kind::step:
      return take_step();
    case Kind::set_gradient:
      shared_.changed = true;
      return set_gradient(i);
    case Kind::hook:
      return hang_hook(i);
    case Kind::read:
      return read(i);
    case Kind::unwind:
      throw Unwind{i.p[0]};
    case Kind::segment:
    case Kind::no_grad:
    case Kind::anomaly:
      return scope(i);
    case Kind::sequence:
      return sequence(i);
    case Kind::thread:
      std::thread([&] {
        manual_seed(i.at);
        user::Stamp::runs = 0;
        body(i.bodies[0]);
      }).join();
      return;
    case Kind::together:
      return together(i);
  }
}

void Executor::operate(const Instruction& i) {
  Operands in;
  for (std::size_t k = 0; k < in.size(); ++k) {
    if (i.in[k] == kNone) continue;
    if (i.consumes >> k & 1u)
      in[k] = std::move(slots_[i.in[k]]);
    else
      in[k] = slots_[i.in[k]];
  }
  Results results = operations()[i.what].call(in, i.p);
  for (std::size_t part = 0; part < results.n && part < i.results; ++part)
    keep(i, part, std::move(results.tensors[part]));
}

void Executor::let_go(const Instruction& i) {
  Tensor& slot = slots_[i.in[0]];
  if (i.kind == Kind::drop) {
    slot = Tensor();
    return;
  }
  std::thread thread([tensor = std::move(slot)]() mutable { tensor = Tensor(); });
  if (i.p[0] == 0) return thread.join();
  const test::OwnMemory own;
  shared_.beside.push_back(std::move(thread));
}

void Executor::change_in_place(const Instruction& i) {
  std::optional<NoGrad> no_grad;
  if (i.p[0] != 0) no_grad.emplace();
  shared_.changed = true;
  Tensor target = slots_[i.in[0]];
  const double amount = i.p[1] / 8.0;
  switch (static_cast<Change>(i.what)) {
    case Change::fill:
      target.fill_(amount);
      break;
    case Change::copy:
      target.copy_(slots_[i.in[1]]);
      break;
    case Change::add:
      target.add_(slots_[i.in[1]], amount);
      break;
    case Change::mul:
      target.mul_(amount);
      break;
  }
  note(i.at, What::value, 0, digest(target));
}

void Executor::play(const Instruction& i) {
  std::array<Tensor, 2> outputs;
  std::size_t n = 0;
  for (std::size_t k = 0; k < 2; ++k) {
    if (i.in[k] != kNone && slots_[i.in[k]].defined()) outputs[n++] = slots_[i.in[k]];
  }
  const BackwardOptions options{.retain_tape = i.p[0] != 0};
  if (i.p[1] != 0 && i.in[3] != kNone && slots_[i.in[3]].defined())
    outputs[0].backward(slots_[i.in[3]], options);
  else if (n == 1)
    outputs[0].backward(options);
  else
    backward(std::span<const Tensor>(outputs.data(), n), {}, options);
  observe_played(i.at);
}

void Executor::observe_played(std::uint32_t at) {
  observe_hooks(at);
  observe_gradients(at, What::gradient);
}

/// Hooks of all threads are counted together: not while another may still call some.
void Executor::observe_hooks(std::uint32_t at) {
  if (alone_) note(at, What::hooks, 0, mix(shared_.hook_calls, shared_.hook_digest));
}

/// In memory of its own and cut off the tape: backward adds to it in place, and what leads back to the leaf
/// would never go.
void Executor::set_gradient(const Instruction& i) {
  slots_[i.in[0]].set_grad(slots_[i.in[1]].detach().clone().detach());
}

void Executor::gradients_of(const Instruction& i) {
  std::array<Tensor, 3> inputs;
  std::array<std::size_t, 3> parts{};
  std::size_t n = 0;
  for (std::size_t k = 1; k <= 3; ++k) {
    if (i.in[k] == kNone || !slots_[i.in[k]].defined()) continue;
    parts[n] = k - 1;
    inputs[n++] = slots_[i.in[k]];
  }
  std::vector<Tensor> found =
      gradients(slots_[i.in[0]], std::span<const Tensor>(inputs.data(), n), {.retain_tape = i.p[0] != 0});
  for (std::size_t k = 0; k < n && k < found.size(); ++k) {
    if (parts[k] < i.results) keep(i, parts[k], std::move(found[k]));
  }
  observe_hooks(i.at);
}

void Executor::read(const Instruction& i) {
  const Tensor& tensor = slots_[i.in[0]];
  std::uint64_t hash = static_cast<std::uint64_t>(tensor.requires_grad()) + 1;
  const auto add = [&](auto value) { hash = mix(hash, std::bit_cast<std::uint64_t>(value)); };
  if (tensor.dtype() == DType::int64) {
    for (const std::int64_t value : tensor.to_vector<std::int64_t>()) add(value);
  } else {
    for (const double value : tensor.to_vector<double>()) add(value);
  }
  if (is_floating(tensor.dtype()) && tensor.numel() == 1) add(tensor.item<double>());
  note(i.at, What::value, 0, hash);
}

void Executor::take_step() {
  const NoGrad no_grad;
  shared_.changed = true;
  for_each_leaf([](Id, Tensor& leaf) {
    if (const Tensor gradient = leaf.grad(); gradient.defined()) leaf.add_(gradient, -0.125);
  });
}

template <class F>
void Executor::for_each_leaf(F&& f) {
  for (std::size_t id = 0; id < slots_.size(); ++id) {
    Tensor& tensor = slots_[id];
    if (tensor.defined() && tensor.requires_grad() && tensor.is_leaf()) f(static_cast<Id>(id), tensor);
  }
}

void Executor::observe_gradients(std::uint32_t at, What what) {
  if (!alone_) return;
  for_each_leaf([&](Id id, Tensor& leaf) {
    std::uint64_t value = 0;
    try {
      value = digest(leaf.grad());
    } catch (const TapeError&) {
      value = 1;  // incomplete, as a backward stopped midway
    }
    if (value != 0) note(at, what, id, mix(mix(value, 77), id));
  });
}

void Executor::observe_end() {
  const test::OwnMemory own;
  for (std::size_t id = 0; id < slots_.size(); ++id) {
    if (slots_[id].defined()) note(~0u, What::last_value, id, mix(digest(slots_[id]), id));
  }
  observe_gradients(~0u, What::last_gradient);
  observe_hooks(~0u);
  note(~0u, What::generator, 0, mix(generator().seed, generator().next));
}

void Executor::clear() {
  // Neither first to last nor last to first.
  for (std::size_t id = 0; id < slots_.size(); id += 2) slots_[id] = Tensor();
  for (std::size_t id = slots_.size(); id-- > 0;) slots_[id] = Tensor();
}

}  // namespace reprise::fuzz
