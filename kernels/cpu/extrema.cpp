// Where the largest elements are: argmax, and the gradient of max.
#include <algorithm>
#include <cstddef>

#include "parallel.h"
#include "reduce_axes.h"
#include "reprise/kernels/reduce.h"

namespace reprise::kernels::cpu {

namespace {

constexpr std::int64_t kResults = 64;  // in a block
constexpr std::int64_t kPositions =
    64;  // in a tile of reduced elements, so that a tile of a block stays in the cache
constexpr std::int64_t kGrainElements = 16384;

/// Calls f(block) for every block of results, on all threads.
template <std::size_t N, class F>
void for_each_block(const ReductionAxes<N>& split, F&& f) {
  const ResultBlocks<N> blocks(split.kept, kResults);
  const std::int64_t elements = split.reduced.numel() * blocks.width;
  parallel_for(blocks.count(), std::max<std::int64_t>(1, kGrainElements / elements),
               [&](std::int64_t begin, std::int64_t end) {
                 for (std::int64_t i = begin; i < end; ++i) f(blocks[i]);
               });
}

/// Calls f(result of the block, offsets) for every reduced element of the block, in order for each result.
template <std::size_t N, class Block, class F>
void for_each_element(const ReductionAxes<N>& split, const Block& block, F&& f) {
  const auto inner = static_cast<std::size_t>(split.reduced.rank) - 1;
  for_each_tile(split.reduced, 0, split.reduced.numel(), kPositions, [&](const Tile<N>& tile) {
    for (std::int64_t result = 0; result < block.width; ++result) {
      for (std::int64_t r = 0; r < tile.rows; ++r) {
        std::array<std::int64_t, N> at;
        for (std::size_t k = 0; k < N; ++k) {
          at[k] = block.offsets[k] + result * block.strides[k] + tile.offsets[k] +
                  (inner > 0 ? r * split.reduced.strides[k][inner - 1] : 0);
        }
        for (std::int64_t c = 0; c < tile.cols; ++c) {
          f(result, at);
          for (std::size_t k = 0; k < N; ++k) at[k] += split.reduced.strides[k][inner];
        }
      }
    }
  });
}

/// NaN counts as the largest, as in PyTorch.
template <class C>
bool is_larger(C value, C most) {
  return value > most || (value != value && most == most);
}

/// The first of the largest in a row of n > 0 elements.
template <class T>
std::int64_t argmax_row(const T* row, std::int64_t stride, std::int64_t n) {
  using C = Compute<T>;
  constexpr std::int64_t kChunk = 256;
  C most = row[0];
  std::int64_t where = 0;
  for (std::int64_t begin = 0; begin < n; begin += kChunk) {
    const std::int64_t end = std::min(n, begin + kChunk);
    if (stride == 1) {
      // Few chunks of a long row hold something larger than all before them.
      int larger = 0;
#pragma omp simd reduction(| : larger)
      for (std::int64_t i = begin; i < end; ++i) larger |= static_cast<C>(row[i]) <= most ? 0 : 1;
      if (larger == 0) continue;
    }
    for (std::int64_t i = begin; i < end; ++i) {
      const C value = row[i * stride];
      where = is_larger(value, most) ? i : where;
      most = is_larger(value, most) ? value : most;
    }
  }
  return where;
}

}  // namespace

void max_backward(const Queue&, const ConstView& x, const ConstView& y, const ConstView& dy,
                  const Target& dx) {
  if (!dx || x.numel() == 0) return;
  const Layout result = expanded(y, x), result_gradient = expanded(dy, x);
  const auto split = split_axes<4>({&x, &result, &result_gradient, &dx.view});
  dispatch_floating(x.dtype, [&]<class T>() {
    using C = Compute<T>;
    const T *from = x.as<T>(), *most = y.as<T>(), *gradient = dy.as<T>();
    T* to = dx.view.as<T>();
    const bool accumulate = dx.write == Write::accumulate;
    const auto share_out = [&](const auto& block, auto is_largest) {
      std::int64_t ties[kResults] = {};
      for_each_element(split, block, [&](std::int64_t i, const auto& at) {
        ties[i] += is_largest(static_cast<C>(from[at[0]]), static_cast<C>(most[at[1]])) ? 1 : 0;
      });
      for_each_element(split, block, [&](std::int64_t i, const auto& at) {
        const bool largest = is_largest(static_cast<C>(from[at[0]]), static_cast<C>(most[at[1]]));
        const C share = largest ? static_cast<C>(gradient[at[2]]) / static_cast<C>(ties[i]) : C(0);
        T& out = to[at[3]];
        out = static_cast<T>(accumulate ? static_cast<C>(out) + share : share);
      });
    };
    for_each_block(split, [&](const auto& block) {
      bool has_nan = false;
      for (std::int64_t i = 0; i < block.width; ++i) {
        const C largest = most[block.offsets[1] + i * block.strides[1]];
        has_nan = has_nan || largest != largest;
      }
      if (has_nan)  // asked once for a block, because the question costs as much as the comparison
        share_out(block, [](C a, C b) { return a == b || (a != a && b != b); });
      else
        share_out(block, [](C a, C b) { return a == b; });
    });
  });
}

void argmax(const Queue&, const ConstView& x, int axis, const View& y) {
  if (x.numel() == 0) return;
  // The index along the axis, as an operand of its own: it grows by 1 along the axis and nowhere else.
  Layout index = x;
  index.strides = {};
  index.strides[static_cast<std::size_t>(axis)] = 1;
  const Layout result = expanded(y, x);
  const auto split = split_axes<3>({&x, &result, &index});
  dispatch_all(x.dtype, [&]<class T>() {
    using C = Compute<T>;
    const T* from = x.as<T>();
    std::int64_t* to = y.as<std::int64_t>();
    for_each_block(split, [&](const auto& block) {
      if (split.inner_reduced) {
        const std::int64_t stride = split.reduced.strides[0][0], n = split.reduced.sizes[0];
        for (std::int64_t i = 0; i < block.width; ++i) {
          const T* row = from + block.offsets[0] + i * block.strides[0];
          to[block.offsets[1] + i * block.strides[1]] = argmax_row(row, stride, n);
        }
        return;
      }
      C most[kResults];
      std::int64_t where[kResults];
      std::fill_n(where, kResults, -1);
      for_each_element(split, block, [&](std::int64_t i, const auto& at) {
        const C value = from[at[0]];
        const bool larger = where[i] < 0 || is_larger(value, most[i]);
        most[i] = larger ? value : most[i];
        where[i] = larger ? at[2] : where[i];
      });
      for (std::int64_t i = 0; i < block.width; ++i) to[block.offsets[1] + i * block.strides[1]] = where[i];
    });
  });
}

}  // namespace reprise::kernels::cpu
