// Losses and their backwards, and situations that chance makes too rarely.
#include <algorithm>
#include <stdexcept>
#include <string>

#include "composer.h"

namespace reprise::fuzz {
namespace {

std::uint8_t operation_called(std::string_view text) {
  const auto all = operations();
  const auto found = std::find_if(all.begin(), all.end(), [&](const Operation& o) { return o.text == text; });
  if (found == all.end()) throw std::logic_error("no operation is written as " + std::string(text));
  return static_cast<std::uint8_t>(found - all.begin());
}

}  // namespace

/// A segment that is spared reads what the one before it made, and waits for its own backward while that one
/// is replayed for another loss: its memory, which it may let go of at any moment, is counted on.
void Composer::two_branches() {
  const Id from =
      scene_.pick_stream([](const Known& k) { return k.wants && is_float(k) && k.sizes.numel() > 0; });
  if (from == kNone) return;
  const Known like{.type = scene_[from].type, .sizes = scene_[from].sizes, .wants = true};
  const Known scalar{.type = like.type, .wants = true};
  Code* const outside = scene_.code;
  const Id first_inside = scene_.size();
  Id trunk = from, side = from;
  const auto segment = [&](auto&& fill) {
    Instruction scope{.kind = Kind::segment};
    scope.p[0] = static_cast<std::int16_t>(setting_.only_cheap || (setting_.cheap && b_.chance(64)));
    scope.p[1] = setting_.spare;
    Code body;
    scene_.code = &body;
    ++depth_;
    ++nesting_;
    fill();
    left_ = false;
    --depth_;
    --nesting_;
    scene_.code = outside;
    scope.bodies.push_back(std::move(body));
    scene_.emit(std::move(scope));
  };
  segment([&] {
    static constexpr std::string_view last[] = {"sin(mv(x))", "tanh(mv(x))", "exp(mv(x))", "sigmoid(mv(x))"};
    for (int n = b_.between(1, 3); n > 0; --n) trunk = compute(last[b_.below(4)], {trunk}, like);
    instructions(b_.below(3));
  });
  segment([&] {
    instructions(b_.below(3));
    for (int n = b_.between(0, 4); n > 0; --n) side = compute("gelu(mv(x))", {side}, like);
    side = compute("mv(x) * mv(y)", {side, trunk}, like);
    side = compute("exp(mv(x))", {side}, like);
  });
  const Id head = compute("tanh(mv(x))", {trunk}, like);
  for (Id id = scene_.size(); id-- > first_inside;) {
    if (!scene_[id].alive || id == head || id == side || scene_[id].leaf || b_.chance(24)) continue;
    scene_[id].alive = false;
    scene_.emit({.kind = Kind::drop, .in = {id, kNone, kNone, kNone, kNone, kNone}});
  }
  play(compute("mean(x)", {compute("square(mv(x))", {head}, like)}, scalar));
  instructions(b_.below(3));
  play(compute("sum(x)", {side}, scalar));
}

/// Two threads play backward to the same leaves at once. Gradients are whole numbers, whose sum is the same
/// in any order.
void Composer::share_leaves() {
  std::vector<Id> leaves;
  for (Id id = scene_.size(); id-- > 0 && leaves.size() < 4;) {
    const Known& k = scene_[id];
    if (k.alive && k.leaf && k.wants && is_float(k) && k.sizes.numel() > 0 && k.type == scene_.type)
      leaves.push_back(id);
  }
  if (leaves.empty()) return;
  static constexpr std::string_view functions[] = {"mv(x) * 2.0", "-mv(x)", "mv(x) + 1.0", "neg(mv(x))",
                                                   "add(mv(x), mv(y))"};
  Instruction together{.kind = Kind::together};
  Code* const outside = scene_.code;
  const int tape = scene_.tape;
  for (int i = 0; i < 2; ++i) {
    scene_.tape = ++tapes_;
    Code body, inside;
    scene_.code = &inside;
    Id loss = kNone;
    for (const Id leaf : leaves) {
      const Known like{.type = scene_.type, .sizes = scene_[leaf].sizes, .wants = true};
      const Known scalar{.type = scene_.type, .wants = true};
      const Id through = compute(functions[b_.below(5)], {leaf, leaf}, like);
      if (loss == kNone) {  // just before both add to the leaf
        Instruction hook{.kind = Kind::hook, .what = static_cast<std::uint8_t>(Hook::meet)};
        hook.in[0] = through;
        scene_.emit(std::move(hook));
      }
      const Id part = compute("sum(x)", {through}, scalar);
      loss = loss == kNone ? part : compute("mv(x) + mv(y)", {loss, part}, scalar);
    }
    scene_.code = &body;
    if (b_.below(2) == 0) {
      Instruction segment{.kind = Kind::segment};
      segment.bodies.push_back(std::move(inside));
      scene_.emit(std::move(segment));
    } else {
      body = std::move(inside);
    }
    Instruction play{.kind = Kind::backward};
    play.in[0] = loss;
    scene_.spend(loss);
    scene_.emit(std::move(play));
    together.bodies.push_back(std::move(body));
  }
  scene_.tape = tape;
  scene_.code = outside;
  scene_.emit({.kind = Kind::clear});
  scene_.emit(std::move(together));
}

Id Composer::wanting() {
  return scene_.pick([](const Known& k) { return k.wants && is_float(k); });
}

/// One operation with these operands and this result.
Id Composer::compute(std::string_view operation, std::initializer_list<Id> operands, Known known) {
  Instruction ins{.kind = Kind::operation, .what = operation_called(operation)};
  std::copy(operands.begin(), operands.end(), ins.in.begin());
  for (const Id id : operands) {
    known.depth = std::max(known.depth, scene_[id].depth + 1);
    if (scene_[id].wants && !scene_[id].leaf) known.parents.push_back(id);
  }
  const Id id = scene_.result(ins, known);
  scene_.emit(std::move(ins));
  return id;
}

/// A segment with two losses that share no node to be played, although the second reads what the first is
/// made of; they are played one after the other, and another forward may come between.
void Composer::two_losses() {
  Instruction segment{.kind = Kind::segment};
  segment.p[0] = static_cast<std::int16_t>(setting_.only_cheap || (setting_.cheap && b_.below(2) == 1));
  segment.p[1] = static_cast<std::int16_t>(setting_.spare && b_.below(2) == 1);
  const Id from =
      scene_.pick_stream([](const Known& k) { return k.wants && is_float(k) && k.sizes.numel() > 0; });
  if (from == kNone) return;
  Code* const outside = scene_.code;
  Code body;
  scene_.code = &body;
  ++depth_;
  ++nesting_;
  const Id first_inside = scene_.size();
  const Known like{.type = scene_[from].type, .sizes = scene_[from].sizes, .wants = true};
  const Id h = compute("tanh(mv(x))", {from}, like);
  const Id hidden = compute("mv(x) * mv(y)", {h, from}, like);
  instructions(b_.below(4));
  left_ = false;
  const Id cut = compute("x.detach()", {hidden}, {.type = like.type, .sizes = like.sizes, .leaf = true});
  Instruction make{.kind = Kind::leaf, .what = static_cast<std::uint8_t>(Filling::host), .wants = true};
  for (int axis = 0; axis < like.sizes.rank; ++axis)
    make.p[static_cast<std::size_t>(axis)] = static_cast<std::int16_t>(like.sizes[axis]);
  make.p[6] = static_cast<std::int16_t>(like.sizes.rank);
  make.p[5] = static_cast<std::int16_t>(like.type);
  const Id weight =
      scene_.result(make, {.type = like.type, .sizes = like.sizes, .wants = true, .leaf = true});
  scene_.emit(std::move(make));
  const Id gate =
      b_.below(2) == 0
          ? compute("mv(x) * sigmoid(y)", {weight, cut}, like)
          : compute("where(x, y, z)",
                    {compute("greater(x, y)", {hidden, h}, {.type = DType::boolean, .sizes = like.sizes}),
                     weight, cut},
                    like);
  const Known scalar{.type = like.type, .wants = true};
  const Id one = compute("mean(x)", {hidden}, scalar), two = compute("sum(x)", {gate}, scalar);
  for (Id id = scene_.size(); id-- > first_inside;) {
    if (!scene_[id].alive || id == one || id == two || id == weight || b_.chance(24)) continue;
    scene_[id].alive = false;
    scene_.emit({.kind = Kind::drop, .in = {id, kNone, kNone, kNone, kNone, kNone}});
  }
  --depth_;
  --nesting_;
  scene_.code = outside;
  segment.bodies.push_back(std::move(body));
  scene_.emit(std::move(segment));
  play(one);
  instructions(b_.below(4));
  play(two);
}

/// A scalar that wants a gradient, made where there is none.
Id Composer::loss() {
  // Rather deep ones; now and then any.
  Id id = kNone;
  for (int depth = b_.between(0, 16); depth >= 0 && id == kNone; depth -= 2)
    id = scene_.pick([&](const Known& k) { return k.wants && !k.leaf && is_float(k) && k.depth >= depth; });
  if (id == kNone || (scene_[id].sizes.numel() == 1 && b_.below(4) != 0)) return id;
  if (b_.below(3) == 2) operate(operation_called("square(mv(x))"));
  static constexpr std::string_view means[] = {"sum(x)", "mean(x)", "sum(x)", "max(x)"};
  Instruction ins{.kind = Kind::operation, .what = operation_called(means[b_.below(4)])};
  ins.in[0] = id;
  Known known{
      .type = scene_[id].type, .wants = !scene_.no_grad, .depth = scene_[id].depth + 1, .parents = {id}};
  const Id result = scene_.result(ins, known);
  scene_.emit(std::move(ins));
  return result;
}

/// From `output`, or from a loss that is found.
void Composer::play(Id output) {
  const bool retain = b_.below(4) == 3;
  if (!may_accumulate_ || b_.below(4) == 3) {
    const Id from = output != kNone ? output : loss();
    if (from != kNone) play_for_gradients(from, retain);
    return;
  }
  Instruction ins{.kind = Kind::backward};
  ins.p[0] = retain;
  if (output == kNone && b_.below(8) == 7) {
    ins.p[1] = 1;
    ins.in[0] = wanting();
    if (ins.in[0] == kNone) return;
    const Known known = scene_[ins.in[0]];
    ins.in[3] = scene_.pick_or_make(
        [&](const Known& k) { return !k.wants && k.type == known.type && k.sizes == known.sizes; },
        known.type, known.sizes);
  } else {
    ins.in[0] = output != kNone ? output : loss();
    if (ins.in[0] == kNone) return;
    if (output == kNone && b_.below(6) == 5) ins.in[1] = loss();
  }
  if (depth_ > 0 && b_.chance(setting_.errors))
    ins.escapes = static_cast<std::uint8_t>(b_.between(1, depth_));
  if (!retain) {
    scene_.spend(ins.in[0]);
    if (ins.in[1] != kNone) scene_.spend(ins.in[1]);
  }
  scene_.emit(std::move(ins));
}

void Composer::play_for_gradients(Id output, bool retain) {
  Instruction ins{.kind = Kind::gradients};
  ins.in[0] = output;
  ins.p[0] = retain;
  for (std::size_t i = 1, n = static_cast<std::size_t>(b_.between(1, 3)); i <= n; ++i) {
    // Results that were played are asked for too.
    const bool leaf = b_.below(2) == 0;
    const Id id = scene_.pick([&](const Known& k) { return k.wants && is_float(k) && (k.leaf || !leaf); });
    if (id == kNone) break;
    ins.in[i] = id;
    Known known{.type = scene_[id].type, .sizes = scene_[id].sizes, .leaf = true};
    scene_.result(ins, known);
  }
  if (ins.in[1] == kNone) return;
  if (!retain) scene_.spend(output);
  scene_.emit(std::move(ins));
}

}  // namespace reprise::fuzz
