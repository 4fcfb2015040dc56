// Batch norm's statistics. Each chunk of rows is cut into blocks, whose sums are relative to their first
// line; the moments of blocks and of chunks are joined in float64, in order.
#include "channel_partials.h"
#include "parallel.h"
#include "reprise/kernels/norm.h"

namespace reprise::kernels::cpu {

using namespace cpu;

namespace {

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
      auto s = ColumnGroup<C>::load(sum + first, count), q = ColumnGroup<C>::load(squares + first, count);
      for (std::int64_t line = 0; line < slab.lines; ++line) {
        const C* const in = x.group(line, first, slab.has_columns());
#pragma omp simd
        for (std::int64_t i = 0; i < count; ++i) {
          const C distance = in[i] - shift[first + i];
          s[i] += distance;
          q[i] += distance * distance;
        }
      }
      s.store(sum + first, count);
      q.store(squares + first, count);
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
                   const ChannelPartials& partials) {
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
void write_moments(const ChannelPlan& plan, const ChannelPartials& partials, const View& mean,
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

}  // namespace

std::size_t batch_norm_workspace_bytes(DeviceKind, const ConstView& x) {
  Carver carver;
  const ChannelPartials partials(ChannelPlan(x), carver);
  return carver.bytes();
}

void batch_norm_statistics(const Queue&, const ConstView& x, const View& mean, const View& variance,
                           const Workspace& workspace) {
  const ChannelPlan plan(x);
  if (plan.rows == 0) return;
  dispatch_floating(x.dtype, [&]<class T>() {
    Carver carver(workspace);
    const ChannelPartials partials(plan, carver);
    parallel_for(plan.tasks(), plan.grain(), [&](std::int64_t begin, std::int64_t end) {
      SlabReader<T> reader(x);
      for (std::int64_t task = begin; task < end; ++task) {
        chunk_moments<T>(plan, ChannelTask(plan, task), reader, partials);
      }
    });
    write_moments<Compute<T>>(plan, partials, mean, variance);
  });
}

}  // namespace reprise::kernels::cpu
