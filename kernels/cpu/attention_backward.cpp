// Attention backward. With s the scaled scores, p = exp(s - shift) * scale_of_row (the statistics), kept = p
// after dropout and g = dout v^T after dropout:
//   dv = kept^T dout      ds = p * (g - delta), delta_i = sum_d dout_id out_id      dq = scale ds k      dk =
//   scale ds^T q
//
// Either one thread takes a whole head, five products in all, or (where heads are too few for the threads) a
// block of query rows gives its dq and a block of key rows its dk and dv, seven products in all. Every sum
// runs over the same tiles in the same order both ways, so the results are equal to the last bit.
#include <cmath>

#include "attention_tiles.h"
#include "attention_work.h"
#include "math.h"

namespace reprise::kernels::cpu {

using namespace attention;

namespace {

constexpr double kProductsWhole = 5.0, kProductsSplit = 7.0;

/// True when taking whole heads would leave threads idle for longer than the split's two extra products take.
bool prefers_split(std::int64_t sequences, std::int64_t blocks) {
  const std::int64_t threads = num_threads(), rounds = (sequences + threads - 1) / threads;
  return blocks > 1 && kProductsWhole * static_cast<double>(rounds * threads) >
                           kProductsSplit * static_cast<double>(sequences);
}

/// One thread's scratch; dk and dv hold as many rows as one item gives.
template <class C>
struct Buffers {
  C *queries, *queries_t, *out_gradient, *out_gradient_t, *keys, *values, *scores, *gradients, *shift,
      *inverse, *delta, *dq, *dk, *dv;
  std::uint32_t* words;

  Buffers(Carver& carver, const Geometry<C>& g, bool dropout, bool split)
      : queries(carver.take<C>(kTile * g.width)),
        queries_t(carver.take<C>(g.width * kTile)),
        out_gradient(carver.take<C>(kTile * g.width)),
        out_gradient_t(carver.take<C>(g.width * kTile)),
        keys(carver.take<C>(kTile * g.width)),
        values(carver.take<C>(kTile * g.width)),
        scores(carver.take<C>(kTile * kTile)),
        gradients(carver.take<C>(kTile * kTile)),
        shift(carver.take<C>(kTile)),
        inverse(carver.take<C>(kTile)),
        delta(carver.take<C>(kTile)),
        dq(carver.take<C>(kTile * g.width)),
        dk(carver.take<C>((split ? kTile : g.length) * g.width)),
        dv(carver.take<C>((split ? kTile : g.length) * g.width)),
        words(carver.take<std::uint32_t>(dropout ? kTile * kTile : 0)) {}
};

/// Scores become probabilities, and g becomes ds.
template <class C>
void softmax_gradient(const TileShape& shape, const C* __restrict shift, const C* __restrict inverse,
                      const C* __restrict delta, C* __restrict s, C* __restrict g) {
  const std::int64_t width = shape.width<C>();
  for (std::int64_t j = 0; j < shape.keys; ++j) {
    C* const score = s + j * kTile;
    C* const gradient = g + j * kTile;
#pragma omp simd
    for (std::int64_t i = shape.begin<C>(j); i < width; ++i) {
      const C p = math::exp(score[i] - shift[i]) * inverse[i];
      gradient[i] = p * (gradient[i] - delta[i]);
      score[i] = p;
    }
  }
}

/// The same with dropout: scores become what was kept of the probabilities, scaled.
template <class C>
void softmax_gradient_dropped(const TileShape& shape, const C* __restrict shift, const C* __restrict inverse,
                              const C* __restrict delta, const std::uint32_t* __restrict words,
                              std::uint32_t threshold, C keep_scale, C* __restrict s, C* __restrict g) {
  const std::int64_t width = shape.width<C>();
  for (std::int64_t j = 0; j < shape.keys; ++j) {
    C* const score = s + j * kTile;
    C* const gradient = g + j * kTile;
    const std::uint32_t* const word = words + j * kTile;
#pragma omp simd
    for (std::int64_t i = shape.begin<C>(j); i < width; ++i) {
      const C p = math::exp(score[i] - shift[i]) * inverse[i];
      const C factor = word[i] < threshold ? C{0} : keep_scale;
      gradient[i] = p * (gradient[i] * factor - delta[i]);
      score[i] = p * factor;
    }
  }
}

/// One call of attention_backward for element type T.
template <class T>
class Backward {
  using C = Compute<T>;

 public:
  Backward(const AttentionParams& params, RandomKey key, const ConstView& q, const ConstView& k,
           const ConstView& v, const ConstView& out, const ConstView& statistics, const ConstView& dout,
           const Target& dq, const Target& dk, const Target& dv)
      : geometry_(params, q),
        dropout_(key, params.dropout),
        scale_(static_cast<C>(params.scale)),
        keep_scale_(static_cast<C>(philox::keep_scale(params.dropout))),
        q_(q),
        k_(k),
        v_(v),
        out_(out),
        statistics_(statistics),
        dout_(dout),
        dq_(dq),
        dk_(dk),
        dv_(dv) {}

  bool wants_queries() const { return static_cast<bool>(dq_); }
  bool wants_keys() const { return dk_ || dv_; }
  const Geometry<C>& geometry() const { return geometry_; }

  /// Items are heads.
  void whole_heads(std::int64_t begin, std::int64_t end, void* memory) const {
    const Buffers<C> b = buffers(memory, false);
    for (std::int64_t sequence = begin; sequence < end; ++sequence) {
      for (std::int64_t query_block = 0; query_block < geometry_.blocks(); ++query_block) {
        load_queries(sequence, query_block, b);
        for (std::int64_t key_block = 0; key_block < geometry_.key_blocks(query_block); ++key_block) {
          tile(sequence, query_block, key_block, key_block * kTile, wants_queries(), wants_keys(), b);
        }
        write_queries(sequence, query_block, b);
      }
      write_keys(sequence, 0, geometry_.length, b);
    }
  }

  /// Items are blocks of query rows.
  void query_blocks(std::int64_t begin, std::int64_t end, void* memory) const {
    const Buffers<C> b = buffers(memory, true);
    for (std::int64_t item = begin; item < end; ++item) {
      const std::int64_t sequence = item / geometry_.blocks(), query_block = geometry_.block_of(item);
      load_queries(sequence, query_block, b);
      for (std::int64_t key_block = 0; key_block < geometry_.key_blocks(query_block); ++key_block) {
        tile(sequence, query_block, key_block, 0, true, false, b);
      }
      write_queries(sequence, query_block, b);
    }
  }

  /// Items are blocks of key rows.
  void key_blocks(std::int64_t begin, std::int64_t end, void* memory) const {
    const Buffers<C> b = buffers(memory, true);
    for (std::int64_t item = begin; item < end; ++item) {
      const std::int64_t sequence = item / geometry_.blocks(), key_block = geometry_.block_of(item);
      for (std::int64_t query_block = geometry_.first_query_block(key_block);
           query_block < geometry_.blocks(); ++query_block) {
        load_queries(sequence, query_block, b);
        tile(sequence, query_block, key_block, 0, false, true, b);
      }
      write_keys(sequence, key_block * kTile, geometry_.rows_of(key_block), b);
    }
  }

 private:
  Buffers<C> buffers(void* memory, bool split) const {
    Carver carver(memory);
    return Buffers<C>(carver, geometry_, dropout_.active(), split);
  }

  /// What all tiles of a block of query rows need.
  void load_queries(std::int64_t sequence, std::int64_t query_block, const Buffers<C>& b) const {
    const Geometry<C>& g = geometry_;
    const std::int64_t first = query_block * kTile, count = g.rows_of(query_block);
    const std::int64_t padded = round_up(count, kVectorLanes<C>);
    stage<T>(rows_of_head<T>(q_, sequence), first, count, g.size, g.width, padded, b.queries);
    stage<T>(rows_of_head<T>(dout_, sequence), first, count, g.size, g.width, padded, b.out_gradient);
    tile_transpose(b.queries, g.width, padded, g.width, scale_, b.queries_t, kTile);
    tile_transpose(b.out_gradient, g.width, padded, g.width, C{1}, b.out_gradient_t, kTile);
    const C* const statistics = statistics_.as<C>() + 2 * (sequence * g.length + first);
    for (std::int64_t i = 0; i < count; ++i) {
      b.shift[i] = statistics[2 * i];
      b.inverse[i] = statistics[2 * i + 1];
    }
    std::fill(b.shift + count, b.shift + kTile, C{0});
    std::fill(b.inverse + count, b.inverse + kTile, C{0});
    const auto out = view_or_stage<T>(rows_of_head<T>(out_, sequence), first, count, g.size, g.width, b.dq);
    for (std::int64_t i = 0; i < count; ++i) {
      const C *const x = out.at(i), *const y = b.out_gradient + i * g.width;
      C sum = 0;
#pragma omp simd reduction(+ : sum)
      for (std::int64_t d = 0; d < g.width; ++d) sum += x[d] * y[d];
      b.delta[i] = sum;
    }
    std::fill(b.delta + count, b.delta + kTile, C{0});
  }

  /// One tile's part of dq (with the block's rows) and of dk and dv (from row `to` of the buffers).
  void tile(std::int64_t sequence, std::int64_t query_block, std::int64_t key_block, std::int64_t to,
            bool queries, bool keys, const Buffers<C>& b) const {
    const Geometry<C>& g = geometry_;
    const TileShape shape = g.tile(query_block, key_block);
    const std::int64_t first_key = key_block * kTile;
    const auto k =
        view_or_stage<T>(rows_of_head<T>(k_, sequence), first_key, shape.keys, g.size, g.width, b.keys);
    const auto v =
        view_or_stage<T>(rows_of_head<T>(v_, sequence), first_key, shape.keys, g.size, g.width, b.values);
    score_product<C>(shape, k, b.queries_t, g.size, b.scores);
    score_product<C>(shape, v, b.out_gradient_t, g.size, b.gradients);
    mask_scores(shape, b.scores);
    if (dropout_.active()) {
      dropout_.words(g.element(sequence, query_block * kTile, first_key), g.length, shape, b.words);
      softmax_gradient_dropped(shape, b.shift, b.inverse, b.delta, b.words, dropout_.threshold(), keep_scale_,
                               b.scores, b.gradients);
    } else {
      softmax_gradient(shape, b.shift, b.inverse, b.delta, b.scores, b.gradients);
    }
    if (keys) {
      const bool add = query_block > g.first_query_block(key_block);
      if (dv_)
        sum_over_queries<C>(shape, b.scores, {b.out_gradient, g.width}, g.width, b.dv + to * g.width, add);
      if (dk_)
        sum_over_queries<C>(shape, b.gradients, {b.queries, g.width}, g.width, b.dk + to * g.width, add);
    }
    if (queries) sum_over_keys<C>(shape, b.gradients, k, g.width, b.dq, key_block > 0);
  }

  void write_queries(std::int64_t sequence, std::int64_t query_block, const Buffers<C>& b) const {
    if (dq_) write_rows(dq_, sequence, query_block * kTile, geometry_.rows_of(query_block), scale_, b.dq);
  }

  void write_keys(std::int64_t sequence, std::int64_t first, std::int64_t count, const Buffers<C>& b) const {
    if (dk_) write_rows(dk_, sequence, first, count, scale_, b.dk);
    if (dv_) write_rows(dv_, sequence, first, count, C{1}, b.dv);
  }

  void write_rows(const Target& target, std::int64_t sequence, std::int64_t first, std::int64_t count,
                  C factor, const C* from) const {
    const auto to = rows_of_head<T>(target.view, sequence);
    for (std::int64_t r = 0; r < count; ++r) {
      write_row<T>(from + r * geometry_.width, factor, to.at(first + r), geometry_.size, target.write);
    }
  }

  Geometry<C> geometry_;
  DropoutTile dropout_;
  C scale_, keep_scale_;
  ConstView q_, k_, v_, out_, statistics_, dout_;
  Target dq_, dk_, dv_;
};

std::size_t bytes_of_thread(const AttentionParams& params, const ConstView& q, bool split) {
  std::size_t bytes = 0;
  dispatch_floating(q.dtype, [&]<class T>() {
    Carver carver(nullptr);
    Buffers<Compute<T>>(carver, Geometry<Compute<T>>(params, q), params.dropout > 0.0, split);
    bytes = carver.used();
  });
  return bytes;
}

}  // namespace

namespace attention {

std::size_t backward_bytes(const AttentionParams& params, const ConstView& q) {
  const std::int64_t sequences = q.sizes[0] * q.sizes[1], blocks = (q.sizes[2] + kTile - 1) / kTile;
  return bytes_of_thread(params, q, prefers_split(sequences, blocks));
}

}  // namespace attention

void attention_backward(const Queue&, const AttentionParams& params, RandomKey key, const ConstView& q,
                        const ConstView& k, const ConstView& v, const ConstView& out,
                        const ConstView& statistics, const ConstView& dout, const Target& dq,
                        const Target& dk, const Target& dv, const Workspace& workspace) {
  if (q.numel() == 0 || !(dq || dk || dv)) return;
  dispatch_floating(q.dtype, [&]<class T>() {
    const Backward<T> backward(params, key, q, k, v, out, statistics, dout, dq, dk, dv);
    const auto& geometry = backward.geometry();
    const double flops = geometry.product_flops();
    const std::int64_t sequences = geometry.sequences(), blocks = geometry.blocks();
    const std::size_t whole = bytes_of_thread(params, q, false), part = bytes_of_thread(params, q, true);
    // The number of threads may have changed since the workspace was measured.
    if (prefers_split(sequences, blocks) || workspace.bytes < whole) {
      if (backward.wants_queries()) {
        share_out(sequences * blocks, 3.0 * flops, part, workspace,
                  [&](auto begin, auto end, void* memory) { backward.query_blocks(begin, end, memory); });
      }
      if (backward.wants_keys()) {
        share_out(sequences * blocks, 4.0 * flops, part, workspace,
                  [&](auto begin, auto end, void* memory) { backward.key_blocks(begin, end, memory); });
      }
    } else {
      share_out(sequences, kProductsWhole * flops, whole, workspace,
                [&](auto begin, auto end, void* memory) { backward.whole_heads(begin, end, memory); });
    }
  });
}

}  // namespace reprise::kernels::cpu
