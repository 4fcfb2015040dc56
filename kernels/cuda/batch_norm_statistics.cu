// Mean and variance per channel of x (rows, C). A thread joins the moments of four rows at a time to its own
// (Chan et al. 1979), so that nothing cancels however far the mean is from 0; a block, and then all blocks,
// are joined in two steps, means first. See columns.cuh for the order.
#include "cuda/batch_norm_columns.cuh"

namespace reprise::kernels::cuda {

namespace {

constexpr const char* kOperation = "batch_norm_statistics";
constexpr int kGroup = 4;

/// Mean and sum of squared deviations of kVec columns.
template <int kVec>
struct Moments {
  float mean[kVec] = {}, squares[kVec] = {};

  /// Joins kGroup rows to the `count` rows that are here.
  template <class T>
  __device__ __forceinline__ void join(float count, const Pack<T, kVec> (&rows)[kGroup]) {
    const float share = kGroup / (count + kGroup), weight = count * share;
    float of_row[kGroup][kVec];
#pragma unroll
    for (int row = 0; row < kGroup; ++row) convert(rows[row], of_row[row]);
#pragma unroll
    for (int i = 0; i < kVec; ++i) {
      float sum = 0, deviations = 0;
#pragma unroll
      for (int row = 0; row < kGroup; ++row) sum += of_row[row][i];
      const float group_mean = sum / kGroup, distance = group_mean - mean[i];
#pragma unroll
      for (int row = 0; row < kGroup; ++row)
        deviations += (of_row[row][i] - group_mean) * (of_row[row][i] - group_mean);
      mean[i] += distance * share;
      squares[i] += deviations + distance * distance * weight;
    }
  }
  /// Joins one row.
  template <class T>
  __device__ __forceinline__ void join(float count, const Pack<T, kVec>& row) {
    const float share = 1 / (count + 1);
    float values[kVec];
    convert(row, values);
#pragma unroll
    for (int i = 0; i < kVec; ++i) {
      const float distance = values[i] - mean[i];
      mean[i] += distance * share;
      squares[i] += distance * (values[i] - mean[i]);
    }
  }
};

/// The moments of a chunk, from those of the threads, which have `count` rows each; they end up in the
/// threads whose threadIdx.y is 0.
template <int kVec>
__device__ void join_threads(Moments<kVec>& moments, float count, float rows) {
  SIMT_SHARED(float, means, [kVec][kColumnThreads]);
  float sums[kVec];
#pragma unroll
  for (int i = 0; i < kVec; ++i) sums[i] = count * moments.mean[i];
  add_up_rows(sums);
  if (threadIdx.y == 0) {
#pragma unroll
    for (int i = 0; i < kVec; ++i) means[i][threadIdx.x] = sums[i] / rows;
  }
  __syncthreads();
#pragma unroll
  for (int i = 0; i < kVec; ++i) {
    const float mean = means[i][threadIdx.x], distance = moments.mean[i] - mean;
    moments.squares[i] += count * distance * distance;
    moments.mean[i] = mean;
  }
  add_up_rows(moments.squares);
}

template <class T, int kVec>
__global__ void __launch_bounds__(kColumnThreads, kColumnBlocks)
    chunk_moments_kernel(const T* __restrict__ x, std::int64_t rows, std::int64_t channels,
                         std::int64_t chunk_rows, float* __restrict__ partials) {
  const ColumnTask task(kVec, rows, chunk_rows);
  const bool inside = task.column < channels;
  const T* const from = x + task.column;
  const std::int64_t step = blockDim.y;
  Moments<kVec> moments;
  float count = 0;
  std::int64_t row = inside ? task.begin : task.end;
  for (; row + (kGroup - 1) * step < task.end; row += kGroup * step) {
    Pack<T, kVec> group[kGroup];
#pragma unroll
    for (int i = 0; i < kGroup; ++i) group[i] = read_pack<kVec>(from + (row + i * step) * channels);
    moments.join(count, group);
    count += kGroup;
  }
  for (; row < task.end; row += step) {
    moments.join(count, read_pack<kVec>(from + row * channels));
    count += 1;
  }
  join_threads(moments, count, static_cast<float>(task.end - blockIdx.y * chunk_rows));
  if (threadIdx.y != 0 || !inside) return;
  float* const to = partials + 2 * blockIdx.y * channels + task.column;
#pragma unroll
  for (int i = 0; i < kVec; ++i) {
    to[i] = moments.mean[i];
    to[channels + i] = moments.squares[i];
  }
}

/// Sum over the chunks of f(rows of the chunk, its mean, its sum of squares) for this thread's channel.
template <class F>
__device__ double sum_over_chunks(const float* partials, std::int64_t rows, std::int64_t channels,
                                  std::int64_t chunk_rows, int chunks, bool inside, F f) {
  constexpr int kAhead = 8;  // loads under way
  double sum = 0;
  const int end = inside ? chunks : 0;
  for (int first = static_cast<int>(threadIdx.y); first < end; first += kAhead * kWarp) {
    float means[kAhead] = {}, squares[kAhead] = {};
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const int chunk = first + i * kWarp;
      if (chunk < end) means[i] = partials[2 * chunk * channels];
      if (chunk < end) squares[i] = partials[(2 * chunk + 1) * channels];
    }
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const int chunk = first + i * kWarp;
      if (chunk >= end) continue;
      const std::int64_t left = rows - chunk * chunk_rows, count = left < chunk_rows ? left : chunk_rows;
      sum += f(static_cast<double>(count), static_cast<double>(means[i]), static_cast<double>(squares[i]));
    }
  }
  return add_up_groups(sum);
}

__global__ void __launch_bounds__(kWarp* kWarp)
    join_chunks_kernel(const float* __restrict__ partials, std::int64_t rows, std::int64_t channels,
                       std::int64_t chunk_rows, int chunks, float* __restrict__ means,
                       float* __restrict__ variances) {
  const std::int64_t channel = std::int64_t{blockIdx.x} * kWarp + threadIdx.x;
  const bool inside = channel < channels;
  const auto sum = [&](auto f) {
    return sum_over_chunks(partials + channel, rows, channels, chunk_rows, chunks, inside, f);
  };
  const auto n = static_cast<double>(rows);
  const double mean = sum([](double count, double of_chunk, double) { return count * of_chunk; }) / n;
  const double squares = sum([=](double count, double of_chunk, double deviations) {
    return deviations + count * (of_chunk - mean) * (of_chunk - mean);
  });
  if (threadIdx.y != 0 || !inside) return;
  means[channel] = static_cast<float>(mean);
  variances[channel] = static_cast<float>(squares / n);
}

}  // namespace

void batch_norm_statistics(const Queue& queue, const ConstView& x, const View& mean, const View& variance,
                           const Workspace& workspace) {
  const auto [rows, channels] = ChannelRows(x);
  dispatch_trained(kOperation, x.dtype, [&, rows = rows, channels = channels]<class T>() {
    if (rows == 0) return;
    require_workspace(kOperation, workspace, batch_norm_bytes(x));
    auto* const partials = static_cast<float*>(workspace.data);
    dispatch_pack<T>(channels_packed<T>(channels, x.data), [&]<int kVec>() {
      const ColumnPlan plan(multiprocessors(), rows, channels, kVec);
      launch(kOperation, queue, chunk_moments_kernel<T, kVec>, grid_of(plan), block_of(plan), 0, x.as<T>(),
             rows, channels, plan.chunk_rows, partials);
      launch(kOperation, queue, join_chunks_kernel, combine_grid(channels), kCombineBlock, 0, partials, rows,
             channels, plan.chunk_rows, plan.chunks, mean.as<float>(), variance.as<float>());
    });
  });
}

}  // namespace reprise::kernels::cuda
