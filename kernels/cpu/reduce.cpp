// Sum, mean and max over axes.
//
// The results are cut into blocks, the reduced elements into groups, and a group into chunks; all by the
// shape alone, never by the number of threads. A chunk is summed in the type of computation, chunks and
// groups are added up in float64 (or int64), in order. Threads share out the blocks or, where these are few,
// the pairs of block and group.
#include "reprise/kernels/reduce.h"
#include "reprise/error.h"

#include <cstddef>
#include <limits>
#include <string>

#include "convert.h"
#include "parallel.h"
#include "reduce_axes.h"
#include "reprise/kernels/elementwise_functors.h"

namespace reprise::kernels::cpu {

namespace {

using Split = ReductionAxes<2>;  // x, y
using Blocks = ResultBlocks<2>;

constexpr std::int64_t kGroupElements = 65536;  // of a block, at least
constexpr std::int64_t kMaxGroups = 256;
constexpr std::int64_t kManyBlocks = 64;  // so many are enough work for all threads
constexpr std::int64_t kRowResults = 64, kColumnResults = 256;
constexpr std::int64_t kMaxResults = std::max(kRowResults, kColumnResults);
constexpr std::int64_t kRowChunk = 2048;    // elements that are added in the type of computation
constexpr std::int64_t kColumnChunk = 256;  // rows that are
constexpr std::int64_t kGrainElements = 32768;

/// The cut of one reduction; the same whatever the number of threads.
struct Plan {
  std::int64_t elements = 0;  // reduced ones for each result
  std::int64_t group = 0;     // of them in a group
  std::int64_t groups = 0;
  bool partial_results = false;  // groups leave theirs in the workspace
};

Plan plan_of(const Split& split, const Blocks& blocks) {
  Plan plan;
  plan.elements = split.reduced.numel();
  const std::int64_t inner = split.reduced.sizes[static_cast<std::size_t>(split.reduced.rank) - 1];
  plan.group = std::max(
      {std::int64_t{1}, kGroupElements / blocks.width, (plan.elements + kMaxGroups - 1) / kMaxGroups});
  if (plan.group > inner) plan.group = (plan.group + inner - 1) / inner * inner;
  plan.groups = (plan.elements + plan.group - 1) / plan.group;
  plan.partial_results = plan.groups > 1 && blocks.count() < kManyBlocks;
  return plan;
}

Blocks blocks_of(const Split& split) {
  return {split.kept, split.inner_reduced ? kRowResults : kColumnResults};
}

Split split_of(const Layout& x, const Layout& y) {
  const Layout result = expanded(y, x);
  return split_axes<2>({&x, &result});
}

/// Adds, and what to add to.
struct Sum {
  template <class A>
  static constexpr A start = A(0);
  template <class A>
  static A join(A a, A b) {
    return a + b;
  }

  template <class A>
  static A row(const A* x, std::int64_t n) {
    if (n < 128) {
      A sum = 0;
#pragma omp simd reduction(+ : sum)
      for (std::int64_t i = 0; i < n; ++i) sum += x[i];
      return sum;
    }
    // Four streams, because one alone would wait for each addition.
    const std::int64_t quarter = n / 4;
    A s0 = 0, s1 = 0, s2 = 0, s3 = 0;
#pragma omp simd reduction(+ : s0, s1, s2, s3)
    for (std::int64_t i = 0; i < quarter; ++i) {
      s0 += x[i];
      s1 += x[i + quarter];
      s2 += x[i + 2 * quarter];
      s3 += x[i + 3 * quarter];
    }
    for (std::int64_t i = 4 * quarter; i < n; ++i) s0 += x[i];
    return (s0 + s1) + (s2 + s3);
  }
};

/// The largest; NaN wins.
struct Max {
  template <class A>
  static constexpr A start = -std::numeric_limits<A>::infinity();
  template <class A>
  static A join(A a, A b) {
    const A most = a > b ? a : b;  // two selections, as `||` would be a branch, which is not vectorised
    return a != a ? a : most;
  }

  template <class A>
  static A row(const A* x, std::int64_t n) {
    A most = start<A>;
    int nan = 0;
#pragma omp simd reduction(max : most) reduction(| : nan)
    for (std::int64_t i = 0; i < n; ++i) {
      most = x[i] > most ? x[i] : most;
      nan |= x[i] != x[i] ? 1 : 0;
    }
    return nan ? std::numeric_limits<A>::quiet_NaN() : most;
  }
};

/// n elements of a row as contiguous values of type A: in place or in `buffer`.
template <class T, class A>
const A* read_row(const T* row, std::int64_t stride, std::int64_t n, A* buffer) {
  if constexpr (std::is_same_v<T, A>) {
    if (stride == 1) return row;
  } else if constexpr (std::is_same_v<T, std::int64_t> && std::is_same_v<A, std::uint64_t>) {
    if (stride == 1) return reinterpret_cast<const A*>(row);  // the same bits, read as the type allows
  } else if constexpr (std::is_same_v<Compute<T>, A>) {
    if (stride == 1) {
      load_row(row, buffer, n);
      return buffer;
    }
  }
  for (std::int64_t i = 0; i < n; ++i) buffer[i] = static_cast<A>(row[i * stride]);
  return buffer;
}

/// Where the reduced axis is innermost: result by result, rows of it.
template <class Op, class T, class A, class P>
void reduce_rows(const Axes<2>& reduced, const Blocks::Block& block, const T* x, std::int64_t begin,
                 std::int64_t end, P* results) {
  const auto inner = static_cast<std::size_t>(reduced.rank) - 1;
  const std::int64_t col_stride = reduced.strides[0][inner];
  const std::int64_t row_stride = inner > 0 ? reduced.strides[0][inner - 1] : 0;
  A buffer[kRowChunk];
  for (std::int64_t i = 0; i < block.width; ++i) {
    const T* base = x + block.offsets[0] + i * block.strides[0];
    P result = Op::template start<P>;
    const auto take = [&](const T* row, std::int64_t n) {
      result = Op::join(result, static_cast<P>(Op::row(read_row<T, A>(row, col_stride, n, buffer), n)));
    };
    if (inner == 0) {  // by far the most frequent, and short rows should not pay for the general loop
      for (std::int64_t at = begin; at < end; at += kRowChunk) {
        take(base + at * col_stride, std::min(kRowChunk, end - at));
      }
    } else {
      for_each_tile(reduced, begin, end, kRowChunk, [&](const Tile<2>& tile) {
        for (std::int64_t r = 0; r < tile.rows; ++r) take(base + tile.offsets[0] + r * row_stride, tile.cols);
      });
    }
    results[i] = result;
  }
}

/// Where a kept axis is innermost: whole rows are joined into a row of results, four at a time.
template <class Op, class T, class A, class P>
void reduce_columns(const Axes<2>& reduced, const Blocks::Block& block, const T* x, std::int64_t begin,
                    std::int64_t end, P* results) {
  const auto inner = static_cast<std::size_t>(reduced.rank) - 1;
  const std::int64_t near = reduced.strides[0][inner];
  const std::int64_t far = inner > 0 ? reduced.strides[0][inner - 1] : 0;
  const std::int64_t width = block.width;
  A buffer[4][kColumnResults];
  A chunk[kColumnResults];
  for (std::int64_t c = 0; c < width; ++c) results[c] = Op::template start<P>;
  for_each_tile(reduced, begin, end, kColumnChunk, [&](const Tile<2>& tile) {
    for (std::int64_t c = 0; c < width; ++c) chunk[c] = Op::template start<A>;
    for (std::int64_t r = 0; r < tile.rows; ++r) {
      const T* base = x + block.offsets[0] + tile.offsets[0] + r * far;
      const auto row = [&](std::int64_t index, std::size_t slot) {
        return read_row<T, A>(base + index * near, block.strides[0], width, buffer[slot]);
      };
      std::int64_t i = 0;
      for (; i + 4 <= tile.cols; i += 4) {
        const A *x0 = row(i, 0), *x1 = row(i + 1, 1), *x2 = row(i + 2, 2), *x3 = row(i + 3, 3);
#pragma omp simd
        for (std::int64_t c = 0; c < width; ++c) {
          chunk[c] = Op::join(chunk[c], Op::join(Op::join(x0[c], x1[c]), Op::join(x2[c], x3[c])));
        }
      }
      for (; i < tile.cols; ++i) {
        const A* x0 = row(i, 0);
#pragma omp simd
        for (std::int64_t c = 0; c < width; ++c) chunk[c] = Op::join(chunk[c], x0[c]);
      }
    }
    for (std::int64_t c = 0; c < width; ++c) results[c] = Op::join(results[c], static_cast<P>(chunk[c]));
  });
}

/// Writes or adds finished results; y's type may be wider than x's.
template <class P>
struct Finish {
  View y;
  Write write;
  double divisor;

  template <class T>
  void store(const Blocks::Block& block, const P* results) const {
    using C = Compute<T>;
    T* out = y.as<T>() + block.offsets[1];
    for (std::int64_t i = 0; i < block.width; ++i, out += block.strides[1]) {
      const P result = results[i];
      const C value =
          static_cast<C>(std::is_integral_v<P> ? result : static_cast<P>(result / static_cast<P>(divisor)));
      *out = static_cast<T>(write == Write::overwrite
                                ? value
                                : static_cast<C>(functors::wrapping_add(static_cast<C>(*out), value)));
    }
  }

  void operator()(const Blocks::Block& block, const P* results) const {
    if constexpr (std::is_integral_v<P>)
      store<std::int64_t>(block, results);
    else
      dispatch_floating(y.dtype, [&]<class T>() { store<T>(block, results); });
  }
};

template <class Op, class T, class A, class P>
void reduce_all(const Split& split, const T* x, const Finish<P>& finish, const Workspace& workspace) {
  const Blocks blocks = blocks_of(split);
  const Plan plan = plan_of(split, blocks);
  const std::int64_t results = split.kept.numel();
  const auto group_result = [&](const Blocks::Block& block, std::int64_t group, P* out) {
    const std::int64_t begin = group * plan.group, end = std::min(plan.elements, begin + plan.group);
    (split.inner_reduced ? reduce_rows<Op, T, A, P> : reduce_columns<Op, T, A, P>)(split.reduced, block, x,
                                                                                   begin, end, out);
  };
  const std::int64_t group_grain = std::max<std::int64_t>(1, kGrainElements / (plan.group * blocks.width));

  if (plan.partial_results) {
    const std::size_t needed = static_cast<std::size_t>(plan.groups * results) * sizeof(P);
    if (workspace.bytes < needed) throw Error("[reduce] workspace too small");
    P* partial = static_cast<P*>(workspace.data);  // (groups, results)
    parallel_for(blocks.count() * plan.groups, group_grain, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        const Blocks::Block block = blocks[i / plan.groups];
        group_result(block, i % plan.groups, partial + i % plan.groups * results + block.first);
      }
    });
    for (std::int64_t i = 0; i < blocks.count(); ++i) {
      const Blocks::Block block = blocks[i];
      P* total = partial + block.first;
      for (std::int64_t group = 1; group < plan.groups; ++group) {
        for (std::int64_t c = 0; c < block.width; ++c)
          total[c] = Op::join(total[c], total[group * results + c]);
      }
      finish(block, total);
    }
    return;
  }

  const std::int64_t block_grain = std::max<std::int64_t>(1, kGrainElements / (plan.elements * blocks.width));
  parallel_for(blocks.count(), block_grain, [&](std::int64_t begin, std::int64_t end) {
    P total[kMaxResults], part[kMaxResults];
    for (std::int64_t i = begin; i < end; ++i) {
      const Blocks::Block block = blocks[i];
      group_result(block, 0, total);
      for (std::int64_t group = 1; group < plan.groups; ++group) {
        group_result(block, group, part);
        for (std::int64_t c = 0; c < block.width; ++c) total[c] = Op::join(total[c], part[c]);
      }
      finish(block, total);
    }
  });
}

/// The result of reducing nothing.
template <class P>
void reduce_nothing(P start, const Finish<P>& finish) {
  const Axes<2> kept = collapse<2>({&finish.y, &finish.y});
  const ResultBlocks<2> blocks(kept, 1);
  for (std::int64_t i = 0; i < blocks.count(); ++i) finish(blocks[i], &start);
}

template <class Op, class T>
void reduce_as(const ConstView& x, const Target& y, double divisor, const Workspace& workspace) {
  constexpr bool integer = std::is_integral_v<T>;
  using A = std::conditional_t<integer, std::uint64_t, Compute<T>>;  // unsigned: sums wrap around
  using P = std::conditional_t<integer, std::uint64_t, double>;
  const Finish<P> finish{y.view, y.write, divisor};
  if (x.numel() == 0)
    reduce_nothing<P>(Op::template start<P>, finish);
  else
    reduce_all<Op, T, A, P>(split_of(x, y.view), x.as<T>(), finish, workspace);
}

}  // namespace

std::size_t reduce_workspace_bytes(DeviceKind, Reduce, const ConstView& x, const View& y) {
  if (x.numel() == 0) return 0;
  const Split split = split_of(x, y);
  const Plan plan = plan_of(split, blocks_of(split));
  // float64 and int64 partial results are of one size.
  return plan.partial_results ? static_cast<std::size_t>(plan.groups * split.kept.numel()) * sizeof(double)
                              : 0;
}

void reduce(const Queue&, Reduce function, const ConstView& x, const Target& y, const Workspace& workspace) {
  const std::int64_t results = y.view.numel();
  if (!y || results == 0) return;
  const auto unsupported = [&] {
    throw TypeError("[reduce] no such reduction of " + std::string(name_of(x.dtype)));
  };
  const std::int64_t reduced = x.numel() / results;
  const double divisor = function == Reduce::mean ? static_cast<double>(reduced) : 1.0;
  dispatch_all(x.dtype, [&]<class T>() {
    if (function != Reduce::max) {
      if (!is_floating(x.dtype) && (function == Reduce::mean || y.view.dtype != DType::int64)) unsupported();
      reduce_as<Sum, T>(x, y, divisor, workspace);
    } else if constexpr (std::is_integral_v<T>) {
      unsupported();
    } else {
      reduce_as<Max, T>(x, y, divisor, workspace);
    }
  });
}

}  // namespace reprise::kernels::cpu
