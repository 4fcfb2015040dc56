// Attention forward: one block of query rows at a time passes over the keys, and rescales what it has summed
// whenever its row maxima grow (online softmax, Milakov and Gimelshein 2018).
#include <cmath>

#include "attention_tiles.h"
#include "attention_work.h"
#include "math.h"

namespace reprise::kernels::cpu {

using namespace attention;

namespace {

/// One thread's scratch.
template <class C>
struct Buffers {
  C *queries, *queries_t, *keys, *values, *scores, *out, *maximum, *sum, *growth;
  std::uint32_t* words;

  Buffers(Carver& carver, const Geometry<C>& g, bool dropout)
      : queries(carver.take<C>(kTile * g.width)),
        queries_t(carver.take<C>(g.width * kTile)),
        keys(carver.take<C>(kTile * g.width)),
        values(carver.take<C>(kTile * g.width)),
        scores(carver.take<C>(kTile * kTile)),
        out(carver.take<C>(kTile * g.width)),
        maximum(carver.take<C>(kTile)),
        sum(carver.take<C>(kTile)),
        growth(carver.take<C>(kTile)),
        words(carver.take<std::uint32_t>(dropout ? kTile * kTile : 0)) {}
};

/// Turns scores into exp(score - maximum), with the running maxima and sums of the rows and the factor by
/// which former sums shrink.
template <class C>
void online_softmax(const TileShape& shape, C* __restrict s, C* __restrict maximum, C* __restrict sum,
                    C* __restrict growth) {
  constexpr C kLowest = -std::numeric_limits<C>::infinity();
  const std::int64_t width = shape.width<C>();
  C shift[kTile];
  for (std::int64_t i = 0; i < width; i += kVectorLanes<C>) {
    Vector<C> largest = load_vector(maximum + i);
    for (std::int64_t j = 0; j < shape.keys_of<C>(i); ++j) {
      const Vector<C> row = load_vector(s + j * kTile + i);
      largest = row > largest ? row : largest;
    }
    store_vector(shift + i, largest);
  }
#pragma omp simd
  for (std::int64_t i = 0; i < width; ++i) {
    const C grown = shift[i];
    // A row that has only seen -inf must not compute inf - inf.
    shift[i] = grown == kLowest ? C{0} : grown;
    growth[i] = math::exp(maximum[i] - shift[i]);
    maximum[i] = grown;
    sum[i] *= growth[i];
  }
  for (std::int64_t j = 0; j < shape.keys; ++j) {
    C* const row = s + j * kTile;
#pragma omp simd
    for (std::int64_t i = shape.begin<C>(j); i < width; ++i) {
      row[i] = math::exp(row[i] - shift[i]);
      sum[i] += row[i];
    }
  }
}

template <class C>
void drop(const TileShape& shape, const std::uint32_t* words, std::uint32_t threshold, C* s) {
  const std::int64_t width = shape.width<C>();
  for (std::int64_t j = 0; j < shape.keys; ++j) {
    C* const row = s + j * kTile;
    const std::uint32_t* const word = words + j * kTile;
#pragma omp simd
    for (std::int64_t i = shape.begin<C>(j); i < width; ++i) row[i] = word[i] < threshold ? C{0} : row[i];
  }
}

/// One call of attention_forward for element type T.
template <class T>
class Forward {
  using C = Compute<T>;

 public:
  Forward(const AttentionParams& params, RandomKey key, const ConstView& q, const ConstView& k,
          const ConstView& v, const View& out, const View& statistics)
      : geometry_(params, q),
        dropout_(key, params.dropout),
        scale_(static_cast<C>(params.scale)),
        keep_scale_(dropout_.active() ? static_cast<C>(philox::keep_scale(params.dropout)) : C{1}),
        q_(q),
        k_(k),
        v_(v),
        out_(out),
        statistics_(statistics) {}

  /// Items are blocks of query rows.
  void run(std::int64_t begin, std::int64_t end, void* memory) const {
    Carver carver(memory);
    const Buffers<C> buffers(carver, geometry_, dropout_.active());
    for (std::int64_t item = begin; item < end; ++item) {
      block(item / geometry_.blocks(), geometry_.block_of(item), buffers);
    }
  }

 private:
  void block(std::int64_t sequence, std::int64_t query_block, const Buffers<C>& b) const {
    const Geometry<C>& g = geometry_;
    const auto queries = rows_of_head<T>(q_, sequence);
    const auto keys = rows_of_head<T>(k_, sequence), values = rows_of_head<T>(v_, sequence);
    const std::int64_t first = query_block * kTile, count = g.rows_of(query_block);
    const std::int64_t padded = round_up(count, kVectorLanes<C>);
    stage<T>(queries, first, count, g.size, g.width, padded, b.queries);
    tile_transpose(b.queries, g.width, padded, g.width, scale_, b.queries_t, kTile);
    std::fill(b.maximum, b.maximum + kTile, -std::numeric_limits<C>::infinity());
    std::fill(b.sum, b.sum + kTile, C{0});
    for (std::int64_t key_block = 0; key_block < g.key_blocks(query_block); ++key_block) {
      const TileShape shape = g.tile(query_block, key_block);
      const std::int64_t first_key = key_block * kTile;
      score_product<C>(shape, view_or_stage<T>(keys, first_key, shape.keys, g.size, g.width, b.keys),
                       b.queries_t, g.size, b.scores);
      mask_scores(shape, b.scores);
      online_softmax(shape, b.scores, b.maximum, b.sum, b.growth);
      if (dropout_.active()) {
        dropout_.words(g.element(sequence, first, first_key), g.length, shape, b.words);
        drop(shape, b.words, dropout_.threshold(), b.scores);
      }
      if (key_block > 0) rescale(count, b);
      sum_over_keys<C>(shape, b.scores,
                       view_or_stage<T>(values, first_key, shape.keys, g.size, g.width, b.values), g.width,
                       b.out, key_block > 0);
    }
    finish(sequence, first, count, b);
  }

  void rescale(std::int64_t count, const Buffers<C>& b) const {
    const std::int64_t width = geometry_.width;
    for (std::int64_t i = 0; i < count; ++i) {
      C* const row = b.out + i * width;
      const C factor = b.growth[i];
#pragma omp simd
      for (std::int64_t d = 0; d < width; ++d) row[d] *= factor;
    }
  }

  void finish(std::int64_t sequence, std::int64_t first, std::int64_t count, const Buffers<C>& b) const {
    const auto out = rows_of_head<T>(out_, sequence);
    C* const statistics = statistics_.as<C>() + 2 * (sequence * geometry_.length + first);
    for (std::int64_t i = 0; i < count; ++i) {
      write_row<T>(b.out + i * geometry_.width, keep_scale_ / b.sum[i], out.at(first + i), geometry_.size,
                   Write::overwrite);
      statistics[2 * i] = b.maximum[i];
      statistics[2 * i + 1] = C{1} / b.sum[i];
    }
  }

  Geometry<C> geometry_;
  DropoutTile dropout_;
  C scale_, keep_scale_;
  ConstView q_, k_, v_;
  View out_, statistics_;
};

}  // namespace

namespace attention {

std::size_t forward_bytes(const AttentionParams& params, const ConstView& q) {
  std::size_t bytes = 0;
  dispatch_floating(q.dtype, [&]<class T>() {
    Carver carver(nullptr);
    Buffers<Compute<T>>(carver, Geometry<Compute<T>>(params, q), params.dropout > 0.0);
    bytes = carver.used();
  });
  return bytes;
}

}  // namespace attention

void attention_forward(const Queue&, const AttentionParams& params, RandomKey key, const ConstView& q,
                       const ConstView& k, const ConstView& v, const View& out, const View& statistics,
                       const Workspace& workspace) {
  if (q.numel() == 0) return;
  dispatch_floating(q.dtype, [&]<class T>() {
    const Geometry<Compute<T>> geometry(params, q);
    const Forward<T> forward(params, key, q, k, v, out, statistics);
    share_out(geometry.sequences() * geometry.blocks(), 2.0 * geometry.product_flops(),
              forward_bytes(params, q), workspace,
              [&](auto begin, auto end, void* memory) { forward.run(begin, end, memory); });
  });
}

}  // namespace reprise::kernels::cpu
