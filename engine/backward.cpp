// Playing the tape backward: which nodes, in which order, and where each gradient goes.
#include <fmt/format.h>

#include <atomic>
#include <unordered_set>

#include "folded_gradient.h"
#include "gradient_memory.h"
#include "leaf_gradients.h"
#include "node_lifetime.h"
#include "owned_values.h"
#include "reprise/context.h"
#include "reprise/device.h"
#include "reprise/kernels/elementwise.h"
#include "run_forward.h"
#include "tape_owner.h"

namespace reprise {
namespace {

using namespace detail;
using Slot = GradSlots::Slot;

/// A number for a call of backward, of any thread: marks on leaves, which threads share, must not be taken
/// for another's.
std::uint64_t next_pass() {
  static std::atomic<std::uint64_t> last{0};
  return last.fetch_add(1, std::memory_order_relaxed) + 1;
}

/// One call of backward.
class Player {
 public:
  explicit Player(BackwardOptions options)
      : options_(options), ctx_(context()), pass_(ctx_.tape->pass = next_pass()) {
    take_back(*ctx_.tape);
  }
  Player(const Player&) = delete;
  Player& operator=(const Player&) = delete;
  ~Player();

  void want_only(std::span<const Tensor> inputs);
  void seed(std::span<const Tensor> outputs, std::span<const Tensor> gradients);
  void play();
  std::vector<Tensor> take_wanted() { return std::move(wanted_gradients_); }

 private:
  void mark();
  void keep_useful();
  void schedule() noexcept;
  bool wants(const Value& value) const;
  void hand_out(const Value& value, const Tensor& gradient);
  void run(Node& node);
  const Node* prepare_folded(const Node& node);
  void run_operation(Node& node, OwnedValues& dy);
  bool share_gradient(Node& node, std::uint32_t i, Tensor dy);
  Slot make_slot(Node& node, std::uint32_t i, std::span<const Slot> earlier, const OwnedValues& dy,
                 OwnedValues& fresh);
  void add_gradient(Value& value, Tensor gradient);

  BackwardOptions options_;
  Context& ctx_;
  std::uint64_t pass_;
  bool chosen_only_ = false;
  bool scheduled_ = false;
  bool done_ = false;
  std::vector<Node*> nodes_;      // newest first
  std::size_t at_ = 0;            // the node that is played
  const Node* folded_ = nullptr;  // the next one, when its backward is done along with this one's
  std::vector<Tensor> roots_;
  LeafGradients leaves_{pass_};
  std::vector<Tensor> wanted_;
  std::vector<Tensor> wanted_gradients_;
  std::unordered_set<const Value*> wanted_leaves_;
};

Player::~Player() {
  const DeferDestruction until_all_passed;
  for (Node* node : nodes_) {
    if (done_) break;
    for (std::uint32_t i = 0; i < node->n_outputs; ++i) {
      if (!node->outputs[i]->is_leaf) set_gradient(*node->outputs[i], {});
    }
    if (scheduled_ && node->pass == pass_ && node->region != nullptr) node->region->passed(*node, false);
    node->pass = 0;
  }
  for (Node* node : nodes_) {
    // A region may replay what was played, for another backward through it; it knows when none can come.
    if (node->played && node->region == nullptr) forget_inputs(*node);
    drop_node_ref(*node);
  }
  if (!done_) leaves_.interrupted();
}

void Player::want_only(std::span<const Tensor> inputs) {
  chosen_only_ = true;
  leaves_.collect_all();
  for (const Tensor& input : inputs) {
    if (!input.requires_grad()) {
      throw TapeError(
          fmt::format("[gradients] {} wants no gradient; call set_requires_grad(true) before the forward",
                      describe(*input.value())));
    }
    Value& value = *input.value();
    require_own("gradients", value, "call it there");
    if (!value.is_leaf)
      value.wanted_pass = pass_;
    else
      wanted_leaves_.insert(&value);
    wanted_.push_back(input);
  }
  wanted_gradients_.resize(inputs.size());
}

void Player::seed(std::span<const Tensor> outputs, std::span<const Tensor> gradients) {
  if (!gradients.empty() && gradients.size() != outputs.size()) {
    throw ShapeError(fmt::format("[backward] {} gradients for {} outputs", gradients.size(), outputs.size()));
  }
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    if (!outputs[i].defined()) throw Error(fmt::format("[backward] output {} is an undefined tensor", i));
    Value& value = *outputs[i].value();
    if (!value.requires_grad) {
      throw TapeError(fmt::format(
          "[backward] {} does not lead back to anything that wants a gradient; was it computed under "
          "NoGrad, or from leaves without set_requires_grad(true)?",
          describe(value)));
    }
    require_own("backward", value, "call it there");
    Tensor gradient = gradients.empty() ? Tensor() : gradients[i];
    if (gradient.defined()) {
      check_gradient(gradient, value, "the gradient given");
    } else if (value.spec.shape.numel() != 1) {
      throw ShapeError(fmt::format("[backward] {} is not a scalar; give its gradient", describe(value)));
    } else {
      gradient = make_gradient(value);
      kernels::fill(queue_of(gradient.device()), 1.0, view_of(*gradient.value()));
    }
    roots_.push_back(outputs[i]);
    roots_.push_back(std::move(gradient));
  }
  mark();
  if (chosen_only_) keep_useful();
  schedule();
  for (std::size_t i = 0; i < roots_.size(); i += 2) {
    if (wants(*roots_[i].value())) add_gradient(*roots_[i].value(), roots_[i + 1]);
  }
  roots_.clear();
}

/// Collects the nodes that lead to the outputs, newest first. Inputs are always older than the node that
/// reads them, so one walk along the tape is enough.
void Player::mark() {
  std::int64_t outstanding = 0;
  Node* newest = nullptr;
  const auto reach = [&](const Value& value) {
    Node* node = value.is_leaf ? nullptr : value.producer;
    if (node == nullptr || node->pass == pass_) return;
    if (node->played) {
      throw TapeError(
          fmt::format("[backward] the tape through {} was already played and freed; keep it with "
                      "backward({{.retain_tape = true}}) or run the forward again",
                      describe(value)));
    }
    node->pass = pass_;
    ++outstanding;
    if (newest == nullptr || node->sequence > newest->sequence) newest = node;
  };
  for (std::size_t i = 0; i < roots_.size(); i += 2) reach(*roots_[i].value());
  for (Node* node = newest; outstanding > 0; node = node->older) {
    if (node->pass != pass_) continue;
    --outstanding;
    nodes_.push_back(node);
    node->live_outputs.fetch_add(1, std::memory_order_relaxed);
    for (std::uint32_t i = 0; i < node->n_inputs; ++i) {
      if (node->needs >> i & 1u) reach(*node->inputs[i]);
    }
  }
}

/// Of the marked nodes, only those that lead to a chosen input stay marked.
void Player::keep_useful() {
  for (auto it = nodes_.rbegin(); it != nodes_.rend(); ++it) {
    Node& node = **it;
    bool useful = false;
    for (std::uint32_t i = 0; i < node.n_inputs; ++i)
      useful |= (node.needs >> i & 1u) && wants(*node.inputs[i]);
    for (std::uint32_t i = 0; i < node.n_outputs; ++i) useful |= node.outputs[i]->wanted_pass == pass_;
    if (!useful) node.pass = 0;
  }
}

void Player::schedule() noexcept {
  scheduled_ = true;
  for (Node* node : nodes_) {
    if (node->pass == pass_ && node->region != nullptr) node->region->scheduled(*node);
  }
}

bool Player::wants(const Value& value) const {
  // One that was frozen after the forward gets none.
  if (value.is_leaf) return chosen_only_ ? wanted_leaves_.contains(&value) : value.requires_grad;
  if (!chosen_only_) return true;
  return value.wanted_pass == pass_ || value.producer->pass == pass_;
}

void Player::play() {
  for (at_ = 0; at_ < nodes_.size(); ++at_) {
    if (nodes_[at_]->pass == pass_) run(*nodes_[at_]);
  }
  if (chosen_only_)
    leaves_.hand_out([&](const Value& leaf, const Tensor& gradient) { hand_out(leaf, gradient); });
  else
    leaves_.finish();
  done_ = true;
}

void Player::add_gradient(Value& value, Tensor gradient) {
  if (!value.is_leaf)
    add_pending(value.gradient, value, std::move(gradient));
  else
    leaves_.add(value, std::move(gradient));
}

/// The complete gradient of what was chosen; its memory is the caller's alone.
void Player::hand_out(const Value& value, const Tensor& gradient) {
  bool given = false;
  for (std::size_t k = 0; k < wanted_.size(); ++k) {
    if (wanted_[k].value() != &value) continue;
    wanted_gradients_[k] = given ? dense_copy(*gradient.value(), value) : gradient;
    given = true;
  }
}

/// What must hold before a node's backward: what it saves is there, as it was.
void prepare(Node& node) {
  if (node.region != nullptr) node.region->prepare(node);
  check_versions(node, true);
}

/// The next node, made ready, if the backward of this one does its part too.
const Node* Player::prepare_folded(const Node& node) {
  if (!node.table->applies_derivative || ctx_.anomaly()) return nullptr;
  std::size_t next = at_ + 1;
  while (next < nodes_.size() && nodes_[next]->pass != pass_) ++next;
  if (next == nodes_.size() || !folds_gradient(node, *nodes_[next]) || !wants(*nodes_[next]->inputs[0]))
    return nullptr;
  prepare(*nodes_[next]);
  return nodes_[next];
}

void Player::run(Node& node) {
  OwnedValues dy(node.n_outputs);
  bool any = false;
  const bool was_folded = std::exchange(folded_, nullptr) == &node;
  for (std::uint32_t i = 0; i < node.n_visible(); ++i) {
    Value& output = *node.outputs[i];
    if (output.is_leaf) continue;
    dy.adopt(i, std::exchange(output.gradient, nullptr));
    if (dy[i] == nullptr) continue;
    any = true;
    if (has_hooks(output)) {
      const LeafGradients::Parked parked(leaves_);
      Tensor replaced = run_hooks(output, Tensor::adopt(dy.take(i)));
      add_user(replaced.value());
      dy.adopt(i, replaced.value());
    }
    if (output.wanted_pass == pass_)
      hand_out(output, is_exclusive(*dy[i]) ? Tensor::share(dy[i]) : dense_copy(*dy[i], output));
  }
  if (any) {
    prepare(node);
    folded_ = prepare_folded(node);
    run_operation(node, dy);
  }
  if (any || was_folded) ++ctx_.counters.backward_nodes;
  if (!options_.retain_tape) {
    release_saved(node);
    node.played = true;
  }
  node.pass = 0;
  if (node.region != nullptr) node.region->passed(node, !options_.retain_tape);
}

/// Hands the output's gradient on as the input's, without a kernel, where that is what the operation's
/// derivative is.
bool Player::share_gradient(Node& node, std::uint32_t i, Tensor dy) {
  const OpTable& table = *node.table;
  Value& input = *node.inputs[i];
  const Value& output = *node.outputs[0];
  if ((table.passes_gradient >> i & 1u) && input.spec.shape == output.spec.shape &&
      input.spec.dtype == output.spec.dtype) {
    add_gradient(input, std::move(dy));
    return true;
  }
  if (table.view_gradient == nullptr || i != 0) return false;
  Tensor view = view_gradient(node, *dy.value());
  if (!view.defined()) return false;
  add_gradient(input, std::move(view));
  return true;
}

/// Memory for the gradient of input i: what is there already, to be added to, or new (then `fresh` owns it).
Slot Player::make_slot(Node& node, std::uint32_t i, std::span<const Slot> earlier, const OwnedValues& dy,
                       OwnedValues& fresh) {
  Value& input = *node.inputs[i];
  bool twice = false;
  for (std::uint32_t j = 0; j < i; ++j) twice |= earlier[j].gradient != nullptr && node.inputs[j] == &input;
  if (!twice && input.is_leaf) {
    if (Value* const sum = leaves_.addable(input, node)) return {sum, kernels::Write::accumulate};
  } else if (!twice && input.gradient != nullptr) {
    make_addable(input.gradient, input);
    return {input.gradient, kernels::Write::accumulate};
  }
  if (!options_.retain_tape && may_overwrite(node, i)) {
    const Tensor gradient = gradient_over(input);
    add_user(gradient.value());
    fresh.adopt(i, gradient.value());
  } else if (i == 0 && node.table->gradient_in_place && dy[0] != nullptr && is_exclusive(*dy[0]) &&
             is_dense_like(*dy[0], input)) {
    add_user(dy[0]);
    fresh.adopt(i, dy[0]);
  } else {
    Tensor gradient = make_gradient(input);
    add_user(gradient.value());
    fresh.adopt(i, gradient.value());
  }
  return {fresh[i], kernels::Write::overwrite};
}

void Player::run_operation(Node& node, OwnedValues& dy) {
  const SpanScope span(node.table->name, Phase::backward, node.place, node.device(),
                       node.region == nullptr ? nullptr : node.region->tag());
  InlineVector<Slot, 4> slots(node.n_inputs);
  OwnedValues fresh(node.n_inputs);
  bool any = false;
  for (std::uint32_t i = 0; i < node.n_inputs; ++i) {
    if (!(node.needs >> i & 1u) || !wants(*node.inputs[i])) continue;
    if (dy[0] != nullptr && share_gradient(node, i, Tensor::share(dy[0]))) continue;
    slots[i] = i == 0 && folded_ != nullptr
                   ? folded_slot(*folded_, fresh)
                   : make_slot(node, i, std::span<const Slot>(slots.data(), i), dy, fresh);
    any = true;
  }
  if (!any) return;
  const Exec exec(node.device(), node.key);
  node.table->backward(node.op, exec, Saved(node), OutGrads(dy.span().data(), dy.size()),
                       GradSlots(slots.data(), slots.size()));
  if (fresh[0] != nullptr && fresh[0] == dy[0]) dy.adopt(0, nullptr);
  for (std::uint32_t i = 0; i < node.n_inputs; ++i) {
    if (ctx_.anomaly() && slots[i].gradient != nullptr) [[unlikely]] {
      detail::check_nan(*node.table, Phase::backward, "the gradient of input", i, *slots[i].gradient,
                        {node.inputs, node.n_inputs});
    }
    Value& input = i == 0 && folded_ != nullptr ? *folded_->inputs[0] : *node.inputs[i];
    if (fresh[i] != nullptr) add_gradient(input, Tensor::adopt(fresh.take(i)));
  }
}

/// Marks the thread as playing: a backward inside a hook would overwrite the marks of the one that called the
/// hook.
class Playing {
 public:
  Playing(Context& ctx, BackwardOptions options) : ctx_(ctx), phase_(Phase::backward) {
    if (std::exchange(ctx_.playing, true))
      throw TapeError(
          "[backward] called inside another backward, by a gradient hook or an operation's own backward; "
          "call it after that");
    ctx_.retaining = options.retain_tape;
  }
  ~Playing() { ctx_.playing = false; }
  Playing(const Playing&) = delete;
  Playing& operator=(const Playing&) = delete;

 private:
  Context& ctx_;
  PhaseScope phase_;
};

}  // namespace

void backward(std::span<const Tensor> outputs, std::span<const Tensor> gradients, BackwardOptions options) {
  const Playing playing(context(), options);
  Player player(options);
  player.seed(outputs, gradients);
  player.play();
}

std::vector<Tensor> gradients(const Tensor& output, std::span<const Tensor> inputs, BackwardOptions options) {
  const Playing playing(context(), options);
  Player player(options);
  player.want_only(inputs);
  player.seed({&output, 1}, {});
  player.play();
  return player.take_wanted();
}

}  // namespace reprise
