// Comparisons, selection, copies, casts and fills.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "axes.h"
#include "parallel.h"
#include "reprise/kernels/elementwise.h"
#include "reprise/kernels/elementwise_functors.h"
#include "tiles.h"

namespace reprise::kernels::cpu {

namespace {

/// make.template operator()<C>() for the type C in which `dtype` is computed.
template <class Make>
RowFunction for_compute_type(DType dtype, Make&& make) {
  RowFunction row = nullptr;
  // 16-bit floats share float32's functions.
  dispatch_all(dtype, [&]<class T>() {
    if constexpr (std::is_same_v<T, Compute<T>>)
      row = make.template operator()<T>();
    else
      row = for_compute_type(dtype_of<Compute<T>>(), make);
  });
  return row;
}

template <class Function, class T>
void compare_row(const void* const* in, void* out, std::int64_t n, double) {
  const T* a = static_cast<const T*>(in[0]);
  const T* b = static_cast<const T*>(in[1]);
  bool* y = static_cast<bool*>(out);
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i) y[i] = Function::value(a[i], b[i]);
}

template <class T>
void where_row(const void* const* in, void* out, std::int64_t n, double) {
  // GCC 12 vectorises this with conditions as bytes, and with loads that do not depend on them.
  const auto* condition = static_cast<const unsigned char*>(in[0]);
  const T* a = static_cast<const T*>(in[1]);
  const T* b = static_cast<const T*>(in[2]);
  T* y = static_cast<T*>(out);
  if (a && b) {
#pragma omp simd
    for (std::int64_t i = 0; i < n; ++i) {
      const T if_true = a[i], if_false = b[i];
      y[i] = condition[i] != 0 ? if_true : if_false;
    }
  } else if (a) {
#pragma omp simd
    for (std::int64_t i = 0; i < n; ++i) {
      const T if_true = a[i];
      y[i] = condition[i] != 0 ? if_true : T(0);
    }
  } else if (b) {
#pragma omp simd
    for (std::int64_t i = 0; i < n; ++i) {
      const T if_false = b[i];
      y[i] = condition[i] != 0 ? T(0) : if_false;
    }
  } else {
    std::fill_n(y, n, T(0));
  }
}

template <class From, class To>
void cast_row(const void* const* in, void* out, std::int64_t n, double) {
  const From* x = static_cast<const From*>(in[0]);
  To* y = static_cast<To*>(out);
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i) y[i] = static_cast<To>(x[i]);
}

template <class T>
void fill_row(const void* const*, void* out, std::int64_t n, double value) {
  std::fill_n(static_cast<T*>(out), n, static_cast<T>(value));
}

/// Null where both are computed in one type, so that no row function is needed.
RowFunction cast_between(DType from, DType to) {
  return for_compute_type(from, [&]<class From>() {
    return for_compute_type(to, []<class To>() -> RowFunction {
      if constexpr (std::is_same_v<From, To>)
        return nullptr;
      else
        return cast_row<From, To>;
    });
  });
}

// Copies without conversion move elements of `Word`'s size.

constexpr std::int64_t kCopyTile = 4096;
constexpr std::int64_t kBlock = 32;

template <class Word>
void copy_tiles(const Axes<2>& axes, const Word* x, Word* y) {
  const auto inner = static_cast<std::size_t>(axes.rank) - 1;
  const std::int64_t x_col = axes.strides[1][inner], y_col = axes.strides[0][inner];
  const std::int64_t x_row = inner > 0 ? axes.strides[1][inner - 1] : 0;
  const std::int64_t y_row = inner > 0 ? axes.strides[0][inner - 1] : 0;
  parallel_for(axes.numel(), kCheapGrain, [&](std::int64_t begin, std::int64_t end) {
    for_each_tile(axes, begin, end, kCopyTile, [&](const Tile<2>& tile) {
      const Word* from = x + tile.offsets[1];
      Word* to = y + tile.offsets[0];
      for (std::int64_t r = 0; r < tile.rows; ++r, from += x_row, to += y_row) {
        if (x_col == 1 && y_col == 1) {
          std::memcpy(to, from, static_cast<std::size_t>(tile.cols) * sizeof(Word));
        } else {
          for (std::int64_t c = 0; c < tile.cols; ++c) to[c * y_col] = from[c * x_col];
        }
      }
    });
  });
}

/// x is contiguous along `across` (not y's innermost axis): blocks keep the lines of both in the cache.
template <class Word>
void copy_transposed(Axes<2> axes, std::size_t across, const Word* x, Word* y) {
  // The two axes of a block become the last ones; what is before them is the outer loop.
  const auto inner = static_cast<std::size_t>(axes.rank) - 1;
  for (std::size_t axis = across; axis + 1 < inner; ++axis) {
    std::swap(axes.sizes[axis], axes.sizes[axis + 1]);
    for (auto& strides : axes.strides) std::swap(strides[axis], strides[axis + 1]);
  }
  const std::int64_t rows = axes.sizes[inner - 1], cols = axes.sizes[inner];
  const std::int64_t x_row = axes.strides[1][inner - 1], x_col = axes.strides[1][inner];
  const std::int64_t y_row = axes.strides[0][inner - 1], y_col = axes.strides[0][inner];
  const std::int64_t bands = (rows + kBlock - 1) / kBlock;
  Axes<2> outer = axes;
  outer.sizes[inner - 1] = bands;
  for (auto& strides : outer.strides) strides[inner - 1] *= kBlock;
  outer.rank = static_cast<int>(inner);
  const std::int64_t grain = std::max<std::int64_t>(1, kCheapGrain / (kBlock * cols));
  parallel_for(outer.numel(), grain, [&](std::int64_t begin, std::int64_t end) {
    std::int64_t band = begin;
    for_each_tile(outer, begin, end, 1, [&](const Tile<2>& tile) {
      const std::int64_t height = std::min(kBlock, rows - band++ % bands * kBlock);
      for (std::int64_t c0 = 0; c0 < cols; c0 += kBlock) {
        const std::int64_t width = std::min(kBlock, cols - c0);
        const Word* from = x + tile.offsets[1] + c0 * x_col;
        Word* to = y + tile.offsets[0] + c0 * y_col;
        for (std::int64_t r = 0; r < height; ++r) {
          for (std::int64_t c = 0; c < width; ++c) to[r * y_row + c * y_col] = from[r * x_row + c * x_col];
        }
      }
    });
  });
}

template <class Word>
void copy_words(const Layout& from, const Layout& to, const void* x, void* y) {
  const Word* source = static_cast<const Word*>(x);
  Word* target = static_cast<Word*>(y);
  const Axes<2> axes = collapse<2>({&to, &from});
  const auto inner = static_cast<std::size_t>(axes.rank) - 1;
  if (axes.strides[1][inner] != 1 && axes.strides[1][inner] != 0) {
    for (std::size_t axis = 0; axis < inner; ++axis) {
      if (axes.strides[1][axis] == 1) return copy_transposed(axes, axis, source, target);
    }
  }
  copy_tiles(axes, source, target);
}

void copy_same_type(const ConstView& x, const View& y) {
  const std::int64_t numel = y.numel();
  if (numel == 0) return;
  const std::size_t bytes = size_of(y.dtype);
  if (x.same_layout(y) && (y.is_contiguous() || y.is_channels_last())) {
    const auto* from = static_cast<const std::byte*>(x.data);
    auto* to = static_cast<std::byte*>(y.data);
    parallel_for(numel, kCheapGrain, [&](std::int64_t begin, std::int64_t end) {
      const std::size_t start = static_cast<std::size_t>(begin) * bytes;
      std::memcpy(to + start, from + start, static_cast<std::size_t>(end) * bytes - start);
    });
    return;
  }
  switch (bytes) {
    case 1:
      return copy_words<std::uint8_t>(x, y, x.data, y.data);
    case 2:
      return copy_words<std::uint16_t>(x, y, x.data, y.data);
    case 4:
      return copy_words<std::uint32_t>(x, y, x.data, y.data);
    default:
      return copy_words<std::uint64_t>(x, y, x.data, y.data);
  }
}

}  // namespace

void compare(const Queue&, Compare function, const ConstView& a, const ConstView& b, const View& y) {
  const std::array in{&a, &b};
  const RowFunction row = for_compute_type(a.dtype, [&]<class T>() {
    return functors::dispatch<T>(function,
                                 []<class Function>() -> RowFunction { return compare_row<Function, T>; });
  });
  const TileOutput out{{y, Write::overwrite}, row};
  compute_tiles(in, {&out, 1}, 0, kCheapGrain);
}

void where(const Queue&, const ConstView& condition, const ConstView& a, const ConstView& b,
           const Target& y) {
  if (!y) return;
  const std::array in{&condition, &a, &b};
  const RowFunction row =
      for_compute_type(y.view.dtype, []<class T>() -> RowFunction { return where_row<T>; });
  const TileOutput out{y, row};
  compute_tiles(in, {&out, 1}, 0, kCheapGrain);
}

void copy(const Queue&, const ConstView& x, const Target& y) {
  if (!y) return;
  if (x.dtype == y.view.dtype && y.write == Write::overwrite) return copy_same_type(x, y.view);
  const TileOutput out{y, cast_between(x.dtype, y.view.dtype)};
  compute_tiles(std::array{&x}, {&out, 1}, 0, kCheapGrain);
}

void fill(const Queue&, double value, const View& y) {
  if (value == 0 && !std::signbit(value) && (y.is_contiguous() || y.is_channels_last())) {
    auto* bytes = static_cast<std::byte*>(y.data);
    const auto size = static_cast<std::int64_t>(size_of(y.dtype));
    parallel_for(y.numel() * size, kCheapGrain * size, [&](std::int64_t begin, std::int64_t end) {
      std::memset(bytes + begin, 0, static_cast<std::size_t>(end - begin));
    });
    return;
  }
  const TileOutput out{{y, Write::overwrite},
                       for_compute_type(y.dtype, []<class T>() -> RowFunction { return fill_row<T>; })};
  compute_tiles({}, {&out, 1}, value, kCheapGrain);
}

}  // namespace reprise::kernels::cpu
