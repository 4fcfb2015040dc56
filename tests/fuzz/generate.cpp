#include "generate.h"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "scene.h"

namespace reprise::fuzz {
namespace {

std::uint8_t operation_called(std::string_view text) {
  const auto all = operations();
  const auto found = std::find_if(all.begin(), all.end(), [&](const Operation& o) { return o.text == text; });
  if (found == all.end()) throw std::logic_error("no operation is written as " + std::string(text));
  return static_cast<std::uint8_t>(found - all.begin());
}

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

class Composer {
 public:
  Composer(Bytes& bytes, const Setting& setting) : b_(bytes), scene_(bytes), setting_(setting) {}

  Program compose();

 private:
  void begin();
  void instructions(int most);
  void instruction();
  bool other_instruction();
  bool scope_instruction();
  void operate();
  void operate(std::uint8_t what);
  void play() { play(kNone); }
  void play(Id output);
  void two_losses();
  void two_branches();
  void share_leaves();
  Id compute(std::string_view operation, std::initializer_list<Id> operands, Known known);
  void play_for_gradients(Id output, bool retain);
  Id wanting();
  Id loss();
  bool change_in_place();
  bool hang_hook();
  bool let_go(bool elsewhere);
  void let_go_since(Id first);
  bool touch_gradients();
  void unwind();
  void scope(Instruction scope, int bodies = 1);
  void threads(Kind kind);
  Id any(bool own = false);

  Bytes& b_;
  Scene scene_;
  const Setting& setting_;
  int depth_ = 0;    // of scopes on this thread
  int nesting_ = 0;  // of all scopes
  int tapes_ = 0;
  bool left_ = false;           // the rest of the body is never reached
  bool may_accumulate_ = true;  // of two threads at once, the first one only
};

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

}  // namespace

Program generate(std::span<const std::uint8_t> bytes, const Setting& setting) {
  Bytes decisions(bytes);
  return Composer(decisions, setting).compose();
}

Program generate(std::uint64_t seed, const Setting& setting) {
  const std::vector<std::uint8_t> bytes = random_bytes(seed, 900);
  Program program = generate(bytes, setting);
  program.seed = seed;
  return program;
}

}  // namespace reprise::fuzz
