// Batch norm. Sums over rows go, per chunk of rows, into the workspace in float64 and are then added in
// order, so that the results do not depend on the number of threads.
#include <cmath>

#include "channel_rows.h"
#include "parallel.h"
#include "reprise/kernels/norm.h"
#include "workspace.h"

namespace reprise::kernels {

using namespace cpu;

namespace {

/// Lines after which sums in the type of computation are added to those in float64.
constexpr std::int64_t kBlockLines = 512;

/// Two numbers per channel, for every chunk and for all of them together.
class Partials {
 public:
  Partials(const ChannelPlan& plan, Carver& carver)
      : channels_(plan.channels),
        chunks_(plan.chunks),
        data_(static_cast<double*>(
            carver.take(static_cast<std::size_t>(2 * (plan.chunks + 1) * plan.channels) * sizeof(double)))) {}

  double* first(std::int64_t chunk) const { return data_ + 2 * chunk * channels_; }
  double* second(std::int64_t chunk) const { return first(chunk) + channels_; }
  std::int64_t total() const { return chunks_; }

 private:
  std::int64_t channels_, chunks_;
  double* data_;
};

/// Joins mean and sum of squared deviations of `count` values to those of `more` others, for n channels.
void join_moments(double count, double* mean, double* squares, double more, const double* other_mean,
                  const double* other_squares, std::int64_t n) {
  const double share = more / (count + more), weight = count * share;
#pragma omp simd
  for (std::int64_t c = 0; c < n; ++c) {
    const double distance = other_mean[c] - mean[c];
    mean[c] += distance * share;
    squares[c] += other_squares[c] + distance * distance * weight;
  }
}

/// Sums of a block of rows: per element of a line, of x - shift and of its square. The first line is the
/// shift, which keeps the squares from cancelling.
template <class C>
struct ShiftedSums {
  alignas(64) C shift[kLine];
  alignas(64) C sum[kLine];
  alignas(64) C squares[kLine];

  void start(const C* x, std::int64_t n) {
    std::copy_n(x, n, shift);
    std::fill_n(sum, kLine, C{0});
    std::fill_n(squares, kLine, C{0});
  }
  void add(const Slab& slab, Lines<const C> x) {
    for_each_column_group<C>(slab.width, [&](std::int64_t first, auto count) {
      C s[kLanes<C>], q[kLanes<C>];
      std::copy_n(sum + first, +count, s);
      std::copy_n(squares + first, +count, q);
      for (std::int64_t line = 0; line < slab.lines; ++line) {
        const C* const in = x.group(line, first, slab.has_columns());
#pragma omp simd
        for (std::int64_t i = 0; i < count; ++i) {
          const C distance = in[i] - shift[first + i];
          s[i] += distance;
          q[i] += distance * distance;
        }
      }
      std::copy_n(s, +count, sum + first);
      std::copy_n(q, +count, squares + first);
    });
  }
  /// Joins the `count` rows whose place in their line is `fold` to a chunk's moments of `before` rows.
  void join(std::int64_t fold, std::int64_t channels, double count, double before, double* mean,
            double* deviations) const {
    double block_mean[kLine], block_squares[kLine];
    const C* const k = shift + fold * channels;
    const C* const s = sum + fold * channels;
    const C* const q = squares + fold * channels;
#pragma omp simd
    for (std::int64_t c = 0; c < channels; ++c) {
      const double total = static_cast<double>(s[c]), offset = total / count;
      const double square = static_cast<double>(q[c]) - total * offset;
      block_mean[c] = static_cast<double>(k[c]) + offset;
      block_squares[c] = square < 0 ? 0 : square;
    }
    join_moments(before, mean, deviations, count, block_mean, block_squares, channels);
  }
};

template <class T>
void chunk_moments(const ChannelPlan& plan, const ChannelTask& task, SlabReader<T>& x,
                   const Partials& partials) {
  double* const mean = partials.first(task.chunk) + task.channel;
  double* const squares = partials.second(task.chunk) + task.channel;
  std::fill_n(mean, task.channels, 0.0);
  std::fill_n(squares, task.channels, 0.0);
  std::int64_t done = 0;
  ShiftedSums<Compute<T>> sums;
  for (std::int64_t begin = task.begin; begin < task.end; begin += kBlockLines * plan.fold) {
    const std::int64_t end = std::min(task.end, begin + kBlockLines * plan.fold);
    for_each_slab(plan, task, begin, end, [&](const Slab& slab) {
      const Lines<const Compute<T>> values = x.read(slab);
      if (slab.row == begin) sums.start(values.data, slab.width);
      sums.add(slab, values);
    });
    for (std::int64_t fold = 0; fold < std::min(plan.fold, end - begin); ++fold) {
      const std::int64_t count = (end - begin - fold + plan.fold - 1) / plan.fold;
      sums.join(fold, task.channels, static_cast<double>(count), static_cast<double>(done), mean, squares);
      done += count;
    }
  }
}

template <class C>
void write_moments(const ChannelPlan& plan, const Partials& partials, const View& mean,
                   const View& variance) {
  double* const total_mean = partials.first(partials.total());
  double* const total_squares = partials.second(partials.total());
  std::fill_n(total_mean, 2 * plan.channels, 0.0);
  for (std::int64_t chunk = 0; chunk < plan.chunks; ++chunk) {
    const std::int64_t before = chunk * plan.chunk_rows,
                       count = std::min(plan.chunk_rows, plan.rows - before);
    join_moments(static_cast<double>(before), total_mean, total_squares, static_cast<double>(count),
                 partials.first(chunk), partials.second(chunk), plan.channels);
  }
  for (std::int64_t c = 0; c < plan.channels; ++c) {
    mean.as<C>()[c] = static_cast<C>(total_mean[c]);
    variance.as<C>()[c] = static_cast<C>(total_squares[c] / static_cast<double>(plan.rows));
  }
}

/// The map from x to y: per channel mean, scale = weight / sqrt(variance + eps), and bias.
template <class T>
class Normaliser {
  using C = Compute<T>;

 public:
  Normaliser(double eps, const ConstView& mean, const ConstView& variance, const ConstView& weight,
             const ConstView& bias)
      : eps_(eps),
        mean_(mean.as<C>()),
        variance_(variance.as<C>()),
        weight_(weight.as<T>()),
        bias_(bias.as<T>()) {}

  double rstd(std::int64_t channel) const {
    return 1.0 / std::sqrt(static_cast<double>(variance_[channel]) + eps_);
  }

  void fill(const ChannelPlan& plan, const ChannelTask& task) {
    centre_.fill(plan, task, [&](std::int64_t c) { return mean_[c]; });
    bias_values_.fill(plan, task,
                      [&](std::int64_t c) { return bias_ == nullptr ? C{0} : static_cast<C>(bias_[c]); });
    scale_.fill(plan, task, [&](std::int64_t c) {
      return static_cast<C>(weight_ == nullptr ? rstd(c) : rstd(c) * static_cast<double>(weight_[c]));
    });
  }
  /// The numbers of one group of columns; a copy, so that they are known not to be overwritten.
  struct Columns {
    ColumnGroup<C> centre, scale, bias;
  };
  Columns columns(std::int64_t first) const {
    return {centre_.group(first), scale_.group(first), bias_values_.group(first)};
  }

 private:
  double eps_;
  const C *mean_, *variance_;
  const T *weight_, *bias_;
  PerElement<C> centre_, scale_, bias_values_;
};

template <class T, bool kRelu>
void apply_task(const ChannelPlan& plan, const ChannelTask& task, const Normaliser<T>& map, SlabReader<T>& x,
                const View& y) {
  using C = Compute<T>;
  for_each_slab(plan, task, task.begin, task.end, [&](const Slab& slab) {
    const Lines<const C> in = x.read(slab);
    write_slab<T>({y, Write::overwrite}, slab, [&](Lines<C> out) {
      for_each_column_group<C>(slab.width, [&](std::int64_t first, auto count) {
        const auto columns = map.columns(first);
        for (std::int64_t line = 0; line < slab.lines; ++line) {
          const C* const from = in.group(line, first, slab.has_columns());
          C* const to = out.group(line, first, slab.has_columns());
#pragma omp simd
          for (std::int64_t i = 0; i < count; ++i) {
            const C value = (from[i] - columns.centre[i]) * columns.scale[i] + columns.bias[i];
            to[i] = kRelu && value <= C{0} ? C{0} : value;
          }
        }
      });
    });
  });
}

struct BatchNormBackward {
  double eps;
  const ConstView &x, &mean, &variance, &weight, &bias, &dy;
};

/// dy where relu let the value pass, else 0; `distance` is x - mean.
template <bool kRelu, class C>
C masked(C dy, C distance, C scale, C bias) {
  if constexpr (kRelu) return distance * scale + bias > C{0} ? dy : C{0};
  return dy;
}

/// Sums of a block of rows: per element of a line, of the masked dy and of masked dy * (x - mean).
template <class T>
struct GradientSums {
  using C = Compute<T>;
  alignas(64) C sum[kLine] = {};
  alignas(64) C product[kLine] = {};

  template <bool kRelu>
  void add(const Slab& slab, const Normaliser<T>& map, Lines<const C> x, Lines<const C> dy) {
    for_each_column_group<C>(slab.width, [&](std::int64_t first, auto count) {
      const auto columns = map.columns(first);
      C s[kLanes<C>], p[kLanes<C>];
      std::copy_n(sum + first, +count, s);
      std::copy_n(product + first, +count, p);
      for (std::int64_t line = 0; line < slab.lines; ++line) {
        const C* const in = x.group(line, first, true);
        const C* const g = dy.group(line, first, true);
#pragma omp simd
        for (std::int64_t i = 0; i < count; ++i) {
          const C distance = in[i] - columns.centre[i];
          const C grad = masked<kRelu>(g[i], distance, columns.scale[i], columns.bias[i]);
          s[i] += grad;
          p[i] += grad * distance;
        }
      }
      std::copy_n(s, +count, sum + first);
      std::copy_n(p, +count, product + first);
    });
  }
};

template <class T, bool kRelu>
void chunk_gradients(const ChannelPlan& plan, const ChannelTask& task, const Normaliser<T>& map,
                     SlabReader<T>& x, SlabReader<T>& dy, const Partials& partials) {
  double* const total = partials.first(task.chunk) + task.channel;
  double* const total_product = partials.second(task.chunk) + task.channel;
  std::fill_n(total, task.channels, 0.0);
  std::fill_n(total_product, task.channels, 0.0);
  for (std::int64_t begin = task.begin; begin < task.end; begin += kBlockLines * plan.fold) {
    const std::int64_t end = std::min(task.end, begin + kBlockLines * plan.fold);
    GradientSums<T> sums;
    for_each_slab(plan, task, begin, end, [&](const Slab& slab) {
      sums.template add<kRelu>(slab, map, x.read(slab), dy.read(slab));
    });
    for (std::int64_t i = 0; i < plan.fold * task.channels; ++i) {
      total[i % task.channels] += static_cast<double>(sums.sum[i]);
      total_product[i % task.channels] += static_cast<double>(sums.product[i]);
    }
  }
}

/// Adds the chunks' sums up, and writes the gradients of weight and bias.
template <class T>
void write_gradients(const ChannelPlan& plan, const Partials& partials, const Normaliser<T>& map,
                     const Target& dweight, const Target& dbias) {
  using C = Compute<T>;
  double* const total = partials.first(partials.total());
  double* const total_product = partials.second(partials.total());
  std::fill_n(total, 2 * plan.channels, 0.0);
  for (std::int64_t chunk = 0; chunk < plan.chunks; ++chunk) {
    const double* const part = partials.first(chunk);
#pragma omp simd
    for (std::int64_t c = 0; c < 2 * plan.channels; ++c) total[c] += part[c];
  }
  for_each_piece(plan.channels, [&](std::int64_t first, std::int64_t count) {
    if (dweight) {
      write_piece(dweight.view.as<T>() + first, count, dweight.write, [&](C* out) {
        for (std::int64_t c = 0; c < count; ++c)
          out[c] = static_cast<C>(total_product[first + c] * map.rstd(first + c));
      });
    }
    if (dbias) {
      write_piece(dbias.view.as<T>() + first, count, dbias.write, [&](C* out) {
        for (std::int64_t c = 0; c < count; ++c) out[c] = static_cast<C>(total[first + c]);
      });
    }
  });
}

/// dx (=, +=) scale * (dy - offset - (x - mean) * slope), where offset and slope keep the mean and the
/// variance in place.
template <class T, bool kRelu>
void dx_task(const ChannelPlan& plan, const ChannelTask& task, const Normaliser<T>& map,
             const PerElement<Compute<T>>& offsets, const PerElement<Compute<T>>& slopes, SlabReader<T>& x,
             SlabReader<T>& dy, const Target& dx) {
  using C = Compute<T>;
  for_each_slab(plan, task, task.begin, task.end, [&](const Slab& slab) {
    const Lines<const C> in = x.read(slab), grads = dy.read(slab);
    write_slab<T>(dx, slab, [&](Lines<C> out) {
      for_each_column_group<C>(slab.width, [&](std::int64_t first, auto count) {
        const auto columns = map.columns(first);
        const auto offset = offsets.group(first), slope = slopes.group(first);
        for (std::int64_t line = 0; line < slab.lines; ++line) {
          const C* const from = in.group(line, first, true);
          const C* const g = grads.group(line, first, true);
          C* const to = out.group(line, first, true);
#pragma omp simd
          for (std::int64_t i = 0; i < count; ++i) {
            const C distance = from[i] - columns.centre[i];
            const C grad = masked<kRelu>(g[i], distance, columns.scale[i], columns.bias[i]);
            to[i] = columns.scale[i] * ((grad - offset[i]) - distance * slope[i]);
          }
        }
      });
    });
  });
}

template <class T, bool kRelu>
void backward(const ChannelPlan& plan, const BatchNormBackward& call, bool training, const Target& dx,
              const Target& dweight, const Target& dbias, const Workspace& workspace) {
  using C = Compute<T>;
  Carver carver(workspace);
  const Partials partials(plan, carver);
  const bool sums_wanted = dweight || dbias || (training && dx);
  if (sums_wanted) {
    parallel_for(plan.tasks(), plan.grain(), [&](std::int64_t first, std::int64_t last) {
      Normaliser<T> map(call.eps, call.mean, call.variance, call.weight, call.bias);
      SlabReader<T> x(call.x), dy(call.dy);
      for (std::int64_t index = first; index < last; ++index) {
        const ChannelTask task(plan, index);
        map.fill(plan, task);
        chunk_gradients<T, kRelu>(plan, task, map, x, dy, partials);
      }
    });
    const Normaliser<T> map(call.eps, call.mean, call.variance, call.weight, call.bias);
    write_gradients(plan, partials, map, dweight, dbias);
  }
  if (!dx) return;
  const double count = static_cast<double>(plan.rows);
  parallel_for(plan.tasks(), plan.grain(), [&](std::int64_t first, std::int64_t last) {
    Normaliser<T> map(call.eps, call.mean, call.variance, call.weight, call.bias);
    SlabReader<T> x(call.x), dy(call.dy);
    PerElement<C> offset, slope;
    const double* const total = partials.first(partials.total());
    const double* const total_product = partials.second(partials.total());
    for (std::int64_t index = first; index < last; ++index) {
      const ChannelTask task(plan, index);
      map.fill(plan, task);
      offset.fill(plan, task,
                  [&](std::int64_t c) { return training ? static_cast<C>(total[c] / count) : C{0}; });
      slope.fill(plan, task, [&](std::int64_t c) {
        return training ? static_cast<C>(total_product[c] * map.rstd(c) * map.rstd(c) / count) : C{0};
      });
      dx_task<T, kRelu>(plan, task, map, offset, slope, x, dy, dx);
    }
  });
}

}  // namespace

std::size_t batch_norm_workspace_bytes(DeviceKind, const ConstView& x) {
  Carver carver;
  const Partials partials(ChannelPlan(x), carver);
  return carver.bytes();
}

void batch_norm_statistics(const Queue&, const ConstView& x, const View& mean, const View& variance,
                           const Workspace& workspace) {
  const ChannelPlan plan(x);
  if (plan.rows == 0) return;
  dispatch_floating(x.dtype, [&]<class T>() {
    Carver carver(workspace);
    const Partials partials(plan, carver);
    parallel_for(plan.tasks(), plan.grain(), [&](std::int64_t begin, std::int64_t end) {
      SlabReader<T> reader(x);
      for (std::int64_t task = begin; task < end; ++task) {
        chunk_moments<T>(plan, ChannelTask(plan, task), reader, partials);
      }
    });
    write_moments<Compute<T>>(plan, partials, mean, variance);
  });
}

void batch_norm_apply(const Queue&, double eps, bool relu, const ConstView& x, const ConstView& mean,
                      const ConstView& variance, const ConstView& weight, const ConstView& bias,
                      const View& y) {
  const ChannelPlan plan(x);
  if (plan.rows == 0) return;
  dispatch_floating(x.dtype, [&]<class T>() {
    parallel_for(plan.tasks(), plan.grain(), [&](std::int64_t begin, std::int64_t end) {
      SlabReader<T> reader(x);
      Normaliser<T> map(eps, mean, variance, weight, bias);
      for (std::int64_t index = begin; index < end; ++index) {
        const ChannelTask task(plan, index);
        map.fill(plan, task);
        if (relu)
          apply_task<T, true>(plan, task, map, reader, y);
        else
          apply_task<T, false>(plan, task, map, reader, y);
      }
    });
  });
}

void batch_norm_backward(const Queue&, double eps, bool relu, bool training, const ConstView& x,
                         const ConstView& mean, const ConstView& variance, const ConstView& weight,
                         const ConstView& bias, const ConstView& dy, const Target& dx, const Target& dweight,
                         const Target& dbias, const Workspace& workspace) {
  const ChannelPlan plan(x);
  const BatchNormBackward call{eps, x, mean, variance, weight, bias, dy};
  dispatch_floating(x.dtype, [&]<class T>() {
    if (relu)
      backward<T, true>(plan, call, training, dx, dweight, dbias, workspace);
    else
      backward<T, false>(plan, call, training, dx, dweight, dbias, workspace);
  });
}

}  // namespace reprise::kernels
