// Pooling over channels-last tensors: every loop over the channels of one pixel is vectorised. The gradients
// gather what each pixel of x receives, so that no two threads write the same element and the order of the
// sums is fixed.
#include <algorithm>
#include <limits>

#include "parallel.h"
#include "reprise/kernels/conv.h"
#include "rows.h"

namespace reprise::kernels::cpu {

namespace {

struct Range {
  std::int64_t begin, end;
};

/// One spatial axis: sizes of x and y along it, and the window.
struct Axis {
  std::int64_t in, out, kernel, stride, padding;

  /// The positions of x in the window of y's position; the padding is not among them.
  Range window(std::int64_t at) const {
    const std::int64_t begin = at * stride - padding;
    return {std::max<std::int64_t>(begin, 0), std::min(begin + kernel, in)};
  }
  /// The positions of y whose windows hold x's position.
  Range covering(std::int64_t at) const {
    const std::int64_t last = at + padding, first = last - kernel + 1;
    return {first <= 0 ? 0 : (first + stride - 1) / stride, std::min(last / stride + 1, out)};
  }
};

struct Grid {
  std::int64_t images, channels;
  Axis height, width;

  Grid(const Pool2dParams& p, const Layout& x, const Layout& y)
      : images(y.sizes[0]),
        channels(y.sizes[1]),
        height{x.sizes[2], y.sizes[2], p.kernel[0], p.stride[0], p.padding[0]},
        width{x.sizes[3], y.sizes[3], p.kernel[1], p.stride[1], p.padding[1]} {}

  std::int64_t x_at(std::int64_t image, std::int64_t h, std::int64_t w) const {
    return ((image * height.in + h) * width.in + w) * channels;
  }
  std::int64_t y_at(std::int64_t image, std::int64_t h, std::int64_t w) const {
    return ((image * height.out + h) * width.out + w) * channels;
  }
};

/// Calls f(image, h, w, first, count) for every pixel of y and every piece of its channels.
template <class F>
void for_each_output(const Grid& g, F&& f) {
  const std::int64_t pixels = g.images * g.height.out * g.width.out;
  const std::int64_t work = g.channels * g.height.kernel * g.width.kernel;
  parallel_for(pixels, grain_of_rows(kGrainElements, work), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t pixel = begin; pixel < end; ++pixel) {
      const std::int64_t w = pixel % g.width.out, h = pixel / g.width.out % g.height.out;
      const std::int64_t image = pixel / (g.width.out * g.height.out);
      for_each_piece(g.channels, [&](std::int64_t first, std::int64_t n) { f(image, h, w, first, n); });
    }
  });
}

/// dx (=, +=) for every pixel of x the sum of what add(image, h, w, y's h, y's w, first, count, sums) adds
/// for each window that holds it.
template <class T, class F>
void gather(const Grid& g, const Target& dx, F&& add) {
  const std::int64_t pixels = g.images * g.height.in * g.width.in;
  const std::int64_t windows =
      (g.height.kernel / g.height.stride + 1) * (g.width.kernel / g.width.stride + 1);
  const std::int64_t grain = grain_of_rows(kGrainElements, g.channels * windows);
  parallel_for(pixels, grain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t pixel = begin; pixel < end; ++pixel) {
      const std::int64_t w = pixel % g.width.in, h = pixel / g.width.in % g.height.in;
      const std::int64_t image = pixel / (g.width.in * g.height.in);
      const Range rows = g.height.covering(h), columns = g.width.covering(w);
      for_each_piece(g.channels, [&](std::int64_t first, std::int64_t n) {
        T* to = dx.view.as<T>() + g.x_at(image, h, w) + first;
        write_piece(to, n, dx.write, [&](Compute<T>* sums) {
          std::fill_n(sums, n, Compute<T>(0));
          for (std::int64_t row = rows.begin; row < rows.end; ++row) {
            for (std::int64_t column = columns.begin; column < columns.end; ++column) {
              add(image, h, w, row, column, first, n, sums);
            }
          }
        });
      });
    }
  });
}

template <class T>
void max_forward(const Grid& g, const T* x, T* y, std::int32_t* index) {
  using C = Compute<T>;
  for_each_output(
      g, [&](std::int64_t image, std::int64_t h, std::int64_t w, std::int64_t first, std::int64_t n) {
        const Range rows = g.height.window(h), columns = g.width.window(w);
        const std::int64_t at = g.y_at(image, h, w) + first;
        std::int32_t* which = index + at;
        write_piece(y + at, n, Write::overwrite, [&](C* best) {
          alignas(64) C buffer[kPiece];
          std::fill_n(best, n, -std::numeric_limits<C>::infinity());
          // A window whose elements are all -inf has its maximum at the first of them.
          std::fill_n(which, n, static_cast<std::int32_t>(rows.begin * g.width.in + columns.begin));
          for (std::int64_t row = rows.begin; row < rows.end; ++row) {
            for (std::int64_t column = columns.begin; column < columns.end; ++column) {
              const C* values = read_piece(x + g.x_at(image, row, column) + first, n, buffer);
              const auto position = static_cast<std::int32_t>(row * g.width.in + column);
#pragma omp simd
              for (std::int64_t i = 0; i < n; ++i) {
                // Greater, or the first NaN.
                const bool take = !(values[i] <= best[i]) & (best[i] == best[i]);
                best[i] = take ? values[i] : best[i];
                which[i] = take ? position : which[i];
              }
            }
          }
        });
      });
}

template <class T>
void max_backward(const Grid& g, const std::int32_t* index, const T* dy, const Target& dx) {
  using C = Compute<T>;
  gather<T>(g, dx,
            [&](std::int64_t image, std::int64_t h, std::int64_t w, std::int64_t row, std::int64_t column,
                std::int64_t first, std::int64_t n, C* sums) {
              alignas(64) C buffer[kPiece];
              const std::int64_t at = g.y_at(image, row, column) + first;
              const C* gradient = read_piece(dy + at, n, buffer);
              const std::int32_t* which = index + at;
              const auto position = static_cast<std::int32_t>(h * g.width.in + w);
#pragma omp simd
              for (std::int64_t i = 0; i < n; ++i) sums[i] += which[i] == position ? gradient[i] : C(0);
            });
}

/// What the sum over the window of y's pixel (h, w) is divided by.
std::int64_t divisor(const Grid& g, const Pool2dParams& p, std::int64_t h, std::int64_t w) {
  if (p.count_padding) return p.kernel[0] * p.kernel[1];
  const Range rows = g.height.window(h), columns = g.width.window(w);
  return std::max<std::int64_t>(1, (rows.end - rows.begin) * (columns.end - columns.begin));
}

template <class T>
void average_forward(const Grid& g, const Pool2dParams& p, const T* x, T* y) {
  using C = Compute<T>;
  for_each_output(
      g, [&](std::int64_t image, std::int64_t h, std::int64_t w, std::int64_t first, std::int64_t n) {
        const Range rows = g.height.window(h), columns = g.width.window(w);
        const auto count = static_cast<C>(divisor(g, p, h, w));
        write_piece(y + g.y_at(image, h, w) + first, n, Write::overwrite, [&](C* sums) {
          alignas(64) C buffer[kPiece];
          std::fill_n(sums, n, C(0));
          for (std::int64_t row = rows.begin; row < rows.end; ++row) {
            for (std::int64_t column = columns.begin; column < columns.end; ++column) {
              const C* values = read_piece(x + g.x_at(image, row, column) + first, n, buffer);
#pragma omp simd
              for (std::int64_t i = 0; i < n; ++i) sums[i] += values[i];
            }
          }
#pragma omp simd
          for (std::int64_t i = 0; i < n; ++i) sums[i] /= count;
        });
      });
}

template <class T>
void average_backward(const Grid& g, const Pool2dParams& p, const T* dy, const Target& dx) {
  using C = Compute<T>;
  gather<T>(g, dx,
            [&](std::int64_t image, std::int64_t, std::int64_t, std::int64_t row, std::int64_t column,
                std::int64_t first, std::int64_t n, C* sums) {
              alignas(64) C buffer[kPiece];
              const C* gradient = read_piece(dy + g.y_at(image, row, column) + first, n, buffer);
              const C share = C(1) / static_cast<C>(divisor(g, p, row, column));
#pragma omp simd
              for (std::int64_t i = 0; i < n; ++i) sums[i] += share * gradient[i];
            });
}

}  // namespace

void max_pool2d_forward(const Queue&, const Pool2dParams& params, const ConstView& x, const View& y,
                        const View& index) {
  const Grid grid(params, x, y);
  dispatch_floating(x.dtype,
                    [&]<class T>() { max_forward(grid, x.as<T>(), y.as<T>(), index.as<std::int32_t>()); });
}

void max_pool2d_backward(const Queue&, const Pool2dParams& params, const ConstView& index,
                         const ConstView& dy, const Target& dx) {
  const Grid grid(params, dx.view, dy);
  dispatch_floating(dy.dtype,
                    [&]<class T>() { max_backward(grid, index.as<std::int32_t>(), dy.as<T>(), dx); });
}

void avg_pool2d_forward(const Queue&, const Pool2dParams& params, const ConstView& x, const View& y) {
  const Grid grid(params, x, y);
  dispatch_floating(x.dtype, [&]<class T>() { average_forward(grid, params, x.as<T>(), y.as<T>()); });
}

void avg_pool2d_backward(const Queue&, const Pool2dParams& params, const ConstView& dy, const Target& dx) {
  const Grid grid(params, dx.view, dy);
  dispatch_floating(dy.dtype, [&]<class T>() { average_backward(grid, params, dy.as<T>(), dx); });
}

}  // namespace reprise::kernels::cpu
