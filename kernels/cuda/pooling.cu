// Pooling over channels-last images: a thread owns a pack of channels of one pixel, so that neighbours read
// neighbours. Gradients gather what each pixel of x receives from the windows that hold it: nothing is
// scattered, and the order of the sums is fixed.
#include "cuda/packs.cuh"
#include "cuda/reduce.cuh"
#include "reprise/kernels/conv.h"

namespace reprise::kernels::cuda {

namespace {

constexpr int kThreads = 256;

struct Range {
  int begin, end;
};

/// One spatial axis: sizes of x and y along it, and the window.
struct Axis {
  int in, out, kernel, stride, padding;

  /// The positions of x in the window of y's position; the padding is not among them.
  __device__ Range window(int at) const {
    const int begin = at * stride - padding, end = begin + kernel;
    return {begin < 0 ? 0 : begin, end < in ? end : in};
  }
  /// The positions of y whose windows hold x's position.
  __device__ Range covering(int at) const {
    const int last = at + padding, first = last - kernel + 1, end = last / stride + 1;
    return {first <= 0 ? 0 : (first + stride - 1) / stride, end < out ? end : out};
  }
};

struct Images {
  std::int64_t images, channels;
  Axis height, width;
  bool count_padding;

  Images(const Pool2dParams& p, const Layout& x, const Layout& y)
      : images(y.sizes[0]),
        channels(y.sizes[1]),
        height(axis(p, x, y, 0)),
        width(axis(p, x, y, 1)),
        count_padding(p.count_padding) {}

  /// Where the channels of a pixel of x or y begin.
  __device__ std::int64_t x_at(std::int64_t image, int h, int w) const {
    return ((image * height.in + h) * width.in + w) * channels;
  }
  __device__ std::int64_t y_at(std::int64_t image, int h, int w) const {
    return ((image * height.out + h) * width.out + w) * channels;
  }
  /// What the sum over the window of y's pixel is divided by.
  __device__ float divisor(int h, int w) const {
    if (count_padding) return static_cast<float>(height.kernel * width.kernel);
    const Range rows = height.window(h), columns = width.window(w);
    const int count = (rows.end - rows.begin) * (columns.end - columns.begin);
    return static_cast<float>(count > 1 ? count : 1);
  }

 private:
  static Axis axis(const Pool2dParams& p, const Layout& x, const Layout& y, std::size_t i) {
    return {static_cast<int>(x.sizes[i + 2]), static_cast<int>(y.sizes[i + 2]), static_cast<int>(p.kernel[i]),
            static_cast<int>(p.stride[i]), static_cast<int>(p.padding[i])};
  }
};

/// Calls f(image, h, w, channel) for this thread's pixel of every image that its block takes.
template <int kVec, class F>
__device__ __forceinline__ void for_each_pixel(const Images& g, int height, int width, F&& f) {
  const int pixel = static_cast<int>(blockIdx.x * blockDim.y + threadIdx.y);
  const std::int64_t channel = (std::int64_t{blockIdx.z} * blockDim.x + threadIdx.x) * kVec;
  if (pixel >= height * width || channel >= g.channels) return;
  for (std::int64_t image = blockIdx.y; image < g.images; image += gridDim.y)
    f(image, pixel / width, pixel % width, channel);
}

template <class T, int kVec>
__global__ void __launch_bounds__(kThreads, 1)
    max_pool_kernel(Images g, const T* __restrict__ x, T* __restrict__ y, std::int32_t* __restrict__ index) {
  for_each_pixel<kVec>(g, g.height.out, g.width.out,
                       [&](std::int64_t image, int h, int w, std::int64_t channel) {
                         const Range rows = g.height.window(h), columns = g.width.window(w);
                         float best[kVec];
                         std::int32_t which[kVec];
#pragma unroll
                         for (int i = 0; i < kVec; ++i) {
                           best[i] = -INFINITY;
                           // A window whose elements are all -inf has its maximum at the first of them.
                           which[i] = rows.begin * g.width.in + columns.begin;
                         }
                         for (int row = rows.begin; row < rows.end; ++row) {
#pragma unroll 4
                           for (int column = columns.begin; column < columns.end; ++column) {
                             float values[kVec];
                             convert(read_pack<kVec>(x + g.x_at(image, row, column) + channel), values);
#pragma unroll
                             for (int i = 0; i < kVec; ++i) {
                               // Greater, or the first NaN.
                               const bool take = !(values[i] <= best[i]) && best[i] == best[i];
                               best[i] = take ? values[i] : best[i];
                               which[i] = take ? row * g.width.in + column : which[i];
                             }
                           }
                         }
                         const std::int64_t to = g.y_at(image, h, w) + channel;
                         write_pack(y + to, round_pack<T>(best));
                         write_pack(index + to, join_elements(which));
                       });
}

template <class T, int kVec>
__global__ void __launch_bounds__(kThreads, 1)
    average_pool_kernel(Images g, const T* __restrict__ x, T* __restrict__ y) {
  for_each_pixel<kVec>(g, g.height.out, g.width.out,
                       [&](std::int64_t image, int h, int w, std::int64_t channel) {
                         const Range rows = g.height.window(h), columns = g.width.window(w);
                         float sums[kVec] = {};
                         for (int row = rows.begin; row < rows.end; ++row) {
#pragma unroll 8
                           for (int column = columns.begin; column < columns.end; ++column) {
                             float values[kVec];
                             convert(read_pack<kVec>(x + g.x_at(image, row, column) + channel), values);
#pragma unroll
                             for (int i = 0; i < kVec; ++i) sums[i] += values[i];
                           }
                         }
                         const float divisor = g.divisor(h, w);
#pragma unroll
                         for (int i = 0; i < kVec; ++i) sums[i] /= divisor;
                         write_pack(y + g.y_at(image, h, w) + channel, round_pack<T>(sums));
                       });
}

/// What a pixel of x receives through max pooling from one window.
template <class T, int kVec>
struct MaxGradient {
  const T* dy;
  const std::int32_t* index;

  __device__ __forceinline__ void add(const Images& g, std::int64_t at, int h, int w, int, int,
                                      float (&sums)[kVec]) const {
    float gradient[kVec];
    convert(read_pack<kVec>(dy + at), gradient);
    const Pack<std::int32_t, kVec> which = read_pack<kVec>(index + at);
#pragma unroll
    for (int i = 0; i < kVec; ++i) sums[i] += which.element[i] == h * g.width.in + w ? gradient[i] : 0.0f;
  }
};

/// What a pixel of x receives through average pooling from one window.
template <class T, int kVec>
struct AverageGradient {
  const T* dy;

  __device__ __forceinline__ void add(const Images& g, std::int64_t at, int, int, int row, int column,
                                      float (&sums)[kVec]) const {
    float gradient[kVec];
    convert(read_pack<kVec>(dy + at), gradient);
    const float share = 1.0f / g.divisor(row, column);
#pragma unroll
    for (int i = 0; i < kVec; ++i) sums[i] += share * gradient[i];
  }
};

template <class T, int kVec, class Gradient>
__global__ void __launch_bounds__(kThreads, 1)
    pool_backward_kernel(Images g, Gradient gradient, T* __restrict__ dx, bool accumulate) {
  for_each_pixel<kVec>(g, g.height.in, g.width.in,
                       [&](std::int64_t image, int h, int w, std::int64_t channel) {
                         const Range rows = g.height.covering(h), columns = g.width.covering(w);
                         float sums[kVec] = {};
                         for (int row = rows.begin; row < rows.end; ++row) {
#pragma unroll 2
                           for (int column = columns.begin; column < columns.end; ++column)
                             gradient.add(g, g.y_at(image, row, column) + channel, h, w, row, column, sums);
                         }
                         write_values(dx + g.x_at(image, h, w) + channel, sums, accumulate);
                       });
}

/// Launches a kernel over the pixels of images that are `height` by `width`.
template <class... Parameters, class... Arguments>
void launch_pixels(const char* operation, const Queue& queue, void (*kernel)(Parameters...), const Images& g,
                   int height, int width, int vec, const Arguments&... arguments) {
  constexpr std::int64_t kMaxImages = 65535;  // of a grid's second axis
  const std::int64_t packs = ceil_div(g.channels, vec), pixels = std::int64_t{height} * width;
  if (packs == 0 || pixels == 0) return;
  const std::int64_t across = std::min<std::int64_t>(packs, kThreads);
  const std::int64_t down = std::min<std::int64_t>(kThreads / across, pixels);
  const dim3 grid(static_cast<unsigned>(ceil_div(pixels, down)),
                  static_cast<unsigned>(std::min(g.images, kMaxImages)),
                  static_cast<unsigned>(ceil_div(packs, across)));
  const dim3 block(static_cast<unsigned>(across), static_cast<unsigned>(down));
  launch(operation, queue, kernel, grid, block, 0, g, arguments...);
}

template <class T, class... Data>
bool packable(const Images& g, const Data*... data) {
  return g.channels % kPack<T> == 0 && (aligned16(data) && ...);
}

}  // namespace

void max_pool2d_forward(const Queue& queue, const Pool2dParams& params, const ConstView& x, const View& y,
                        const View& index) {
  const Images g(params, x, y);
  dispatch_trained("max_pool2d", x.dtype, [&]<class T>() {
    dispatch_pack<T>(packable<T>(g, x.data, y.data, index.data), [&]<int kVec>() {
      launch_pixels("max_pool2d", queue, max_pool_kernel<T, kVec>, g, g.height.out, g.width.out, kVec,
                    x.as<T>(), y.as<T>(), index.as<std::int32_t>());
    });
  });
}

void avg_pool2d_forward(const Queue& queue, const Pool2dParams& params, const ConstView& x, const View& y) {
  const Images g(params, x, y);
  dispatch_trained("avg_pool2d", x.dtype, [&]<class T>() {
    dispatch_pack<T>(packable<T>(g, x.data, y.data), [&]<int kVec>() {
      launch_pixels("avg_pool2d", queue, average_pool_kernel<T, kVec>, g, g.height.out, g.width.out, kVec,
                    x.as<T>(), y.as<T>());
    });
  });
}

void max_pool2d_backward(const Queue& queue, const Pool2dParams& params, const ConstView& index,
                         const ConstView& dy, const Target& dx) {
  const Images g(params, dx.view, dy);
  dispatch_trained("max_pool2d_backward", dy.dtype, [&]<class T>() {
    dispatch_pack<T>(packable<T>(g, index.data, dy.data, dx.view.data), [&]<int kVec>() {
      using Gradient = MaxGradient<T, kVec>;
      launch_pixels("max_pool2d_backward", queue, pool_backward_kernel<T, kVec, Gradient>, g, g.height.in,
                    g.width.in, kVec, Gradient{dy.as<T>(), index.as<std::int32_t>()}, dx.view.as<T>(),
                    dx.write == Write::accumulate);
    });
  });
}

void avg_pool2d_backward(const Queue& queue, const Pool2dParams& params, const ConstView& dy,
                         const Target& dx) {
  const Images g(params, dx.view, dy);
  dispatch_trained("avg_pool2d_backward", dy.dtype, [&]<class T>() {
    dispatch_pack<T>(packable<T>(g, dy.data, dx.view.data), [&]<int kVec>() {
      using Gradient = AverageGradient<T, kVec>;
      launch_pixels("avg_pool2d_backward", queue, pool_backward_kernel<T, kVec, Gradient>, g, g.height.in,
                    g.width.in, kVec, Gradient{dy.as<T>()}, dx.view.as<T>(), dx.write == Write::accumulate);
    });
  });
}

}  // namespace reprise::kernels::cuda
