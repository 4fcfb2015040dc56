// Operands that fit, and the sizes and types of what comes out.
#include <algorithm>
#include <optional>

#include "scene.h"

namespace reprise::fuzz {
namespace {

/// Lines of a square weight, at most: one for a vector of 20,000 would take minutes to make.
constexpr int kLargestSquare = 512;

/// One choice of operands for one instruction.
class Picker {
 public:
  Picker(Scene& scene, Instruction& instruction, std::vector<Known>& results)
      : scene_(scene), b_(scene.bytes()), ins_(instruction), results_(results) {}

  bool pick(const Operation& operation);

 private:
  using Fits = Scene::Fits;

  const Known& known(int i) const { return scene_[ins_.in[static_cast<std::size_t>(i)]]; }
  const Sizes& sizes(int i) const { return known(i).sizes; }
  void set(int i, int value) { ins_.p[static_cast<std::size_t>(i)] = static_cast<std::int16_t>(value); }
  void set_shape(const Sizes& s) {
    for (int axis = 0; axis < s.rank; ++axis) set(axis, s[axis]);
    set(6, s.rank);
  }

  bool take(int i, const Fits& fits) {
    const Id id = scene_.pick_stream(fits);
    ins_.in[static_cast<std::size_t>(i)] = id;
    return id != kNone;
  }
  bool take_float(int least_rank, int most_rank = 4, int least_size = 0) {
    return take(0, [=](const Known& k) {
      return is_float(k) && k.sizes.rank >= least_rank && k.sizes.rank <= most_rank &&
             k.sizes.numel() >= least_size;
    });
  }
  /// Of operand 0's type and these sizes; made where there is none.
  void need(int i, const Sizes& wanted) { need(i, wanted, known(0).type, 0); }
  void need(int i, const Sizes& wanted, DType type, int bound) {
    ins_.in[static_cast<std::size_t>(i)] = scene_.pick_or_make(
        [&](const Known& k) {
          return k.type == type && k.sizes == wanted && (bound == 0 || (k.bound > 0 && k.bound <= bound));
        },
        type, wanted, bound);
  }
  void need_vector(int i, int n) { need(i, Sizes{.rank = 1, .n = {n}}); }

  bool give(const Sizes& s) { return give(s, known(0).type); }
  bool give(const Sizes& s, DType type, int bound = 0, bool differentiable = true) {
    Known k{.type = type, .sizes = s, .bound = bound};
    if (differentiable && is_floating(type) && !scene_.no_grad) {
      for (const Id id : ins_.in) k.wants |= id != kNone && scene_[id].wants;
    }
    if (k.wants) {
      for (const Id id : ins_.in)
        if (id != kNone && scene_[id].wants && !scene_[id].leaf) k.parents.push_back(id);
    }
    for (const Id id : ins_.in)  // views of a gradient are it, too
      k.gradient |= id != kNone && scene_[id].gradient;
    for (const Id id : ins_.in)
      if (id != kNone) k.depth = std::max(k.depth, scene_[id].depth + 1);
    results_.push_back(std::move(k));
    return true;
  }

  Sizes without(const Sizes& s, int axis, bool keep) const;
  bool broadcast(int other);
  Sizes stretched(const Sizes& a, const Sizes& b) const;
  bool pick_handle(Pattern pattern);
  bool pick_elementwise(Pattern pattern);
  bool pick_reduction(Pattern pattern);
  bool pick_product(Pattern pattern);
  bool pick_image(Pattern pattern);
  bool pick_norm(Pattern pattern);
  bool pick_loss(Pattern pattern);
  bool pick_shape(Pattern pattern);
  bool pick_slice(Pattern pattern);
  bool pick_attention(Pattern pattern);

  Scene& scene_;
  Bytes& b_;
  Instruction& ins_;
  std::vector<Known>& results_;
};

bool has_user_type(const Known& k) { return k.type == DType::float32 || k.type == DType::float64; }

Sizes Picker::without(const Sizes& s, int axis, bool keep) const {
  Sizes out;
  for (int a = 0; a < s.rank; ++a) {
    if (a != axis)
      out.push_back(s[a]);
    else if (keep)
      out.push_back(1);
  }
  return out;
}

std::optional<Sizes> try_stretch(const Sizes& a, const Sizes& b) {
  Sizes out;
  out.rank = std::max(a.rank, b.rank);
  for (int i = 1; i <= out.rank; ++i) {
    const int n = i <= a.rank ? a[a.rank - i] : 1;
    const int m = i <= b.rank ? b[b.rank - i] : 1;
    if (n != m && n != 1 && m != 1) return {};
    out[out.rank - i] = n == 1 ? m : n;
  }
  return out;
}

Sizes Picker::stretched(const Sizes& a, const Sizes& b) const { return try_stretch(a, b).value_or(a); }

bool Picker::broadcast(int other) {
  const Known& first = known(0);
  const DType type = first.type;
  const Sizes s = first.sizes;
  ins_.in[static_cast<std::size_t>(other)] = scene_.pick_or_make(
      [&](const Known& k) { return k.type == type && try_stretch(k.sizes, s).has_value(); }, type, s);
  return true;
}

bool Picker::pick_handle(Pattern pattern) {
  if (!take(0, [](const Known&) { return true; })) return false;
  set(5, static_cast<int>(pattern == Pattern::cast
                              ? std::array{DType::float32, DType::float64, DType::bfloat16,
                                           DType::float16}[static_cast<std::size_t>(b_.below(4))]
                              : known(0).type));
  return give(sizes(0), static_cast<DType>(ins_.p[5]), known(0).bound);
}

bool Picker::pick_elementwise(Pattern pattern) {
  switch (pattern) {
    case Pattern::number:
      return take(0, [](const Known& k) { return is_float(k) || k.type == DType::int64; }) && give(sizes(0));
    case Pattern::user:
      return take(0, has_user_type) && give(sizes(0));
    case Pattern::user_pair:
      return take(0, has_user_type) && give(sizes(0)) && give(sizes(0));
    case Pattern::binary:
      return take_float(0) && broadcast(1) && give(stretched(sizes(0), sizes(1)));
    case Pattern::compare:
      return take_float(0) && broadcast(1) && give(stretched(sizes(0), sizes(1)), DType::boolean);
    case Pattern::where: {
      if (!take_float(0)) return false;
      std::swap(ins_.in[0], ins_.in[1]);
      const Sizes s = sizes(1);
      const DType type = known(1).type;
      need(0, s, DType::boolean, 0);
      ins_.in[2] = scene_.pick_or_make(
          [&](const Known& k) { return k.type == type && try_stretch(k.sizes, s); }, type, s);
      return give(stretched(s, sizes(2)), type);
    }
    default:
      set(4, b_.between(-12, 24));
      return take_float(pattern == Pattern::image ? 4 : 0) && give(sizes(0));
  }
}

bool Picker::pick_reduction(Pattern pattern) {
  if (!take_float(pattern == Pattern::reduce ? 0 : pattern == Pattern::reduce_2 ? 2 : 1)) return false;
  const Sizes s = sizes(0);
  if (pattern == Pattern::reduce) return give({});
  const int axis = b_.below(s.rank);
  set(0, b_.chance(64) ? axis - s.rank : axis);
  const int flag = b_.below(2);
  if (pattern == Pattern::argmax) return give(without(s, axis, false), DType::int64, std::max(s[axis], 1));
  if (pattern == Pattern::reduce_1) {
    set(1, flag);
    return give(without(s, axis, flag != 0));
  }
  const int other = (axis + 1) % s.rank;
  set(1, other);
  set(2, flag);
  const Sizes rest = without(s, std::max(axis, other), flag != 0);
  return give(without(rest, std::min(axis, other), flag != 0));
}

bool Picker::pick_product(Pattern pattern) {
  const int rank = pattern == Pattern::matmul_batched ? 3 : pattern == Pattern::matmul_vector ? 1 : 2;
  const bool is_linear =
      pattern != Pattern::matmul && pattern != Pattern::matmul_batched && pattern != Pattern::matmul_vector;
  if (!take_float(is_linear ? 1 : rank, is_linear ? 4 : rank)) return false;
  Sizes s = sizes(0);
  const int inner = s.last();
  const int outer = b_.between(1, 4);
  if (!is_linear) {
    Sizes other{.rank = std::max(rank, 2)};
    if (rank == 3) other[0] = s[0];
    other[other.rank - 2] = inner;
    // A square weight is met again and again, unless it would be large.
    other[other.rank - 1] = b_.below(2) == 0 && inner <= kLargestSquare ? inner : outer;
    need(1, other);
    if (rank == 1) return give(Sizes{.rank = 1, .n = {other[1]}});
    s[s.rank - 1] = other[other.rank - 1];
    return give(s);
  }
  const int out = b_.below(2) == 0 && inner <= kLargestSquare ? inner : outer;
  const bool in_out = pattern == Pattern::linear_in_out;
  need(1, Sizes{.rank = 2, .n = {in_out ? inner : out, in_out ? out : inner}});
  if (pattern == Pattern::linear_bias) need_vector(2, out);
  s[s.rank - 1] = out;
  return give(s);
}

bool Picker::pick_image(Pattern pattern) {
  if (!take_float(4, 4, 1)) {
    const Sizes s{.rank = 4, .n = {b_.between(1, 2), b_.between(1, 3), b_.between(2, 4), b_.between(2, 4)}};
    ins_.in[0] = scene_.make_leaf(scene_.type, s);
  }
  const Sizes s = sizes(0);
  if (pattern == Pattern::global_pool) return give(Sizes{.rank = 2, .n = {s[0], s[1]}});
  if (pattern == Pattern::pool) return give(Sizes{.rank = 4, .n = {s[0], s[1], s[2] / 2, s[3] / 2}});
  const int out = b_.between(1, 3), kh = b_.between(1, 2), kw = b_.between(1, 2);
  need(1, Sizes{.rank = 4, .n = {out, s[1], kh, kw}});
  if (pattern == Pattern::conv_bias) {
    need_vector(2, out);
    return give(Sizes{.rank = 4, .n = {s[0], out, s[2] + 2 - kh + 1, s[3] - kw + 1}});
  }
  return give(Sizes{.rank = 4, .n = {s[0], out, s[2] - kh + 1, s[3] - kw + 1}});
}

bool Picker::pick_norm(Pattern pattern) {
  const bool batch = pattern == Pattern::batch_norm || pattern == Pattern::batch_norm_fixed;
  if (batch ? !take(0,
                    [](const Known& k) {
                      return is_float(k) && (k.sizes.rank == 2 || k.sizes.rank == 4) && k.sizes.numel() > 0;
                    })
            : !take_float(1))
    return false;
  const Sizes s = sizes(0);
  const int channels = batch ? s[1] : s.last();
  need_vector(1, channels);
  if (pattern != Pattern::rms_norm) need_vector(2, channels);
  if (pattern == Pattern::batch_norm_fixed) {
    // Statistics take no gradient.
    for (const int i : {3, 4}) {
      const DType type = known(0).type == DType::float64 ? DType::float64 : DType::float32;
      ins_.in[static_cast<std::size_t>(i)] = scene_.pick_or_make(
          [&](const Known& k) {
            return k.type == type && !k.wants && k.sizes == Sizes{.rank = 1, .n = {channels}};
          },
          type, Sizes{.rank = 1, .n = {channels}});
    }
  }
  give(s);
  if (pattern != Pattern::batch_norm) return true;
  const DType type = known(0).type == DType::float64 ? DType::float64 : DType::float32;
  return give(Sizes{.rank = 1, .n = {channels}}, type, 0, false) &&
         give(Sizes{.rank = 1, .n = {channels}}, type, 0, false);
}

bool Picker::pick_loss(Pattern pattern) {
  if (!take_float(pattern == Pattern::mse || pattern == Pattern::mse_each ? 0 : 1, 4, 1)) return false;
  const Sizes s = sizes(0);
  switch (pattern) {
    case Pattern::mse:
    case Pattern::mse_each:
      need(1, s);
      return give(pattern == Pattern::mse ? Sizes{} : s);
    case Pattern::linear_cross_entropy: {
      const int classes = b_.between(2, 4);
      need(1, Sizes{.rank = 2, .n = {classes, s.last()}});
      need(2, without(s, s.rank - 1, false), DType::int64, classes);
      return give({});
    }
    default: {
      const Sizes rows = without(s, s.rank - 1, false);
      need(1, rows, DType::int64, s.last());
      return give(pattern == Pattern::cross_entropy_each ? rows : Sizes{});
    }
  }
}

bool Picker::pick_shape(Pattern pattern) {
  const int least = pattern == Pattern::permute_3                                  ? 3
                    : pattern == Pattern::transpose || pattern == Pattern::flatten ? 2
                                                                                   : 0;
  if (!take_float(least, pattern == Pattern::permute_3 ? 3 : 4)) return false;
  Sizes s = sizes(0);
  Sizes to;
  switch (pattern) {
    case Pattern::reshape:
      switch (b_.below(3)) {
        case 0:
          to.push_back(s.numel());
          break;
        case 1:
          to.push_back(s.rank == 0 ? 1 : s[0]);
          to.push_back(s.rank == 0 || s[0] == 0 ? s.numel() : s.numel() / s[0]);
          break;
        default:
          to.push_back(1);
          for (int a = 0; a < s.rank && a < 3; ++a) to.push_back(a == 2 && s.rank == 4 ? s[2] * s[3] : s[a]);
      }
      set_shape(to);
      return give(to);
    case Pattern::expand:
      // A new axis in front, and stretched ones.
      if (s.rank < 4 && b_.below(2) == 0) to.push_back(b_.between(1, 3));
      for (int a = 0; a < s.rank; ++a) to.push_back(s[a] == 1 ? b_.between(1, 3) : s[a]);
      set_shape(to);
      return give(to);
    case Pattern::flatten: {
      const int first = b_.below(s.rank - 1);
      set(0, first);
      set(1, first + 1);
      for (int a = 0; a < s.rank; ++a) {
        if (a == first + 1)
          to[to.rank - 1] *= s[a];
        else
          to.push_back(s[a]);
      }
      return give(to);
    }
    case Pattern::permute_3: {
      const int shift = b_.between(1, 2);
      for (int a = 0; a < 3; ++a) {
        set(a, (a + shift) % 3);
        to.push_back(s[(a + shift) % 3]);
      }
      return give(to);
    }
    default: {
      const int a = b_.below(s.rank), c = b_.chance(128) ? s.rank - 1 : b_.below(s.rank);
      set(0, a);
      set(1, c);
      std::swap(s[a], s[c]);
      return give(s);
    }
  }
}

bool Picker::pick_slice(Pattern pattern) {
  if (!take_float(1, 4, 1)) return false;
  Sizes s = sizes(0);
  const int axis = b_.below(s.rank);
  const int n = s[axis];
  set(0, axis);
  switch (pattern) {
    case Pattern::slice: {
      const int start = b_.below(n), stop = b_.between(start, n), step = b_.between(1, 2);
      set(1, start);
      set(2, stop);
      set(3, step);
      s[axis] = (stop - start + step - 1) / step;
      return give(s);
    }
    case Pattern::select:
      set(1, b_.below(n));
      return give(without(s, axis, false));
    case Pattern::pad: {
      const int before = b_.below(3), after = b_.below(2);
      set(1, before);
      set(2, after);
      s[axis] += before + after;
      return give(s);
    }
    case Pattern::split: {
      const int size = std::max(b_.between(1, n), (n + 3) / 4);
      set(0, size);
      set(1, axis);
      for (int at = 0; at < n; at += size) {
        s[axis] = std::min(size, n - at);
        give(s);
      }
      return true;
    }
    default: {
      const DType type = known(0).type;
      const Sizes first = s;
      const int parts = pattern == Pattern::concatenate_3 ? 3 : 2;
      for (int i = 1; i < parts; ++i) {
        ins_.in[static_cast<std::size_t>(i)] = scene_.pick_or_make(
            [&](const Known& k) {
              Sizes like = k.sizes;
              if (k.type != type || like.rank != first.rank) return false;
              like[axis] = first[axis];
              return like == first;
            },
            type, first);
        s[axis] += sizes(i)[axis];
      }
      return give(s);
    }
  }
}

bool Picker::pick_attention(Pattern pattern) {
  if (pattern == Pattern::embedding) {
    if (!take_float(2, 2, 1)) return false;
    const Sizes s = sizes(0);
    ins_.in[1] = scene_.pick_or_make(
        [&](const Known& k) {
          return k.type == DType::int64 && k.sizes.rank < 4 && k.bound > 0 && k.bound <= s[0];
        },
        DType::int64, Sizes{.rank = 1, .n = {b_.between(1, 4)}}, s[0]);
    Sizes to = sizes(1);
    to.push_back(s[1]);
    return give(to);
  }
  if (pattern == Pattern::packed_attention) {
    if (!take(0, [](const Known& k) {
          return is_float(k) && k.sizes.rank == 3 && k.sizes[2] % 3 == 0 && k.sizes.numel() > 0;
        }))
      ins_.in[0] =
          scene_.make_leaf(scene_.type, Sizes{.rank = 3, .n = {b_.between(1, 2), b_.between(1, 4), 12}});
    Sizes s = sizes(0);
    set(0, s[2] % 2 == 0 ? 2 : 1);
    s[2] /= 3;
    return give(s);
  }
  if (!take_float(4, 4, 1))
    ins_.in[0] = scene_.make_leaf(
        scene_.type, Sizes{.rank = 4, .n = {1, b_.between(1, 2), b_.between(1, 4), b_.between(1, 4)}});
  const Sizes s = sizes(0);
  need(1, s);
  need(2, s);
  return give(s);
}

bool Picker::pick(const Operation& operation) {
  switch (operation.pattern) {
    case Pattern::any:
    case Pattern::cast: {
      if (!pick_handle(operation.pattern)) return false;
      if (operation.text == "x.detach()") {
        results_[0].wants = false;
        results_[0].leaf = true;
        results_[0].parents.clear();
      }
      return true;
    }
    case Pattern::unary:
    case Pattern::number:
    case Pattern::user:
    case Pattern::user_pair:
    case Pattern::image:
    case Pattern::binary:
    case Pattern::compare:
    case Pattern::where:
      return pick_elementwise(operation.pattern);
    case Pattern::axis:
      if (!take_float(1)) return false;
      set(0, b_.below(2) == 0 ? -1 : b_.below(sizes(0).rank));
      return give(sizes(0));
    case Pattern::reduce:
    case Pattern::reduce_1:
    case Pattern::reduce_2:
    case Pattern::argmax:
      return pick_reduction(operation.pattern);
    case Pattern::matmul:
    case Pattern::matmul_batched:
    case Pattern::matmul_vector:
    case Pattern::linear:
    case Pattern::linear_bias:
    case Pattern::linear_in_out:
      return pick_product(operation.pattern);
    case Pattern::conv:
    case Pattern::conv_bias:
    case Pattern::pool:
    case Pattern::global_pool:
      return pick_image(operation.pattern);
    case Pattern::layer_norm:
    case Pattern::rms_norm:
    case Pattern::batch_norm:
    case Pattern::batch_norm_fixed:
      return pick_norm(operation.pattern);
    case Pattern::cross_entropy:
    case Pattern::cross_entropy_each:
    case Pattern::linear_cross_entropy:
    case Pattern::mse:
    case Pattern::mse_each:
      return pick_loss(operation.pattern);
    case Pattern::reshape:
    case Pattern::flatten:
    case Pattern::permute_3:
    case Pattern::transpose:
    case Pattern::expand:
      return pick_shape(operation.pattern);
    case Pattern::slice:
    case Pattern::select:
    case Pattern::split:
    case Pattern::concatenate:
    case Pattern::concatenate_3:
    case Pattern::pad:
      return pick_slice(operation.pattern);
    case Pattern::embedding:
    case Pattern::attention:
    case Pattern::packed_attention:
      return pick_attention(operation.pattern);
  }
  return false;
}

}  // namespace

bool pick_operands(Scene& scene, const Operation& operation, Instruction& instruction,
                   std::vector<Known>& results) {
  return Picker(scene, instruction, results).pick(operation);
}

}  // namespace reprise::fuzz
