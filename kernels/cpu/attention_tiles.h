// What the forward and the backward of attention share: tiles of at most kTile query rows by kTile key rows.
//
// Scores are kept transposed, s[j * kTile + i] for key j and query i: the softmax then runs along vectors
// instead of across them, and only the queries (and the gradient of the output) have to be transposed, once
// per block of rows.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

#include "convert.h"
#include "philox_lanes.h"
#include "reprise/kernels/attention.h"
#include "tile_product.h"

namespace reprise::kernels::cpu::attention {

inline constexpr std::int64_t kTile = 64;
/// Rows whose triangle of a diagonal tile is computed in full, although half of it is masked.
inline constexpr std::int64_t kStrip = 8;

constexpr std::int64_t round_up(std::int64_t n, std::int64_t to) { return (n + to - 1) / to * to; }

/// One tile of the score matrix and what of it is computed.
struct TileShape {
  std::int64_t queries, keys;
  bool masked;  // on the diagonal: query i sees keys j <= i

  /// Queries padded to whole vectors.
  template <class C>
  std::int64_t width() const {
    return round_up(queries, kVectorLanes<C>);
  }
  /// The first query that is computed for key j: a whole vector, the same for all keys of a strip.
  template <class C>
  std::int64_t begin(std::int64_t key) const {
    return masked ? key / kStrip * kStrip / kVectorLanes<C> * kVectorLanes<C> : 0;
  }
  /// The number of keys that are computed for the vector of queries that begins at `query`.
  template <class C>
  std::int64_t keys_of(std::int64_t query) const {
    return masked ? std::min(keys, round_up(query + kVectorLanes<C>, kStrip)) : keys;
  }
  /// Calls f(first, count) for groups of rows that share their range: strips of a masked tile, else all rows.
  template <class F>
  void for_each_strip(std::int64_t rows, F&& f) const {
    const std::int64_t step = masked ? kStrip : rows;
    for (std::int64_t first = 0; first < rows; first += step) f(first, std::min(step, rows - first));
  }
};

/// The sizes of a problem; `width` is the head's size padded to whole vectors.
template <class C>
struct Geometry {
  std::int64_t batch, heads, length, size, width;
  bool causal;

  Geometry(const AttentionParams& params, const Layout& q)
      : batch(q.sizes[0]),
        heads(q.sizes[1]),
        length(q.sizes[2]),
        size(q.sizes[3]),
        width(round_up(q.sizes[3], kVectorLanes<C>)),
        causal(params.causal) {}

  std::int64_t sequences() const { return batch * heads; }
  std::int64_t blocks() const { return (length + kTile - 1) / kTile; }
  std::int64_t rows_of(std::int64_t block) const { return std::min(kTile, length - block * kTile); }
  /// Key blocks that a block of queries sees, and the first block of queries that sees a block of keys.
  std::int64_t key_blocks(std::int64_t query_block) const { return causal ? query_block + 1 : blocks(); }
  std::int64_t first_query_block(std::int64_t key_block) const { return causal ? key_block : 0; }
  /// The block of an item where items are the blocks of all heads: those of a head alternate between its
  /// ends, so that any range of items is about as much work as any other of the same length.
  std::int64_t block_of(std::int64_t item) const {
    const std::int64_t turn = item % blocks();
    return turn % 2 == 0 ? turn / 2 : blocks() - 1 - turn / 2;
  }
  TileShape tile(std::int64_t query_block, std::int64_t key_block) const {
    return {rows_of(query_block), rows_of(key_block), causal && query_block == key_block};
  }
  /// Index of an element of the probabilities among those of all heads.
  std::uint64_t element(std::int64_t sequence, std::int64_t query, std::int64_t key) const {
    return static_cast<std::uint64_t>((sequence * length + query) * length + key);
  }
  /// Multiplications and additions of one product of queries and keys, masked tiles left out.
  double product_flops() const {
    const auto n = static_cast<double>(length);
    return (causal ? 1.0 : 2.0) * n * n * static_cast<double>(size * sequences());
  }
};

/// Hands out parts of one thread's scratch memory; without memory it only counts.
class Carver {
 public:
  explicit Carver(void* memory) : memory_(static_cast<std::byte*>(memory)) {}

  template <class E>
  E* take(std::int64_t elements) {
    const std::size_t at = used_;
    used_ += (static_cast<std::size_t>(elements) * sizeof(E) + 63) / 64 * 64;
    return memory_ == nullptr ? nullptr : reinterpret_cast<E*>(memory_ + at);
  }
  std::size_t used() const { return used_; }

 private:
  std::byte* memory_;
  std::size_t used_ = 0;
};

/// The (T, D) rows of one head.
template <class T>
struct Rows {
  T* data;
  std::int64_t stride;

  T* at(std::int64_t row) const { return data + row * stride; }
};

template <class T, class View>
auto rows_of_head(const View& view, std::int64_t sequence) {
  const std::int64_t b = sequence / view.sizes[1], h = sequence % view.sizes[1];
  auto* data = view.template as<T>() + b * view.strides[0] + h * view.strides[1];
  return Rows<std::remove_pointer_t<decltype(data)>>{data, view.strides[2]};
}

/// Rows [first, first + count) in Compute<T>, `width` elements each, in a buffer of `padded` rows with zeros
/// around them.
template <class T>
Rows<const Compute<T>> stage(Rows<const T> from, std::int64_t first, std::int64_t count, std::int64_t size,
                             std::int64_t width, std::int64_t padded, Compute<T>* to) {
  for (std::int64_t r = 0; r < count; ++r) {
    load_row(from.at(first + r), to + r * width, size);
    std::fill(to + r * width + size, to + (r + 1) * width, Compute<T>{0});
  }
  std::fill(to + count * width, to + padded * width, Compute<T>{0});
  return {to, width};
}

/// The same rows where they are if they can be read there, else staged.
template <class T>
Rows<const Compute<T>> view_or_stage(Rows<const T> from, std::int64_t first, std::int64_t count,
                                     std::int64_t size, std::int64_t width, Compute<T>* to) {
  if constexpr (std::is_same_v<T, Compute<T>>) {
    if (size == width) return {from.at(first), from.stride};
  }
  return stage(from, first, count, size, width, count, to);
}

/// to (=, +=) factor * from, `size` elements.
template <class T>
void write_row(const Compute<T>* from, Compute<T> factor, T* to, std::int64_t size, Write write) {
  using C = Compute<T>;
  constexpr std::int64_t kRun = 64;
  for (std::int64_t first = 0; first < size; first += kRun) {
    alignas(64) C values[kRun];
    const std::int64_t n = std::min(kRun, size - first);
    if (write == Write::accumulate) {
      load_row<T>(to + first, values, n);
#pragma omp simd
      for (std::int64_t d = 0; d < n; ++d) values[d] += factor * from[first + d];
    } else {
#pragma omp simd
      for (std::int64_t d = 0; d < n; ++d) values[d] = factor * from[first + d];
    }
    store_row(values, to + first, n);
  }
}

/// s (keys, queries) = x (keys, depth) y (depth, queries)
template <class C>
void score_product(const TileShape& shape, Rows<const C> x, const C* y, std::int64_t depth, C* s) {
  shape.for_each_strip(shape.keys, [&](std::int64_t first, std::int64_t count) {
    const std::int64_t start = shape.begin<C>(first);
    tile_product<C>({x.at(first), x.stride, 1}, y + start, kTile, s + first * kTile + start, kTile, count,
                    shape.width<C>() - start, depth, false);
  });
}

/// to (queries, width) (=, +=) s^T x, x (keys, width)
template <class C>
void sum_over_keys(const TileShape& shape, const C* s, Rows<const C> x, std::int64_t width, C* to, bool add) {
  shape.for_each_strip(shape.queries, [&](std::int64_t first, std::int64_t count) {
    const std::int64_t depth = shape.masked ? std::min(shape.keys, first + count) : shape.keys;
    tile_product<C>({s + first, 1, kTile}, x.data, x.stride, to + first * width, width, count, width, depth,
                    add);
  });
}

/// to (keys, width) (=, +=) s x, x (queries, width)
template <class C>
void sum_over_queries(const TileShape& shape, const C* s, Rows<const C> x, std::int64_t width, C* to,
                      bool add) {
  shape.for_each_strip(shape.keys, [&](std::int64_t first, std::int64_t count) {
    const std::int64_t start = shape.masked ? first : 0;
    tile_product<C>({s + first * kTile + start, kTile, 1}, x.at(start), x.stride, to + first * width, width,
                    count, width, shape.queries - start, add);
  });
}

/// s = -inf wherever the key comes after the query.
template <class C>
void mask_scores(const TileShape& shape, C* s) {
  if (!shape.masked) return;
  for (std::int64_t j = 0; j < shape.keys; ++j) {
    std::fill(s + j * kTile + shape.begin<C>(j), s + j * kTile + j, -std::numeric_limits<C>::infinity());
  }
}

/// The dropout words of a tile, words[j * kTile + i] like the scores: element (i, j) has index first + i *
/// length + j.
class DropoutTile {
 public:
  DropoutTile(RandomKey key, double p) : key_(key), rule_(philox::drop_rule(p)), active_(p > 0.0) {}

  bool active() const { return active_; }
  /// With p = 1 nothing is below the threshold, and the scale of what is kept is 0.
  std::uint32_t threshold() const { return rule_.everything ? 0 : rule_.threshold; }

  void words(std::uint64_t first, std::int64_t length, const TileShape& shape, std::uint32_t* words) const;

 private:
  RandomKey key_;
  philox::DropRule rule_;
  bool active_;
};

}  // namespace reprise::kernels::cpu::attention
