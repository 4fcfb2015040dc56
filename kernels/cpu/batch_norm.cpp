// Batch norm's map and its gradients. Sums over rows go, per chunk of rows, into the workspace in float64 and
// are then added in order, so that the results do not depend on the number of threads.
#include <cmath>

#include "channel_partials.h"
#include "parallel.h"
#include "reprise/kernels/norm.h"

namespace reprise::kernels::cpu {

using namespace cpu;

namespace {

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
  /// The numbers of one group of columns.
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

/// dy where relu let the value pass (NaN passes), else 0; `distance` is x - mean.
template <bool kRelu, class C>
C masked(C dy, C distance, C scale, C bias) {
  if constexpr (kRelu) return distance * scale + bias <= C{0} ? C{0} : dy;
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
      auto s = ColumnGroup<C>::load(sum + first, count), p = ColumnGroup<C>::load(product + first, count);
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
      s.store(sum + first, count);
      p.store(product + first, count);
    });
  }
};

template <class T, bool kRelu>
void chunk_gradients(const ChannelPlan& plan, const ChannelTask& task, const Normaliser<T>& map,
                     SlabReader<T>& x, SlabReader<T>& dy, const ChannelPartials& partials) {
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
void write_gradients(const ChannelPlan& plan, const ChannelPartials& partials, const Normaliser<T>& map,
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
/// variance in place. Without `training` both are 0, whatever x is: an infinite one must not make NaN of it.
template <class T, bool kRelu>
void dx_task(const ChannelPlan& plan, const ChannelTask& task, const Normaliser<T>& map, bool training,
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
            to[i] = columns.scale[i] * ((grad - offset[i]) - (training ? distance * slope[i] : C{0}));
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
  const ChannelPartials partials(plan, carver);
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
      dx_task<T, kRelu>(plan, task, map, training, offset, slope, x, dy, dx);
    }
  });
}

}  // namespace

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

}  // namespace reprise::kernels::cpu
