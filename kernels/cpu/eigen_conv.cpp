// Convolutions without oneDNN: tiles of pixels are unfolded into rows of a matrix that fits the second cache,
// and multiplied by Eigen. The threads share the tiles.
//
// A pixel's row holds its window in the order (kh, kw, channel). Forward: y (pixels, o) = unfolded x times
// weights. The gradient of x is the same with dy unfolded backwards. The gradient of the weights is dy^T
// times unfolded x, where each task adds up its own tiles and the tasks' sums are added in their order.
#include <algorithm>
#include <initializer_list>

#include "convolution.h"
#include "parallel.h"
#include "product.h"
#include "reprise/kernels/elementwise.h"
#include "workspace.h"

namespace reprise::kernels::cpu::eigen {

namespace {

constexpr std::int64_t kTileBytes = 256 * 1024;
constexpr std::int64_t kMaxTilePixels = 512;

/// One spatial axis of the tensor that is unfolded.
struct Unfold {
  std::int64_t size, stride, padding, dilation;
  bool backward;

  /// The position that tap k of the window at `position` reads, or -1.
  std::int64_t source(std::int64_t position, std::int64_t k) const {
    std::int64_t at = 0;
    if (backward) {
      at = position + padding - k * dilation;
      if (at % stride != 0) return -1;
      at /= stride;
    } else {
      at = position * stride - padding + k * dilation;
    }
    return at >= 0 && at < size ? at : -1;
  }
};

/// The tensor that is unfolded, (n, height, width, channels), and the grid of pixels whose windows are rows.
struct Geometry {
  Unfold height, width;
  std::int64_t rows, columns;  // of the grid of pixels
  std::int64_t kh, kw;
  std::int64_t channels, group_channels;
  std::int64_t pixels;  // of all images

  std::int64_t depth() const { return kh * kw * group_channels; }
  std::int64_t tile_pixels(std::size_t element_bytes) const {
    const std::int64_t fitting = kTileBytes / (depth() * static_cast<std::int64_t>(element_bytes));
    return std::clamp<std::int64_t>(fitting / 16 * 16, 16, kMaxTilePixels);
  }
};

Geometry geometry_of(const Convolution& c) {
  const Conv2dParams& p = c.params;
  const bool backward = c.pass == ConvPass::backward_data;
  Geometry g{};
  g.height = {backward ? c.oh : c.ih, p.stride[0], p.padding[0], p.dilation[0], backward};
  g.width = {backward ? c.ow : c.iw, p.stride[1], p.padding[1], p.dilation[1], backward};
  g.rows = backward ? c.ih : c.oh;
  g.columns = backward ? c.iw : c.ow;
  g.kh = c.kh;
  g.kw = c.kw;
  g.channels = backward ? c.oc : c.ic;
  g.group_channels = g.channels / p.groups;
  g.pixels = c.n * g.rows * g.columns;
  return g;
}

/// Writes the windows of the pixels [begin, end), for the channels of one group, as rows of `to`.
template <class T>
void unfold(const Geometry& g, const T* from, std::int64_t group, std::int64_t begin, std::int64_t end,
            T* to) {
  const std::int64_t count = g.group_channels;
  const std::int64_t image = g.height.size * g.width.size * g.channels;
  for (std::int64_t pixel = begin; pixel < end; ++pixel) {
    const std::int64_t column = pixel % g.columns, row = pixel / g.columns % g.rows;
    const T* base = from + pixel / (g.columns * g.rows) * image + group * count;
    for (std::int64_t kh = 0; kh < g.kh; ++kh) {
      const std::int64_t h = g.height.source(row, kh);
      for (std::int64_t kw = 0; kw < g.kw; ++kw, to += count) {
        const std::int64_t w = h < 0 ? -1 : g.width.source(column, kw);
        if (w < 0)
          std::fill_n(to, count, T(0));
        else
          std::copy_n(base + (h * g.width.size + w) * g.channels, count, to);
      }
    }
  }
}

/// How the work is cut, and where its scratch lies.
struct Cut {
  std::int64_t tile = 0;  // pixels
  std::int64_t tiles = 0;
  std::int64_t tasks = 0;    // ranges of tiles
  std::int64_t columns = 1;  // backward_weight: ranges of output channels, each with its own tasks
  std::int64_t weights = 0;  // elements
  void* w = nullptr;         // weights in the order of the rows
  void* unfolded = nullptr;  // a tile for each task
  void* partial = nullptr;   // backward_weight: one gradient for each range of tiles
  std::size_t bytes = 0;
};

Cut cut(const Convolution& c, const Geometry& g, const Workspace& workspace) {
  const std::size_t element = size_of(c.dtype);
  Cut cut;
  cut.weights = c.oc * (c.ic / c.params.groups) * c.kh * c.kw;
  cut.tile = g.tile_pixels(element);
  cut.tiles = (g.pixels + cut.tile - 1) / cut.tile;
  const std::int64_t threads = num_threads();
  cut.tasks = std::min(threads, cut.tiles);
  if (c.pass == ConvPass::backward_weight) {
    // One gradient per task is too much where weights are larger than activations: then the tasks share
    // output channels.
    const std::int64_t affordable = (c.n * c.ih * c.iw * c.ic + c.n * c.oh * c.ow * c.oc) / cut.weights;
    cut.tasks = std::clamp<std::int64_t>(affordable, 1, cut.tasks);
    cut.columns = std::clamp<std::int64_t>(c.oc / c.params.groups / 16, 1, threads / cut.tasks);
  }
  Carver carver(workspace);
  const auto take = [&](std::int64_t elements) {
    return carver.take(static_cast<std::size_t>(elements) * element);
  };
  if (c.pass == ConvPass::backward_weight)
    cut.partial = take(cut.tasks * cut.weights);
  else
    cut.w = take(cut.weights);
  cut.unfolded = take(cut.tasks * cut.columns * cut.tile * g.depth());
  cut.bytes = carver.bytes();
  return cut;
}

template <class AnyView>
AnyView make_view(decltype(AnyView::data) data, DType dtype, std::initializer_list<std::int64_t> sizes,
                  std::initializer_list<std::int64_t> strides) {
  AnyView view;
  view.data = data;
  view.dtype = dtype;
  for (const std::int64_t size : sizes) view.sizes[view.rank++] = size;
  std::copy(strides.begin(), strides.end(), view.strides.begin());
  return view;
}

/// The weights as (groups, o, kh, kw, i), from memory in that order or in their own.
template <class AnyView>
AnyView weights_view(const Convolution& c, decltype(AnyView::data) data, bool own_order) {
  const std::int64_t groups = c.params.groups, o = c.oc / groups, i = c.ic / groups, taps = c.kh * c.kw;
  if (own_order)
    return make_view<AnyView>(data, c.dtype, {groups, o, c.kh, c.kw, i},
                              {o * i * taps, i * taps, c.kw, 1, taps});
  return make_view<AnyView>(data, c.dtype, {groups, o, c.kh, c.kw, i},
                            {o * i * taps, i * taps, c.kw * i, i, 1});
}

/// Brings the weights into the order of the unfolded rows: (groups, o, kh, kw, i) forward, (groups, kh, kw,
/// o, i) backward.
void pack_weights(const Convolution& c, const void* w, void* packed) {
  const ConstView own = weights_view<ConstView>(c, w, true);
  View to = weights_view<View>(c, packed, false);
  if (c.pass == ConvPass::backward_data) {
    const std::int64_t o = c.oc / c.params.groups, i = c.ic / c.params.groups;
    to.strides[1] = i;
    to.strides[2] = c.kw * o * i;
    to.strides[3] = o * i;
  }
  copy({}, own, {to});
}

/// Forward and backward_data: tiles of the result, each the product of unfolded rows and weights.
template <class T>
void multiply_tiles(const Convolution& c, const ConvolutionData& data, Write write, const Geometry& g,
                    const Cut& cut, std::int64_t task) {
  const bool backward = c.pass == ConvPass::backward_data;
  const std::int64_t groups = c.params.groups, depth = g.depth();
  const std::int64_t out_channels = backward ? c.ic : c.oc, out_count = out_channels / groups;
  const T* from = static_cast<const T*>(backward ? data.y : data.x);
  const T* bias = c.bias ? static_cast<const T*>(data.bias) : nullptr;
  T* rows = static_cast<T*>(cut.unfolded) + task * cut.tile * depth;
  for (std::int64_t tile = task * cut.tiles / cut.tasks; tile < (task + 1) * cut.tiles / cut.tasks; ++tile) {
    const std::int64_t begin = tile * cut.tile, end = std::min(begin + cut.tile, g.pixels);
    T* out = static_cast<T*>(data.out) + begin * out_channels;
    for (std::int64_t i = 0; bias != nullptr && i < end - begin; ++i) std::copy_n(bias, c.oc, out + i * c.oc);
    for (std::int64_t group = 0; group < groups; ++group) {
      unfold(g, from, group, begin, end, rows);
      const T* w = static_cast<const T*>(cut.w) + group * depth * out_count;
      const Block<T> weights = backward ? Block<T>{w, out_count, 1} : Block<T>{w, 1, depth};
      multiply_block<T>(end - begin, out_count, depth, T(1), {rows, depth, 1}, weights,
                        out + group * out_count, out_channels, bias != nullptr || write == Write::accumulate);
    }
  }
}

/// backward_weight: the gradient of one range of output channels (of each group) from one range of tiles.
template <class T>
void sum_tiles(const Convolution& c, const ConvolutionData& data, const Geometry& g, const Cut& cut,
               std::int64_t task) {
  const std::int64_t groups = c.params.groups, depth = g.depth(), count = c.oc / groups;
  const std::int64_t range = task % cut.tasks, column = task / cut.tasks;
  const std::int64_t first = column * count / cut.columns, last = (column + 1) * count / cut.columns;
  T* rows = static_cast<T*>(cut.unfolded) + task * cut.tile * depth;
  T* partial = static_cast<T*>(cut.partial) + range * cut.weights;
  const std::int64_t first_tile = range * cut.tiles / cut.tasks;
  for (std::int64_t tile = first_tile; tile < (range + 1) * cut.tiles / cut.tasks; ++tile) {
    const std::int64_t begin = tile * cut.tile, end = std::min(begin + cut.tile, g.pixels);
    for (std::int64_t group = 0; group < groups; ++group) {
      unfold(g, static_cast<const T*>(data.x), group, begin, end, rows);
      const std::int64_t o = group * count + first;
      const Block<T> dy{static_cast<const T*>(data.y) + begin * c.oc + o, 1, c.oc};
      multiply_block<T>(last - first, depth, end - begin, T(1), dy, {rows, depth, 1}, partial + o * depth,
                        depth, tile != first_tile);
    }
  }
}

template <class T>
void run(const Convolution& c, const ConvolutionData& data, Write write, const Geometry& g, const Cut& cut) {
  if (c.pass != ConvPass::backward_weight) {
    pack_weights(c, data.w, cut.w);
    parallel_for(cut.tasks, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t task = begin; task < end; ++task) multiply_tiles<T>(c, data, write, g, cut, task);
    });
    return;
  }
  parallel_for(cut.tasks * cut.columns, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t task = begin; task < end; ++task) sum_tiles<T>(c, data, g, cut, task);
  });
  T* sum = static_cast<T*>(cut.partial);
  parallel_for(cut.weights, 16384, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t task = 1; task < cut.tasks; ++task) {
      const T* add = sum + task * cut.weights;
#pragma omp simd
      for (std::int64_t i = begin; i < end; ++i) sum[i] += add[i];
    }
  });
  copy({}, weights_view<ConstView>(c, sum, false), {weights_view<View>(c, data.out, true), write});
}

}  // namespace

std::size_t scratch_bytes(const Convolution& c) { return cut(c, geometry_of(c), {}).bytes; }

void convolve(const Convolution& c, const ConvolutionData& data, Write write, const Workspace& scratch) {
  const Geometry geometry = geometry_of(c);
  const Cut pieces = cut(c, geometry, scratch);
  if (c.dtype == DType::float64)
    run<double>(c, data, write, geometry, pieces);
  else
    run<float>(c, data, write, geometry, pieces);
}

}  // namespace reprise::kernels::cpu::eigen
