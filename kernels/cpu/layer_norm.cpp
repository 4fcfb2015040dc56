// Layer norm and RMS norm, a row at a time: a row is read from memory once and stays in the cache for the
// passes over it.
//
// Parameter gradients are sums over rows. The rows are cut into chunks by the shape alone; each chunk sums
// its rows in order into its part of the workspace, and the chunks are then added in order.
#include <cmath>

#include "parallel.h"
#include "reprise/kernels/norm.h"
#include "rows.h"
#include "workspace.h"

namespace reprise::kernels {

using namespace cpu;

namespace {

constexpr std::int64_t kMinChunkRows = 16, kMaxChunks = 64;

/// Asks for the row that comes after `row`, or several rows after where they are short.
template <class T>
void prefetch_next_row(const T* row, std::int64_t columns) {
  constexpr std::int64_t kDistance = 1024;
  prefetch_beyond(row, columns, std::max(kDistance, columns));
}

/// True for tensors that will not be found in a core's own cache.
bool is_large(const ConstView& x) {
  constexpr std::size_t kCacheBytes = 1 << 20;
  return static_cast<std::size_t>(x.numel()) * size_of(x.dtype) > kCacheBytes;
}

/// How the rows are cut into chunks.
struct RowChunks {
  std::int64_t rows, columns, chunk_rows, chunks;

  explicit RowChunks(const Layout& x) : rows(x.sizes[0]), columns(x.sizes[1]) {
    chunk_rows = std::max(kMinChunkRows, (rows + kMaxChunks - 1) / kMaxChunks);
    chunks = (rows + chunk_rows - 1) / chunk_rows;
  }
  /// Sums of dweight and of dbias, for every chunk.
  std::size_t numel() const { return static_cast<std::size_t>(2 * chunks * columns); }
};

/// mean (0 unless centred) and rstd of a row.
template <class C>
struct RowStatistics {
  C mean, rstd;
};

template <bool kCentred, class T>
RowStatistics<Compute<T>> row_statistics(const T* x, std::int64_t n, double eps) {
  using C = Compute<T>;
  alignas(64) C buffer[kPiece];
  C mean = 0;
  if constexpr (kCentred) {
    for_each_piece(n, [&](std::int64_t first, std::int64_t count) {
      const C* const in = read_piece(x + first, count, buffer);
      mean += lane_sum<C>(count, [=](std::int64_t i) { return in[i]; });
    });
    mean /= static_cast<C>(n);
  }
  C squares = 0;
  for_each_piece(n, [&](std::int64_t first, std::int64_t count) {
    const C* const in = read_piece(x + first, count, buffer);
    squares += lane_sum<C>(count, [=](std::int64_t i) { return (in[i] - mean) * (in[i] - mean); });
  });
  const double variance = static_cast<double>(squares) / static_cast<double>(n);
  return {mean, static_cast<C>(1.0 / std::sqrt(variance + eps))};
}

/// y = (x - mean) * rstd * weight + bias; without `mean` and `bias`, RMS norm.
template <bool kCentred>
void norm_forward(double eps, const ConstView& x, const ConstView& weight, const ConstView& bias,
                  const View& y, const View& mean, const View& rstd) {
  if (x.numel() == 0) return;
  const std::int64_t columns = x.sizes[1];
  const bool large = is_large(x);
  dispatch_floating(x.dtype, [&]<class T>() {
    using C = Compute<T>;
    parallel_for(
        x.sizes[0], grain_of_rows(kGrainElements, columns), [&](std::int64_t begin, std::int64_t end) {
          Parameter<T> weights(weight, C{1}), biases(bias, C{0});
          alignas(64) C buffer[kPiece];
          for (std::int64_t row = begin; row < end; ++row) {
            const T* const in = x.as<T>() + row * columns;
            T* const out = y.as<T>() + row * columns;
            if (large) prefetch_next_row(in, columns);
            const auto [centre, scale] = row_statistics<kCentred>(in, columns, eps);
            if constexpr (kCentred) mean.as<C>()[row] = centre;
            rstd.as<C>()[row] = scale;
            for_each_piece(columns,
                           [&, centre = centre, scale = scale](std::int64_t first, std::int64_t count) {
                             const C* const values = read_piece(in + first, count, buffer);
                             const C* const w = weights.piece(first, count);
                             const C* const b = biases.piece(first, count);
                             write_piece(out + first, count, Write::overwrite, [=](C* results) {
#pragma omp simd
                               for (std::int64_t i = 0; i < count; ++i)
                                 results[i] = (values[i] - centre) * scale * w[i] + b[i];
                             });
                           });
          }
        });
  });
}

/// One row of the backward pass: x, dy and the weight in the type of computation.
template <class T>
class BackwardRow {
  using C = Compute<T>;

 public:
  BackwardRow(const ConstView& weight, std::int64_t columns) : weights_(weight, C{1}), columns_(columns) {}

  /// Means of dy * weight (where centred) and of dy * weight * xhat; where kSums, adds dy * xhat to dweight
  /// and dy to dbias.
  template <bool kCentred, bool kSums>
  Pair<C> means(const T* x, const T* dy, RowStatistics<C> row, C* dweight, C* dbias) {
    Pair<C> sums;
    for_each_piece(columns_, [&](std::int64_t first, std::int64_t count) {
      const C* const in = read_piece(x + first, count, x_);
      const C* const g = read_piece(dy + first, count, dy_);
      const C* const w = weights_.piece(first, count);
      C* const dw = kSums ? dweight + first : nullptr;
      C* const db = kSums ? dbias + first : nullptr;
      const auto addends = [=](std::int64_t i) {
        const C normal = (in[i] - row.mean) * row.rstd, grad = g[i] * w[i];
        if constexpr (kSums) {
          dw[i] += g[i] * normal;
          if constexpr (kCentred) db[i] += g[i];
        }
        return Pair<C>{kCentred ? grad : C{0}, grad * normal};
      };
      const Pair<C> more = lane_sums<C>(count, addends);
      sums = {sums.first + more.first, sums.second + more.second};
    });
    return {sums.first / static_cast<C>(columns_), sums.second / static_cast<C>(columns_)};
  }

  /// dx (=, +=) rstd * (dy * weight - means.first - xhat * means.second)
  void write_dx(const T* x, const T* dy, RowStatistics<C> row, const Pair<C>& means, T* dx, Write write) {
    const C offset = means.first, slope = means.second * row.rstd;
    for_each_piece(columns_, [&](std::int64_t first, std::int64_t count) {
      const C* const in = read_piece(x + first, count, x_);
      const C* const g = read_piece(dy + first, count, dy_);
      const C* const w = weights_.piece(first, count);
      write_piece(dx + first, count, write, [=](C* out) {
#pragma omp simd
        for (std::int64_t i = 0; i < count; ++i) {
          out[i] = row.rstd * ((g[i] * w[i] - offset) - (in[i] - row.mean) * slope);
        }
      });
    });
  }

 private:
  Parameter<T> weights_;
  std::int64_t columns_;
  alignas(64) C x_[kPiece];
  alignas(64) C dy_[kPiece];
};

/// target (=, +=) the sums of all chunks, which begin at `offset` in the 2 * columns sums of each.
template <class T>
void combine_chunks(const RowChunks& plan, const Compute<T>* sums, std::int64_t offset,
                    const Target& target) {
  using C = Compute<T>;
  if (!target) return;
  parallel_for(plan.columns, grain_of_rows(kGrainElements, plan.chunks),
               [&](std::int64_t begin, std::int64_t end) {
                 alignas(64) C total[kPiece];
                 for_each_piece(end - begin, [&](std::int64_t first, std::int64_t count) {
                   std::fill_n(total, count, C{0});
                   for (std::int64_t chunk = 0; chunk < plan.chunks; ++chunk) {
                     const C* const part = sums + 2 * chunk * plan.columns + offset + begin + first;
#pragma omp simd
                     for (std::int64_t i = 0; i < count; ++i) total[i] += part[i];
                   }
                   write_piece(target.view.as<T>() + begin + first, count, target.write,
                               [&](C* out) { std::copy_n(total, count, out); });
                 });
               });
}

/// What the backward pass reads and writes; `mean` and `dbias` are null for RMS norm.
struct NormBackward {
  const ConstView &x, &weight, &mean, &rstd, &dy;
  const Target &dx, &dweight, &dbias;
};

template <class T, bool kCentred, bool kSums>
void backward_rows(const NormBackward& call, const RowChunks& plan, Compute<T>* sums) {
  using C = Compute<T>;
  const std::int64_t columns = plan.columns;
  const bool large = is_large(call.x);
  const std::int64_t grain = grain_of_rows(kGrainElements, plan.chunk_rows * columns);
  parallel_for(plan.chunks, grain, [&](std::int64_t begin, std::int64_t end) {
    BackwardRow<T> backward(call.weight, columns);
    for (std::int64_t chunk = begin; chunk < end; ++chunk) {
      C* const dweight = kSums ? sums + 2 * chunk * columns : nullptr;
      C* const dbias = kSums ? dweight + columns : nullptr;
      if constexpr (kSums) std::fill_n(dweight, 2 * columns, C{0});
      const std::int64_t first = chunk * plan.chunk_rows, last = std::min(plan.rows, first + plan.chunk_rows);
      for (std::int64_t row = first; row < last; ++row) {
        const T* const x = call.x.as<T>() + row * columns;
        const T* const dy = call.dy.as<T>() + row * columns;
        if (large) {
          prefetch_next_row(x, columns);
          prefetch_next_row(dy, columns);
        }
        const RowStatistics<C> statistics{kCentred ? call.mean.as<C>()[row] : C{0}, call.rstd.as<C>()[row]};
        const Pair<C> means = backward.template means<kCentred, kSums>(x, dy, statistics, dweight, dbias);
        if (call.dx) {
          backward.write_dx(x, dy, statistics, means, call.dx.view.as<T>() + row * columns, call.dx.write);
        }
      }
    }
  });
}

template <bool kCentred>
void norm_backward(const NormBackward& call, const Workspace& workspace) {
  const RowChunks plan(call.x);
  if (plan.columns == 0) return;
  dispatch_floating(call.x.dtype, [&]<class T>() {
    using C = Compute<T>;
    if (!call.dweight && !call.dbias) {
      if (call.dx) backward_rows<T, kCentred, false>(call, plan, nullptr);
      return;
    }
    Carver carver(workspace);
    C* const sums = static_cast<C*>(carver.take(plan.numel() * sizeof(C)));
    backward_rows<T, kCentred, true>(call, plan, sums);
    combine_chunks<T>(plan, sums, 0, call.dweight);
    combine_chunks<T>(plan, sums, plan.columns, call.dbias);
  });
}

}  // namespace

void layer_norm_forward(const Queue&, double eps, const ConstView& x, const ConstView& weight,
                        const ConstView& bias, const View& y, const View& mean, const View& rstd) {
  norm_forward<true>(eps, x, weight, bias, y, mean, rstd);
}

void rms_norm_forward(const Queue&, double eps, const ConstView& x, const ConstView& weight, const View& y,
                      const View& rstd) {
  norm_forward<false>(eps, x, weight, {}, y, {}, rstd);
}

std::size_t norm_backward_workspace_bytes(DeviceKind, const ConstView& x) {
  Carver carver;
  carver.take(RowChunks(x).numel() * (x.dtype == DType::float64 ? sizeof(double) : sizeof(float)));
  return carver.bytes();
}

void layer_norm_backward(const Queue&, const ConstView& x, const ConstView& weight, const ConstView& mean,
                         const ConstView& rstd, const ConstView& dy, const Target& dx, const Target& dweight,
                         const Target& dbias, const Workspace& workspace) {
  norm_backward<true>({x, weight, mean, rstd, dy, dx, dweight, dbias}, workspace);
}

void rms_norm_backward(const Queue&, const ConstView& x, const ConstView& weight, const ConstView& rstd,
                       const ConstView& dy, const Target& dx, const Target& dweight,
                       const Workspace& workspace) {
  const ConstView no_mean;
  const Target no_bias;
  norm_backward<false>({x, weight, no_mean, rstd, dy, dx, dweight, no_bias}, workspace);
}

}  // namespace reprise::kernels
