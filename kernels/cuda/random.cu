// Uniform and normal fills, and dropout: y_i = f(word of element i, x_i), with Philox4x32-10.
//
// A block of the generator serves four elements. In dense tensors a thread makes the blocks of the pack of 16
// bytes that it moves; elsewhere, element by element, it uses one word of the block.
#include "reprise/kernels/random.h"

#include <cmath>
#include <limits>

#include "cuda/element.cuh"
#include "cuda/strided.cuh"
#include "reprise/kernels/elementwise.h"
#include "reprise/kernels/philox.h"

namespace reprise::kernels::cuda {

namespace {

constexpr int kBlock = 256, kPacks = 2;

// Products and sums that must not be contracted, as the bits are to be those of every device.
__device__ __forceinline__ float product(float a, float b) { return __fmul_rn(a, b); }
__device__ __forceinline__ double product(double a, double b) { return __dmul_rn(a, b); }
__device__ __forceinline__ float total(float a, float b) { return __fadd_rn(a, b); }
__device__ __forceinline__ double total(double a, double b) { return __dadd_rn(a, b); }
__device__ __forceinline__ float fused(float a, float b, float c) { return fmaf(a, b, c); }
__device__ __forceinline__ double fused(double a, double b, double c) { return fma(a, b, c); }

template <class C>
struct Uniform {
  static constexpr bool kReads = false;
  C low, range, below;

  /// Rounding may reach the upper bound, which does not belong to the interval: `below` is the largest value
  /// that does.
  __device__ __forceinline__ C operator()(const philox::Block& block, int word, C) const {
    C unit;
    if constexpr (std::is_same_v<C, double>)
      unit = philox::unit_double(block.word[word]);
    else
      unit = philox::unit_float(block.word[word]);
    const C value = fused(unit, range, low);
    const C bounded = value < below ? value : below;
    return bounded > low ? bounded : low;
  }
};

template <class C>
struct Normal {
  static constexpr bool kReads = false;
  C mean, deviation;

  __device__ __forceinline__ C operator()(const philox::Block& block, int word, C) const {
    const int even = word & ~1;
    const philox::NormalPair pair = philox::normal_pair(block.word[even], block.word[even + 1]);
    return fused(static_cast<C>(word == even ? pair.first : pair.second), deviation, mean);
  }
};

template <class C>
struct Dropout {
  static constexpr bool kReads = true;
  std::uint32_t threshold;
  C scale;

  __device__ __forceinline__ C operator()(const philox::Block& block, int word, C x) const {
    return block.word[word] < threshold ? C(0) : product(x, scale);
  }
};

/// Seed and node of the numbers, and which element of the tensor is the first one here.
struct Stream {
  RandomKey key;
  const std::uint64_t* node_offset;
  std::uint64_t first;

  __device__ __forceinline__ std::uint64_t node() const {
    return key.node + (node_offset != nullptr ? *node_offset : 0);
  }
};

/// Elements that a thread moves at once: at least those of one block of the generator.
template <class T>
inline constexpr int kWidth = kPack<T> < 4 ? 4 : kPack<T>;

/// y (=, +=) f(word of element `element` of the stream, x)
template <class T, class Op>
__device__ __forceinline__ void make_element(const Stream& stream, std::uint64_t node, const Op& op,
                                             std::uint64_t element, const T* x, T* y, bool add) {
  using C = ComputeOf<T>;
  const philox::Block block = philox::block_of(stream.key.seed, node, element / 4);
  C value = op(block, static_cast<int>(element % 4), Op::kReads ? to_compute(*x) : C(0));
  if (Op::kReads && add) value = total(to_compute(*y), value);
  *y = from_compute<T>(value);
}

/// n elements without gaps, `first` of the stream being a multiple of 4; those that fill no pack are few.
template <class T, class Op>
__global__ void __launch_bounds__(kBlock)
    dense_kernel(Stream stream, Op op, const T* x, T* y, std::int64_t n, bool add) {
  using C = ComputeOf<T>;
  constexpr int V = kWidth<T>;
  const std::uint64_t node = stream.node();
  const std::int64_t start = (std::int64_t{blockIdx.x} * kBlock * kPacks + threadIdx.x) * V;
  Pack<T, V> in[kPacks], before[kPacks];
#pragma unroll
  for (int k = 0; k < kPacks; ++k) {
    const std::int64_t at = start + k * kBlock * V;
    if (at + V > n) continue;
    if (Op::kReads) in[k] = read_pack<V>(x + at);
    if (Op::kReads && add) before[k] = read_pack<V>(y + at);
  }
#pragma unroll
  for (int k = 0; k < kPacks; ++k) {
    const std::int64_t at = start + k * kBlock * V;
    const std::uint64_t element = stream.first + static_cast<std::uint64_t>(at);
    if (at + V > n) {
#pragma unroll 1
      for (std::int64_t i = 0; at + i < n; ++i)
        make_element(stream, node, op, element + static_cast<std::uint64_t>(i), x + at + i, y + at + i, add);
      break;
    }
    C values[V] = {};
    if (Op::kReads) convert(in[k], values);
#pragma unroll
    for (int i = 0; i < V; i += 4) {
      const philox::Block block = philox::block_of(stream.key.seed, node, element / 4 + i / 4);
#pragma unroll
      for (int word = 0; word < 4; ++word) values[i + word] = op(block, word, values[i + word]);
    }
    if (Op::kReads && add) {
      C sum[V];
      convert(before[k], sum);
#pragma unroll
      for (int i = 0; i < V; ++i) values[i] = total(sum[i], values[i]);
    }
    write_pack(y + at, round_pack<T>(values));
  }
}

/// `walk` counts the elements of y and x in the order of the numbers.
template <class T, class Op>
__global__ void __launch_bounds__(kBlock)
    strided_kernel(Stream stream, Op op, const __grid_constant__ Walk<2> walk, const T* x, T* y, bool add) {
  const std::uint32_t index = blockIdx.x * kBlock + threadIdx.x;
  if (index >= walk.numel) return;
  const Offsets<2> at = walk.locate(index);
  make_element(stream, stream.node(), op, stream.first + index, x + at.at[1], y + at.at[0], add);
}

/// `layout` with its axes in the order in which elements are counted: memory order if that is channels-last,
/// else as given.
Layout counting_order(const Layout& layout, bool channels_last) {
  if (!channels_last) return layout;
  Layout ordered = layout;
  int place = 0;
  for (const int axis : {0, 2, 3, 1}) {
    ordered.sizes[place] = layout.sizes[axis];
    ordered.strides[place++] = layout.strides[axis];
  }
  return ordered;
}

template <class T, class Op>
void launch_random(const char* operation, const Queue& queue, RandomKey key, const Op& op, const ConstView& x,
                   const Target& target) {
  const View& y = target.view;
  const T* from = x.as<T>();
  T* to = y.as<T>();
  const bool add = target.write == Write::accumulate;
  const bool channels_last = !y.is_contiguous() && y.is_channels_last();
  const bool dense = (y.is_contiguous() || channels_last) && (!x || x.same_layout(y)) && aligned16(to) &&
                     (!x || aligned16(from));
  Stream stream{key, queue.node_offset, 0};
  if (dense) {
    const std::int64_t n = y.numel();
    const dim3 grid(static_cast<unsigned>(ceil_div(n, std::int64_t{kBlock} * kPacks * kWidth<T>)));
    return launch(operation, queue, dense_kernel<T, Op>, grid, dim3(kBlock), 0, stream, op, from, to, n, add);
  }
  const Layout y_order = counting_order(y, channels_last), x_order = counting_order(x, channels_last);
  for_each_piece(collapse<2>({&y_order, x ? &x_order : nullptr}, Order::given), [&](const Axes<2>& axes,
                                                                                    const auto& at) {
    const Walk<2> walk(axes);
    launch(operation, queue, strided_kernel<T, Op>, dim3(static_cast<unsigned>(ceil_div(walk.numel, kBlock))),
           dim3(kBlock), 0, stream, op, walk, from + at[1], to + at[0], add);
    stream.first += walk.numel;
  });
}

/// The largest value of `dtype` below `bound`.
double largest_below(DType dtype, double bound) {
  double below = bound;
  dispatch_floating(dtype, [&]<class T>() {
    using C = Compute<T>;
    T value = static_cast<T>(static_cast<C>(bound));
    if constexpr (sizeof(T) == 2) {
      constexpr int kSmallestNegative = 0x8001;
      const float rounded = value;
      if (static_cast<double>(rounded) >= bound)
        value.bits = static_cast<std::uint16_t>(rounded > 0   ? value.bits - 1
                                                : rounded < 0 ? value.bits + 1
                                                              : kSmallestNegative);
    } else if (static_cast<double>(value) >= bound) {
      value = std::nextafter(value, -std::numeric_limits<T>::infinity());
    }
    below = static_cast<double>(static_cast<C>(value));
  });
  return below;
}

/// Calls f.template operator()<T>() for a floating `dtype`.
template <class F>
void dispatch_filled(const char* operation, DType dtype, F&& f) {
  if (!is_floating(dtype)) refuse(operation, dtype);
  dispatch_any(dtype, [&]<class T>() {
    if constexpr (!std::is_integral_v<T>) f.template operator()<T>();
  });
}

}  // namespace

void fill_uniform(const Queue& queue, RandomKey key, double low, double high, const View& y) {
  if (y.numel() == 0) return;
  const double below = largest_below(y.dtype, high);
  dispatch_filled("fill_uniform", y.dtype, [&]<class T>() {
    using C = ComputeOf<T>;
    const Uniform<C> op{static_cast<C>(low), static_cast<C>(high - low), static_cast<C>(below)};
    launch_random<T>("fill_uniform", queue, key, op, {}, {y});
  });
}

void fill_normal(const Queue& queue, RandomKey key, double mean, double deviation, const View& y) {
  if (y.numel() == 0) return;
  dispatch_filled("fill_normal", y.dtype, [&]<class T>() {
    using C = ComputeOf<T>;
    const Normal<C> op{static_cast<C>(mean), static_cast<C>(deviation)};
    launch_random<T>("fill_normal", queue, key, op, {}, {y});
  });
}

void dropout(const Queue& queue, RandomKey key, double p, const ConstView& x, const Target& y) {
  if (!y || y.view.numel() == 0) return;
  const philox::DropRule rule = philox::drop_rule(p);
  dispatch_filled("dropout", y.view.dtype, [&]<class T>() {
    using C = ComputeOf<T>;
    if (!rule.everything) {
      const Dropout<C> op{rule.threshold, static_cast<C>(philox::keep_scale(p))};
      launch_random<T>("dropout", queue, key, op, x, y);
    } else if (y.write == Write::overwrite) {
      fill(queue, 0, y.view);
    }
  });
}

}  // namespace reprise::kernels::cuda
