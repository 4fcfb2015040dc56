// Random numbers on the CPU: chunks of words are made a vector of counters at a time and used while they are
// in the cache.
#include "reprise/kernels/random.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include "convert.h"
#include "parallel.h"
#include "philox_lanes.h"

namespace reprise::kernels::cpu {

using namespace cpu;

namespace {

constexpr std::int64_t kChunk = 1024;  // elements; a multiple of kPhiloxWords
constexpr std::int64_t kGrain = 32;    // chunks

/// The words of the elements of one chunk.
void chunk_words(RandomKey key, std::int64_t chunk, std::int64_t count, std::uint32_t* words) {
  for (std::int64_t i = 0; i < count; i += kPhiloxWords) {
    philox_words(key, static_cast<std::uint64_t>(chunk * kChunk + i) / 4, words + i);
  }
}

bool is_dense(const Layout& layout) { return layout.is_contiguous() || layout.is_channels_last(); }

/// `layout` with its axes in the order in which elements are counted: memory order if that is channels-last,
/// else as given.
Layout counting_order(const Layout& layout, bool channels_last) {
  if (!channels_last) return layout;
  Layout ordered = layout;
  constexpr int kAxes[] = {0, 2, 3, 1};
  for (int axis = 0; axis < 4; ++axis) {
    ordered.sizes[axis] = layout.sizes[kAxes[axis]];
    ordered.strides[axis] = layout.strides[kAxes[axis]];
  }
  return ordered;
}

/// Calls f(k, offset) with the memory offsets of the elements first + k, 0 <= k < count, in row-major order.
template <class F>
void for_each_offset(const Layout& layout, std::int64_t first, std::int64_t count, F&& f) {
  PerAxis index{};
  std::int64_t offset = 0, rest = first;
  for (int axis = layout.rank - 1; axis >= 0; --axis) {
    index[axis] = rest % layout.sizes[axis];
    rest /= layout.sizes[axis];
    offset += index[axis] * layout.strides[axis];
  }
  for (std::int64_t k = 0; k < count; ++k) {
    f(k, offset);
    for (int axis = layout.rank - 1; axis >= 0; --axis) {
      offset += layout.strides[axis];
      if (++index[axis] < layout.sizes[axis]) break;
      offset -= layout.sizes[axis] * layout.strides[axis];
      index[axis] = 0;
    }
  }
}

/// Fills y chunk by chunk: `values(words, count, out)` turns words into elements of Compute<T>.
template <class T, class F>
void fill_chunks(RandomKey key, const View& y, F&& values) {
  const std::int64_t n = y.numel();
  const bool channels_last = !y.is_contiguous() && y.is_channels_last(), dense = is_dense(y);
  const Layout order = counting_order(y, channels_last);
  T* const out = y.template as<T>();
  parallel_for((n + kChunk - 1) / kChunk, kGrain, [&](std::int64_t begin, std::int64_t end) {
    alignas(64) std::uint32_t words[kChunk];
    alignas(64) Compute<T> buffer[kChunk];
    for (std::int64_t chunk = begin; chunk < end; ++chunk) {
      const std::int64_t first = chunk * kChunk, count = std::min(kChunk, n - first);
      chunk_words(key, chunk, count, words);
      values(words, count, buffer);
      if (dense)
        store_row(buffer, out + first, count);
      else
        for_each_offset(order, first, count, [&](auto k, auto at) { out[at] = static_cast<T>(buffer[k]); });
    }
  });
}

/// The largest T below `bound`.
template <class T>
Compute<T> largest_below(double bound) {
  const auto rounded = static_cast<Compute<T>>(static_cast<T>(static_cast<Compute<T>>(bound)));
  if (static_cast<double>(rounded) < bound) return rounded;
  if constexpr (sizeof(T) == 2) {
    constexpr int kSmallestNegative = 0x8001;
    const int bits = T(rounded).bits;
    T below;
    below.bits = static_cast<std::uint16_t>(rounded > 0   ? bits - 1
                                            : rounded < 0 ? bits + 1
                                                          : kSmallestNegative);
    return below;
  } else {
    return std::nextafter(rounded, -std::numeric_limits<T>::infinity());
  }
}

/// Rounding may reach `high`, which does not belong to the interval: `below` is the largest value that does.
template <class C>
void uniform_values(const std::uint32_t* words, std::int64_t count, C low, C range, C below, C* y) {
#pragma omp simd
  for (std::int64_t i = 0; i < count; ++i) {
    C unit;
    if constexpr (std::is_same_v<C, double>)
      unit = philox::unit_double(words[i]);
    else
      unit = philox::unit_float(words[i]);
    const C value = std::fma(unit, range, low);
    const C bounded = value < below ? value : below;
    y[i] = bounded > low ? bounded : low;
  }
}

/// Words come in whole blocks, so an odd `count` still has the second word of its last pair.
template <class C>
void normal_values(const std::uint32_t* words, std::int64_t count, C mean, C deviation, C* y) {
  const std::int64_t pairs = (count + 1) / 2;
#pragma omp simd
  for (std::int64_t i = 0; i < pairs; ++i) {
    const philox::NormalPair pair = philox::normal_pair(words[2 * i], words[2 * i + 1]);
    y[2 * i] = std::fma(static_cast<C>(pair.first), deviation, mean);
    y[2 * i + 1] = std::fma(static_cast<C>(pair.second), deviation, mean);
  }
}

template <class C>
void dropout_values(const std::uint32_t* words, std::int64_t count, philox::DropRule rule, C scale,
                    const C* x, C* y) {
  const std::uint32_t threshold = rule.threshold;
#pragma omp simd
  for (std::int64_t i = 0; i < count; ++i) {
    const C kept = x[i] * scale;
    y[i] = words[i] < threshold ? C{0} : kept;
  }
}

template <class C>
void dropout_add(const std::uint32_t* words, std::int64_t count, philox::DropRule rule, C scale, const C* x,
                 C* y) {
  const std::uint32_t threshold = rule.threshold;
#pragma omp simd
  for (std::int64_t i = 0; i < count; ++i) {
    const C kept = x[i] * scale;
    y[i] += words[i] < threshold ? C{0} : kept;
  }
}

/// One run of dropout over elements that lie next to each other; the buffers hold what needs conversion.
template <class T>
void dropout_run(const std::uint32_t* words, std::int64_t count, philox::DropRule rule, Compute<T> scale,
                 const T* x, T* y, Write write) {
  if constexpr (std::is_same_v<T, Compute<T>>) {
    if (write == Write::accumulate)
      dropout_add(words, count, rule, scale, x, y);
    else
      dropout_values(words, count, rule, scale, x, y);
  } else {
    alignas(64) Compute<T> x_values[kChunk], y_values[kChunk];
    load_row(x, x_values, count);
    if (write == Write::accumulate) {
      load_row<T>(y, y_values, count);
      dropout_add(words, count, rule, scale, x_values, y_values);
    } else {
      dropout_values(words, count, rule, scale, x_values, y_values);
    }
    store_row(y_values, y, count);
  }
}

template <class T>
void dropout_chunks(RandomKey key, double p, const ConstView& x, const Target& target) {
  const View& y = target.view;
  const std::int64_t n = y.numel();
  const bool channels_last = !y.is_contiguous() && y.is_channels_last();
  const bool flat = is_dense(y) && x.same_layout(y);
  const Layout x_order = counting_order(x, channels_last), y_order = counting_order(y, channels_last);
  const T* const in = x.as<T>();
  T* const out = y.template as<T>();
  const philox::DropRule rule = philox::drop_rule(p);
  const auto scale = static_cast<Compute<T>>(philox::keep_scale(p));
  parallel_for((n + kChunk - 1) / kChunk, kGrain, [&](std::int64_t begin, std::int64_t end) {
    alignas(64) std::uint32_t words[kChunk];
    alignas(64) T x_run[kChunk], y_run[kChunk];
    for (std::int64_t chunk = begin; chunk < end; ++chunk) {
      const std::int64_t first = chunk * kChunk, count = std::min(kChunk, n - first);
      chunk_words(key, chunk, count, words);
      if (flat) {
        dropout_run<T>(words, count, rule, scale, in + first, out + first, target.write);
        continue;
      }
      for_each_offset(x_order, first, count, [&](auto k, auto at) { x_run[k] = in[at]; });
      for_each_offset(y_order, first, count, [&](auto k, auto at) { y_run[k] = out[at]; });
      dropout_run<T>(words, count, rule, scale, x_run, y_run, target.write);
      for_each_offset(y_order, first, count, [&](auto k, auto at) { out[at] = y_run[k]; });
    }
  });
}

/// y (=, +=) 0 for p = 1.
template <class T>
void drop_everything(const Target& target) {
  const View& y = target.view;
  const std::int64_t n = y.numel();
  if (n == 0 || target.write == Write::accumulate) return;
  T* const out = y.template as<T>();
  for_each_offset(y, 0, n, [&](auto, auto at) { out[at] = T{}; });
}

}  // namespace

void fill_uniform(const Queue&, RandomKey key, double low, double high, const View& y) {
  dispatch_floating(y.dtype, [&]<class T>() {
    using C = Compute<T>;
    const C below = largest_below<T>(high), start = static_cast<C>(low), range = static_cast<C>(high - low);
    fill_chunks<T>(key, y, [&](const std::uint32_t* words, std::int64_t count, C* values) {
      uniform_values(words, count, start, range, below, values);
    });
  });
}

void fill_normal(const Queue&, RandomKey key, double mean, double deviation, const View& y) {
  dispatch_floating(y.dtype, [&]<class T>() {
    using C = Compute<T>;
    const C centre = static_cast<C>(mean), width = static_cast<C>(deviation);
    fill_chunks<T>(key, y, [&](const std::uint32_t* words, std::int64_t count, C* values) {
      normal_values(words, count, centre, width, values);
    });
  });
}

void dropout(const Queue&, RandomKey key, double p, const ConstView& x, const Target& y) {
  const bool everything = philox::drop_rule(p).everything;
  dispatch_floating(y.view.dtype, [&]<class T>() {
    if (everything)
      drop_everything<T>(y);
    else
      dropout_chunks<T>(key, p, x, y);
  });
}

}  // namespace reprise::kernels::cpu
