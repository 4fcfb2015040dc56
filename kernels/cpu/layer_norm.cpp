// Layer norm and RMS norm, a row at a time: a row is read from memory once and stays in the cache for the
// passes over it.
//
// Parameter gradients are sums over rows. The rows are cut into chunks by the shape alone; each chunk sums
// its rows in order into its part of the workspace, and the chunks are then added in order.
#include <cmath>

#include "lines.h"
#include "parallel.h"
#include "reprise/kernels/norm.h"
#include "workspace.h"

namespace reprise::kernels::cpu {

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

/// Of the backward pass, for one row: dx = rstd * (dy * weight - offset - (x - mean) * slope).
template <class C>
struct RowGradient {
  C mean, rstd, offset, slope;
};

/// Rows of a block, and columns of it that are handled at once.
constexpr std::int64_t kBlockRows = 4, kBlockColumns = kSlab / kBlockRows;

/// The backward pass of a block of rows of x and dy.
template <bool kCentred, class T>
class BackwardBlock {
  using C = Compute<T>;

 public:
  BackwardBlock(const ConstView& weight, const ConstView& x)
      : weights_(weight, C{1}), columns_(x.sizes[1]), large_(is_large(x)) {}

  /// offset and slope of a row: means of dy * weight (0 unless centred) and of dy * weight * xhat.
  RowGradient<C> row_gradient(const T* x, const T* dy, C mean, C rstd) {
    Pair<C> sums;
    for_each_piece(columns_, [&](std::int64_t first, std::int64_t count) {
      const C* const in = read_piece(x + first, count, x_);
      const C* const g = read_piece(dy + first, count, dy_);
      const C* const w = weights_.piece(first, count);
      const Pair<C> more = lane_sums<C>(count, [=](std::int64_t i) {
        const C grad = g[i] * w[i];
        return Pair<C>{kCentred ? grad : C{0}, grad * (in[i] - mean)};
      });
      sums = {sums.first + more.first, sums.second + more.second};
    });
    const C n = static_cast<C>(columns_);
    return {mean, rstd, sums.first / n, sums.second * rstd / n * rstd};
  }

  /// Stores or adds dx where it is wanted; adds dy * xhat to dweight, and dy to dbias where centred.
  void run(std::int64_t rows, const T* x, const T* dy, const RowGradient<C>* gradients, T* dx, Write write,
           C* dweight, C* dbias) {
    for (std::int64_t first = 0; first < columns_; first += kBlockColumns) {
      const std::int64_t width = std::min(kBlockColumns, columns_ - first);
      const Lines<const C> in = read_lines(x + first, columns_, rows, width, x_);
      const Lines<const C> g = read_lines(dy + first, columns_, rows, width, dy_);
      const C* const w = weights_.piece(first, width);
      const auto compute = [&](Lines<C> out) {
        out.ahead = large_ && out.ahead != 0 ? kBlockRows * columns_ : 0;
        for_each_column_group<C>(width, [&](std::int64_t column, auto count) {
          run_columns(rows, in, g, w + column, gradients, column, count, out, dweight + first + column,
                      dbias + first + column);
        });
      };
      if (dx != nullptr)
        write_lines(dx + first, columns_, rows, width, write, compute);
      else
        compute(Lines<C>{unwanted_, width});
    }
  }

 private:
  template <class Count>
  static void run_columns(std::int64_t rows, Lines<const C> x, Lines<const C> dy, const C* weight,
                          const RowGradient<C>* gradients, std::int64_t column, Count count, Lines<C> dx,
                          C* dweight, C* dbias) {
    const auto w = ColumnGroup<C>::load(weight, count);
    auto dw = ColumnGroup<C>::load(dweight, count), db = ColumnGroup<C>::load(dbias, count);
    for (std::int64_t row = 0; row < rows; ++row) {
      const C* const in = x.group(row, column);
      const C* const g = dy.group(row, column);
      C* const out = dx.group(row, column, dx.ahead != 0);
      const RowGradient<C> gradient = gradients[row];
#pragma omp simd
      for (std::int64_t i = 0; i < count; ++i) {
        const C distance = in[i] - gradient.mean;
        dw[i] += g[i] * (distance * gradient.rstd);
        if constexpr (kCentred) db[i] += g[i];
        out[i] = gradient.rstd * ((g[i] * w[i] - gradient.offset) - distance * gradient.slope);
      }
    }
    dw.store(dweight, count);
    if constexpr (kCentred) db.store(dbias, count);
  }

  Parameter<T> weights_;
  std::int64_t columns_;
  bool large_;
  alignas(64) C x_[kSlab];
  alignas(64) C dy_[kSlab];
  alignas(64) C unwanted_[kSlab];
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
                   write_row(total, target.view.as<T>() + begin + first, count, target.write);
                 });
               });
}

/// What the backward pass reads and writes; `mean` and `dbias` are null for RMS norm.
struct NormBackward {
  const ConstView &x, &weight, &mean, &rstd, &dy;
  const Target &dx, &dweight, &dbias;
};

/// Rows [begin, end): dx, and sums for dweight and dbias, which are added to.
template <bool kCentred, class T>
void backward_rows(const NormBackward& call, BackwardBlock<kCentred, T>& block, std::int64_t begin,
                   std::int64_t end, Compute<T>* dweight, Compute<T>* dbias) {
  using C = Compute<T>;
  const std::int64_t columns = call.x.sizes[1];
  const bool large = is_large(call.x);
  for (std::int64_t first = begin; first < end; first += kBlockRows) {
    const std::int64_t rows = std::min(kBlockRows, end - first);
    const T* const x = call.x.as<T>() + first * columns;
    const T* const dy = call.dy.as<T>() + first * columns;
    RowGradient<C> gradients[kBlockRows];
    for (std::int64_t row = 0; row < rows; ++row) {
      const T* const x_row = x + row * columns;
      const T* const dy_row = dy + row * columns;
      if (large) {
        prefetch_next_row(x_row, columns);
        prefetch_next_row(dy_row, columns);
      }
      const C mean = kCentred ? call.mean.as<C>()[first + row] : C{0}, rstd = call.rstd.as<C>()[first + row];
      gradients[row] =
          call.dx ? block.row_gradient(x_row, dy_row, mean, rstd) : RowGradient<C>{mean, rstd, 0, 0};
    }
    T* const dx = call.dx ? call.dx.view.as<T>() + first * columns : nullptr;
    block.run(rows, x, dy, gradients, dx, call.dx.write, dweight, dbias);
  }
}

template <bool kCentred>
void norm_backward(const NormBackward& call, const Workspace& workspace) {
  const RowChunks plan(call.x);
  if (plan.columns == 0) return;
  dispatch_floating(call.x.dtype, [&]<class T>() {
    using C = Compute<T>;
    Carver carver(workspace);
    C* const sums = static_cast<C*>(carver.take(plan.numel() * sizeof(C)));
    const std::int64_t grain = grain_of_rows(kGrainElements, plan.chunk_rows * plan.columns);
    parallel_for(plan.chunks, grain, [&](std::int64_t begin, std::int64_t end) {
      BackwardBlock<kCentred, T> block(call.weight, call.x);
      for (std::int64_t chunk = begin; chunk < end; ++chunk) {
        C* const dweight = sums + 2 * chunk * plan.columns;
        std::fill_n(dweight, 2 * plan.columns, C{0});
        const std::int64_t first = chunk * plan.chunk_rows;
        backward_rows(call, block, first, std::min(plan.rows, first + plan.chunk_rows), dweight,
                      dweight + plan.columns);
      }
    });
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

}  // namespace reprise::kernels::cpu
