#include "scene.h"

#include <algorithm>

namespace reprise::fuzz {

int Sizes::numel() const {
  int product = 1;
  for (int axis = 0; axis < rank; ++axis) product *= (*this)[axis];
  return product;
}

bool is_float(const Known& known) { return is_floating(known.type); }

Instruction& Scene::emit(Instruction instruction) {
  instruction.at = next_++;
  code->push_back(std::move(instruction));
  return code->back();
}

Id Scene::result(Instruction& instruction, const Known& known) {
  const auto id = static_cast<Id>(known_.size());
  if (instruction.result == kNone) instruction.result = id;
  ++instruction.results;
  known_.push_back(known);
  known_.back().alive = true;
  known_.back().tape = tape;
  return id;
}

Id Scene::pick(const Fits& fits) {
  // Late ones twice as often, so that programs are deep; now and then any, so that they have several ends.
  std::array<Id, 40> found{};
  int n = 0;
  const int most = bytes_.chance(80) ? 40 : 10;
  for (Id id = size(); id-- > 0 && n < most;) {
    const Known& known = known_[id];
    if (!known.alive || !fits(known)) continue;
    if (known.wants && !known.leaf && (known.spent || known.tape != tape)) continue;
    if (concurrent && known.gradient) continue;  // which the other thread may be adding to
    found[static_cast<std::size_t>(n++)] = id;
  }
  if (n == 0) return kNone;
  const int k = bytes_.below(n + std::min(n, 4));
  return found[static_cast<std::size_t>(k < n ? k : k - n)];
}

Id Scene::pick_stream(const Fits& fits) {
  const int choice = bytes_.below(8);
  if (choice == 0) return pick(fits);
  const auto wanting = [&](const Known& k) { return k.wants && fits(k); };
  if (choice < 5) {
    Id deepest = kNone;
    for (Id id = size(); id-- > 0;) {
      const Known& k = known_[id];
      if (!k.alive || k.spent || k.tape != tape || !wanting(k)) continue;
      if (deepest == kNone || k.depth > known_[deepest].depth) deepest = id;
    }
    if (deepest != kNone) return deepest;
  }
  const Id id = pick(wanting);
  return id != kNone ? id : pick(fits);
}

Id Scene::pick_or_make(const Fits& fits, DType wanted, const Sizes& sizes, int bound) {
  const Id id = pick(fits);
  return id != kNone && !bytes_.chance(16) ? id : make_leaf(wanted, sizes, bound);
}

Id Scene::make_leaf(DType wanted, const Sizes& sizes, int bound) {
  Instruction leaf{.kind = Kind::leaf};
  for (int axis = 0; axis < sizes.rank; ++axis)
    leaf.p[static_cast<std::size_t>(axis)] = static_cast<std::int16_t>(sizes[axis]);
  leaf.p[6] = static_cast<std::int16_t>(sizes.rank);
  leaf.p[5] = static_cast<std::int16_t>(wanted);
  leaf.p[4] = static_cast<std::int16_t>(bound);
  Known known{.type = wanted, .sizes = sizes, .bound = bound, .leaf = true};
  if (is_floating(wanted)) {
    static constexpr Filling fillings[] = {Filling::host, Filling::normal, Filling::host, Filling::uniform,
                                           Filling::ones};
    leaf.what = static_cast<std::uint8_t>(fillings[bytes_.below(5)]);
    known.wants = leaf.wants = bytes_.below(8) != 0;
  } else {
    leaf.what = static_cast<std::uint8_t>(wanted == DType::boolean ? Filling::flags : Filling::identifiers);
  }
  if (bytes_.chance(40)) leaf.layout = static_cast<std::uint8_t>(bytes_.between(1, 4));
  const Id id = result(leaf, known);
  emit(std::move(leaf));
  return id;
}

Sizes Scene::some_sizes() {
  static constexpr int ranks[] = {2, 1, 3, 2, 4, 0, 2, 3};
  static constexpr int lengths[] = {2, 3, 4, 1, 2, 3, 4, 5};
  Sizes sizes;
  for (int rank = ranks[bytes_.below(8)]; rank > 0; --rank) sizes.push_back(lengths[bytes_.below(8)]);
  if (sizes.rank > 0 && bytes_.chance(3)) sizes[bytes_.below(sizes.rank)] = 0;
  return sizes;
}

void Scene::spend(Id id) {
  Known& known = known_[id];
  if (known.leaf || known.spent || !known.wants) return;
  known.spent = true;
  for (const Id parent : known.parents) spend(parent);
}

}  // namespace reprise::fuzz
