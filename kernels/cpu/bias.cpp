// The gradient of a bias: column sums.
#include <algorithm>
#include <array>

#include "parallel.h"
#include "reprise/kernels/matmul.h"
#include "rows.h"

namespace reprise::kernels::cpu {

namespace {

/// Columns that one task sums at a time, in the first cache: many, as each row of them is one run of memory.
constexpr std::int64_t kMinColumns = 256, kMaxColumns = kPiece;
/// Rows that are summed before they are added to the rest, for accuracy.
constexpr std::int64_t kRows = 64;
/// Room for the partial sums of all bands of rows.
constexpr std::int64_t kPartials = 8192;

/// The cut into bands of rows, which the shape alone decides, so that the sums do not depend on the threads:
/// where there are few columns, bands give the threads something to share.
struct Bands {
  std::int64_t count = 1, rows = 0;
};

Bands cut(std::int64_t m, std::int64_t n) {
  const std::int64_t wanted = std::min(kPartials / n, (m + kRows - 1) / kRows);
  const std::int64_t rows = (m + std::max<std::int64_t>(wanted, 1) - 1) / std::max<std::int64_t>(wanted, 1);
  return {(m + rows - 1) / rows, rows};
}

/// sums[j] = sum of column j over the rows [begin, end) of a matrix with `n` (at most kMaxColumns) columns.
template <class T>
void sum_rows(const T* dy, std::int64_t row, std::int64_t column, std::int64_t begin, std::int64_t end,
              std::int64_t n, Compute<T>* sums) {
  using C = Compute<T>;
  alignas(64) std::array<C, kMaxColumns> part, values;
  std::fill_n(sums, n, C(0));
  for (std::int64_t first = begin; first < end; first += kRows) {
    std::fill_n(part.data(), n, C(0));
    for (std::int64_t i = first; i < std::min(first + kRows, end); ++i) {
      const T* from = dy + i * row;
      const C* add = values.data();
      if (column == 1) {
        add = read_piece(from, n, values.data());
      } else {
        for (std::int64_t j = 0; j < n; ++j)
          values[static_cast<std::size_t>(j)] = static_cast<C>(from[j * column]);
      }
      C* to = part.data();
#pragma omp simd
      for (std::int64_t j = 0; j < n; ++j) to[j] += add[j];
    }
    const C* add = part.data();
#pragma omp simd
    for (std::int64_t j = 0; j < n; ++j) sums[j] += add[j];
  }
}

template <class C, class T>
void write_sum(C sum, T& to, Write write) {
  to = static_cast<T>(write == Write::accumulate ? static_cast<C>(to) + sum : sum);
}

template <class T>
void column_sums(const ConstView& dy, const Target& dbias) {
  using C = Compute<T>;
  const std::int64_t m = dy.sizes[0], n = dy.sizes[1], row = dy.strides[0], column = dy.strides[1];
  const std::int64_t step = dbias.view.strides[0];
  const T* from = dy.as<T>();
  T* to = dbias.view.as<T>();
  const Bands bands = cut(m, n);
  // A column's sum does not depend on the block that it is in.
  const std::int64_t columns = std::clamp(n / (4 * num_threads()), kMinColumns, kMaxColumns);
  const std::int64_t blocks = (n + columns - 1) / columns;
  const std::int64_t grain = grain_of_rows(2 * kGrainElements, std::min(n, columns) * bands.rows);

  if (bands.count == 1) {
    parallel_for(blocks, grain, [&](std::int64_t begin, std::int64_t end) {
      alignas(64) std::array<C, kMaxColumns> sums;
      for (std::int64_t j = begin * columns; j < std::min(end * columns, n); j += columns) {
        const std::int64_t width = std::min(columns, n - j);
        sum_rows(from + j * column, row, column, 0, m, width, sums.data());
        for (std::int64_t i = 0; i < width; ++i)
          write_sum(sums[static_cast<std::size_t>(i)], to[(j + i) * step], dbias.write);
      }
    });
    return;
  }

  alignas(64) std::array<C, kPartials> partials;
  parallel_for(bands.count * blocks, grain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t task = begin; task < end; ++task) {
      const std::int64_t band = task / blocks, j = task % blocks * columns;
      sum_rows(from + j * column, row, column, band * bands.rows, std::min((band + 1) * bands.rows, m),
               std::min(columns, n - j), partials.data() + band * n + j);
    }
  });
  for (std::int64_t j = 0; j < n; ++j) {
    C sum = 0;
    for (std::int64_t band = 0; band < bands.count; ++band)
      sum += partials[static_cast<std::size_t>(band * n + j)];
    write_sum(sum, to[j * step], dbias.write);
  }
}

}  // namespace

std::size_t bias_backward_workspace_bytes(DeviceKind, const ConstView&) { return 0; }

void bias_backward(const Queue&, const ConstView& dy, const Target& dbias, const Workspace&) {
  if (dbias.view.numel() == 0) return;
  dispatch_floating(dy.dtype, [&]<class T>() {
    if (dy.sizes[0] != 0) {
      column_sums<T>(dy, dbias);
    } else if (dbias.write == Write::overwrite) {
      for (std::int64_t j = 0; j < dy.sizes[1]; ++j) dbias.view.as<T>()[j * dbias.view.strides[0]] = T(0);
    }
  });
}

}  // namespace reprise::kernels::cpu
