// One instruction after the other: operations, scopes, threads, hooks, handles.
#include "composer.h"

#include <algorithm>

namespace reprise::fuzz {
namespace {

/// Operations as often as their weights say.
const std::vector<std::uint8_t>& lottery() {
  static const std::vector<std::uint8_t> tickets = [] {
    std::vector<std::uint8_t> all;
    for (std::size_t i = 0; i < operations().size(); ++i)
      all.insert(all.end(), static_cast<std::size_t>(operations()[i].weight), static_cast<std::uint8_t>(i));
    return all;
  }();
  return tickets;
}

}  // namespace

Program Composer::compose() {
  Program program;
  program.setting = setting_.name;
  scene_.code = &program.code;
  begin();
  while (scene_.size() < 160 && !b_.exhausted()) {
    // A forward, and one or more losses of it.
    for (int n = b_.between(6, 24); n > 0 && !b_.exhausted(); --n) {
      instruction();
      left_ = false;
    }
    for (int plays = b_.between(1, 3); plays > 0; --plays) {
      play();
      if (b_.chance(48)) instruction();
      left_ = false;
    }
    if (b_.chance(64)) let_go_since(0);
  }
  play();
  program.ids = scene_.size();
  return program;
}

void Composer::begin() {
  static constexpr DType types[] = {DType::float32, DType::float64, DType::float32, DType::bfloat16,
                                    DType::float64, DType::float32, DType::float64, DType::float16};
  scene_.type = types[b_.below(8)];
  // Beside small tensors some large ones, now and then: whether a spared segment lets go is a matter of
  // bytes.
  const bool large = b_.chance(40);
  const int width = large ? b_.between(5, 24) : b_.between(2, 4);
  scene_.make_leaf(scene_.type, Sizes{.rank = 2, .n = {large ? b_.between(5, 32) : b_.between(1, 4), width}});
  scene_.make_leaf(scene_.type, Sizes{.rank = 1, .n = {width}});
  scene_.make_leaf(scene_.type, Sizes{.rank = 2, .n = {width, width}});
  for (int more = b_.below(3); more > 0; --more) scene_.make_leaf(scene_.type, scene_.some_sizes());
}

void Composer::instructions(int most) {
  for (; most > 0 && !left_ && !b_.exhausted(); --most) instruction();
}

void Composer::instruction() {
  if (nesting_ < setting_.depth && scope_instruction()) return;
  if (b_.chance(64) && other_instruction()) return;
  operate();
}

bool Composer::scope_instruction() {
  if (b_.chance(setting_.segments)) {
    Instruction segment{.kind = Kind::segment};
    segment.p[0] = static_cast<std::int16_t>(setting_.only_cheap || (setting_.cheap && b_.below(2) == 1));
    segment.p[1] = static_cast<std::int16_t>(setting_.spare && b_.below(2) == 1);
    segment.p[2] = static_cast<std::int16_t>(b_.below(3));
    scope(std::move(segment));
    return true;
  }
  if (!scene_.no_grad && may_accumulate_ && b_.chance(4)) {
    if (b_.below(2) == 0)
      two_losses();
    else
      two_branches();
    return true;
  }
  if (setting_.sequences > 0 && b_.chance(setting_.sequences)) {
    Instruction sequence{.kind = Kind::sequence};
    sequence.p[0] = static_cast<std::int16_t>(b_.between(1, 5));
    sequence.p[1] = static_cast<std::int16_t>(b_.between(1, 3));
    scope(std::move(sequence), b_.between(1, 5));
    return true;
  }
  if (setting_.threads > 0 && b_.chance(setting_.threads)) return threads(Kind::thread), true;
  if (setting_.together > 0 && !scene_.concurrent && tapes_ < 20 && b_.chance(setting_.together))
    return share_leaves(), true;
  if (setting_.together > 0 && !scene_.concurrent && b_.chance(setting_.together))
    return threads(Kind::together), true;
  if (b_.chance(5)) {
    scope({.kind = b_.below(8) == 0 ? Kind::anomaly : Kind::no_grad});
    return true;
  }
  return false;
}

void Composer::scope(Instruction scope, int bodies) {
  const bool no_grad = scene_.no_grad;
  Code* const outside = scene_.code;
  scene_.no_grad |= scope.kind == Kind::no_grad;
  ++depth_;
  ++nesting_;
  for (int i = 0; i < bodies; ++i) {
    Code body;
    scene_.code = &body;
    const Id first = scene_.size();
    instructions(b_.between(bodies > 1 ? 1 : 2, bodies > 1 ? 4 : 10));
    if (!left_) let_go_since(first);
    scope.bodies.push_back(std::move(body));
    if (left_) break;
  }
  left_ = false;
  --depth_;
  --nesting_;
  scene_.code = outside;
  scene_.no_grad = no_grad;
  scene_.emit(std::move(scope));
}

void Composer::threads(Kind kind) {
  Instruction instruction{.kind = kind};
  const bool no_grad = std::exchange(scene_.no_grad, false);
  const bool concurrent = scene_.concurrent;
  const int depth = std::exchange(depth_, 0);
  const int tape = scene_.tape;
  Code* const outside = scene_.code;
  scene_.concurrent |= kind == Kind::together;
  ++nesting_;
  const int bodies = kind == Kind::together ? 2 : 1;
  const bool could_accumulate = may_accumulate_;
  std::vector<Id> of_the_first;
  for (int i = 0; i < bodies; ++i) {
    scene_.tape = ++tapes_;
    const Id first_own = std::exchange(scene_.first_own, scene_.size());
    Code body;
    scene_.code = &body;
    if (kind == Kind::together) may_accumulate_ = could_accumulate && i == 0;
    instructions(b_.between(2, 8));
    play();
    instruction.bodies.push_back(std::move(body));
    left_ = false;
    for (Id id = scene_.first_own; i + 1 < bodies && id < scene_.size(); ++id) {
      if (scene_[id].alive) of_the_first.push_back(id);
      scene_[id].alive = false;
    }
    scene_.first_own = first_own;
  }
  for (const Id id : of_the_first) scene_[id].alive = true;
  may_accumulate_ = could_accumulate;
  --nesting_;
  depth_ = depth;
  scene_.tape = tape;
  scene_.code = outside;
  scene_.no_grad = no_grad;
  scene_.concurrent = concurrent;
  scene_.emit(std::move(instruction));
}

void Composer::operate() {
  operate(lottery()[static_cast<std::size_t>((b_.byte() << 8 | b_.byte())) % lottery().size()]);
}

void Composer::operate(std::uint8_t what) {
  Instruction ins{.kind = Kind::operation, .what = what};
  std::vector<Known> results;
  if (!pick_operands(scene_, operations()[what], ins, results)) return;
  if (b_.chance(setting_.errors)) {  // operands that may not fit
    ins.in[static_cast<std::size_t>(b_.below(2))] = any();
    if (b_.below(2) == 1) ins.p[0] = static_cast<std::int16_t>(b_.between(-3, 6));
  }
  if (depth_ > 0 && b_.chance(2 * setting_.errors))
    ins.escapes = static_cast<std::uint8_t>(b_.between(1, depth_));
  const int consumed = b_.below(4) == 0 ? b_.below(8) : 0;
  for (std::size_t i = 0; i < 3; ++i) {
    if ((consumed >> i & 1) == 0 || ins.in[i] == kNone) continue;
    if (std::count(ins.in.begin(), ins.in.end(), ins.in[i]) > 1 || scene_[ins.in[i]].leaf) continue;
    if (scene_.concurrent && ins.in[i] < scene_.first_own) continue;
    ins.consumes = static_cast<std::uint8_t>(ins.consumes | 1u << i);
    scene_[ins.in[i]].alive = false;
  }
  for (const Known& known : results) scene_.result(ins, known);
  scene_.emit(std::move(ins));
}

Id Composer::any(bool own) {
  const Id first = own && scene_.concurrent ? scene_.first_own : Id{0};
  std::array<Id, 10> found{};
  int n = 0;
  for (Id id = scene_.size(); id-- > first && n < 10;) {
    if (scene_[id].alive && !(scene_.concurrent && scene_[id].gradient))
      found[static_cast<std::size_t>(n++)] = id;
  }
  return n == 0 ? kNone : found[static_cast<std::size_t>(b_.below(n))];
}

bool Composer::other_instruction() {
  if (depth_ > 0 && b_.chance(setting_.errors * 2)) return unwind(), true;
  if (setting_.hooks > 0 && b_.chance(setting_.hooks * 4)) return hang_hook();
  if (setting_.elsewhere > 0 && b_.chance(setting_.elsewhere * 4)) return let_go(true);
  if (b_.chance(setting_.in_place * 4)) return change_in_place();
  switch (b_.below(16)) {
    case 0:
    case 1:
    case 2:
      return let_go(false);
    case 3:
      let_go_since(static_cast<Id>(scene_.concurrent ? scene_.first_own
                                                     : scene_.size() - std::min<Id>(scene_.size(), 12)));
      return true;
    case 4:
      scene_.make_leaf(scene_.type, scene_.some_sizes());
      return true;
    case 5:
      scene_.make_leaf(DType::int64, scene_.some_sizes(), b_.between(1, 4));
      return true;
    case 6:
    case 7: {
      const Id id = any();
      if (id != kNone) scene_.emit({.kind = Kind::read, .in = {id, kNone, kNone, kNone, kNone, kNone}});
      return id != kNone;
    }
    case 8:
    case 9:
    case 10:
      return touch_gradients();
    default:
      if (b_.below(4) == 0) return play(), true;
      operate();
      return true;
  }
}

void Composer::unwind() {
  Instruction ins{.kind = Kind::unwind};
  ins.p[0] = static_cast<std::int16_t>(b_.between(1, depth_));
  scene_.emit(std::move(ins));
  left_ = true;
}

bool Composer::let_go(bool elsewhere) {
  const Id id = any(true);
  if (id == kNone || (scene_.concurrent && elsewhere)) return false;
  scene_[id].alive = false;
  Instruction ins{.kind = elsewhere ? Kind::elsewhere : Kind::drop};
  ins.in[0] = id;
  ins.p[0] = static_cast<std::int16_t>(elsewhere && b_.below(2) == 1);
  scene_.emit(std::move(ins));
  return true;
}

/// Most of what was made since then is no longer held, as variables of a block are not; its result is,
/// mostly.
void Composer::let_go_since(Id first) {
  Id result = kNone;
  for (Id id = first; id < scene_.size(); ++id) {
    const Known& known = scene_[id];
    if (known.alive && known.wants && !known.spent &&
        (result == kNone || known.depth >= scene_[result].depth))
      result = id;
  }
  if (b_.chance(24)) result = kNone;
  for (Id id = scene_.size(); id-- > first;) {
    if (!scene_[id].alive || (scene_[id].leaf && scene_[id].wants) || id == result || b_.chance(48)) continue;
    scene_[id].alive = false;
    scene_.emit({.kind = Kind::drop, .in = {id, kNone, kNone, kNone, kNone, kNone}});
  }
}

bool Composer::change_in_place() {
  if (scene_.concurrent) return false;
  const bool under_no_grad = b_.below(3) != 0;
  // What wants a gradient may be changed only as a leaf under NoGrad; now and then the error is asked for.
  const bool all = b_.chance(24);
  // What another thread has recorded is changed there only.
  const Id id = scene_.pick([&](const Known& k) {
    return is_float(k) && (k.leaf || k.tape == scene_.tape) && (all || !k.wants || (k.leaf && under_no_grad));
  });
  if (id == kNone) return false;
  Instruction ins{.kind = Kind::in_place, .what = static_cast<std::uint8_t>(b_.below(4))};
  ins.in[0] = id;
  if (ins.what == static_cast<std::uint8_t>(Change::copy) ||
      ins.what == static_cast<std::uint8_t>(Change::add)) {
    const Known target = scene_[id];
    ins.in[1] = scene_.pick([&](const Known& k) { return k.type == target.type && k.sizes == target.sizes; });
    if (ins.in[1] == kNone) ins.what = static_cast<std::uint8_t>(Change::mul);
  }
  ins.p[0] = under_no_grad;
  ins.p[1] = static_cast<std::int16_t>(b_.between(-8, 16));
  scene_.emit(std::move(ins));
  return true;
}

bool Composer::hang_hook() {
  const Id id = wanting();
  if (id == kNone || (scene_.concurrent && id < scene_.first_own)) return false;
  Instruction ins{.kind = Kind::hook};
  ins.in[0] = id;
  const bool plain = setting_.threads > 0;
  ins.what = static_cast<std::uint8_t>(b_.below(plain ? 2 : 8));
  if (ins.what == static_cast<std::uint8_t>(Hook::fail) && b_.below(4) != 0) ins.what = 0;
  const Known known = scene_[id];
  if (ins.what == static_cast<std::uint8_t>(Hook::drop)) ins.in[1] = any();
  if (ins.what == static_cast<std::uint8_t>(Hook::play) ||
      ins.what == static_cast<std::uint8_t>(Hook::segment))
    ins.in[1] = any();
  if (ins.what == static_cast<std::uint8_t>(Hook::replace))
    ins.in[1] = scene_.pick_or_make(
        [&](const Known& k) { return !k.wants && k.type == known.type && k.sizes == known.sizes; },
        known.type, known.sizes);
  scene_.emit(std::move(ins));
  return true;
}

bool Composer::touch_gradients() {
  if (scene_.concurrent) return false;
  const auto leaf = [&] { return scene_.pick([](const Known& k) { return k.leaf && k.wants; }); };
  Instruction ins;
  switch (b_.below(8)) {
    case 0:
    case 1:
      ins.kind = Kind::clear;
      if (b_.below(2) == 1) ins.in[0] = leaf();
      break;
    case 2:
    case 3:
      ins.kind = Kind::step;
      break;
    case 4:
    case 5: {
      ins.kind = Kind::gradient_of;
      ins.in[0] = leaf();
      if (ins.in[0] == kNone) return false;
      Known known = scene_[ins.in[0]];
      known.wants = false;
      known.gradient = true;
      scene_.result(ins, known);
      break;
    }
    case 6: {
      ins.kind = Kind::set_gradient;
      ins.in[0] = leaf();
      if (ins.in[0] == kNone) return false;
      const Known known = scene_[ins.in[0]];
      ins.in[1] = scene_.pick([&](const Known& k) { return k.type == known.type && k.sizes == known.sizes; });
      if (ins.in[1] == kNone) return false;
      break;
    }
    default:
      ins.kind = Kind::want;
      ins.in[0] = any();
      if (ins.in[0] == kNone || (!scene_[ins.in[0]].leaf && scene_[ins.in[0]].tape != scene_.tape))
        return false;
      ins.p[0] = b_.below(4) != 0;
      if (ins.p[0] == 1 && is_float(scene_[ins.in[0]])) scene_[ins.in[0]].wants = true;
      break;
  }
  scene_.emit(std::move(ins));
  return true;
}

}  // namespace reprise::fuzz
