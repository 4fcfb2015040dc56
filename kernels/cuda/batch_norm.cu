// Batch norm's map and its gradients, x being (rows, C):
//   y = (x - mean) * scale + bias, scale = weight * rstd, rstd = 1 / sqrt(variance + eps), relu where asked
//   for dx = scale * (dy - offset - (x - mean) * slope), dweight = rstd * sum dy * (x - mean), dbias = sum dy
// with dy masked by the sign of the output, which is computed again. A thread owns a pack of channels, whose
// parameters stay in registers, and walks down some rows, see columns.cuh.
#include "cuda/batch_norm_columns.cuh"

namespace reprise::kernels::cuda {

namespace {

constexpr int kUnrolled = 4;
/// Blocks of a multiprocessor that write every element: more than it takes at once, so that they end evenly.
constexpr int kMapBlocks = 8;

/// The map from x to y, as a kernel gets it.
template <class T>
struct BatchNormMap {
  const float *mean, *variance;
  const T *weight, *bias;
  float eps;

  __device__ float rstd(std::int64_t channel) const { return 1.0f / sqrtf(variance[channel] + eps); }
};

/// Its numbers for a pack of channels.
template <int kVec>
struct ChannelMap {
  float mean[kVec], scale[kVec], bias[kVec];

  template <class T>
  __device__ ChannelMap(const BatchNormMap<T>& map, std::int64_t channel) {
    read_parameters<kVec>(map.weight, channel, 1.0f, scale);
    read_parameters<kVec>(map.bias, channel, 0.0f, bias);
#pragma unroll
    for (int i = 0; i < kVec; ++i) {
      mean[i] = map.mean[channel + i];
      scale[i] *= map.rstd(channel + i);
    }
  }
  /// Turns x into x - mean, and clears dy where relu cut the output off (NaN passes).
  template <bool kRelu>
  __device__ __forceinline__ void mask(float (&x)[kVec], float (&dy)[kVec]) const {
#pragma unroll
    for (int i = 0; i < kVec; ++i) {
      x[i] -= mean[i];
      if (kRelu && x[i] * scale[i] + bias[i] <= 0.0f) dy[i] = 0;
    }
  }
};

template <class T, int kVec, bool kRelu>
__global__ void __launch_bounds__(kColumnThreads, kColumnBlocks)
    batch_norm_apply_kernel(BatchNormMap<T> map, const T* __restrict__ x, T* __restrict__ y,
                            std::int64_t rows, std::int64_t channels, std::int64_t chunk_rows) {
  const ColumnTask task(kVec, rows, chunk_rows);
  if (task.column >= channels) return;
  const ChannelMap<kVec> channel(map, task.column);
#pragma unroll kUnrolled
  for (std::int64_t row = task.begin; row < task.end; row += blockDim.y) {
    float values[kVec];
    convert(read_pack<kVec>(x + row * channels + task.column), values);
#pragma unroll
    for (int i = 0; i < kVec; ++i) {
      const float value = (values[i] - channel.mean[i]) * channel.scale[i] + channel.bias[i];
      values[i] = kRelu && value <= 0.0f ? 0.0f : value;
    }
    write_values(y + row * channels + task.column, values, false);
  }
}

/// What the backward pass reads and writes.
template <class T>
struct BatchNormGradients {
  BatchNormMap<T> map;
  const T *x, *dy;
  T* dx;                           // may be dy
  float *partials, *offset_slope;  // of chunks: sums of dy and of dy * (x - mean); (2, C)
  std::int64_t rows, channels, chunk_rows;
  bool accumulate;
};

template <class T, int kVec, bool kRelu>
__global__ void __launch_bounds__(kColumnThreads, kColumnBlocks)
    chunk_gradients_kernel(BatchNormGradients<T> call) {
  const ColumnTask task(kVec, call.rows, call.chunk_rows);
  const bool inside = task.column < call.channels;
  float sums[2 * kVec] = {};
  if (inside) {
    const ChannelMap<kVec> channel(call.map, task.column);
    const T* const __restrict__ from = call.x + task.column, * const __restrict__ grads =
                                                                 call.dy + task.column;
#pragma unroll kUnrolled
    for (std::int64_t row = task.begin; row < task.end; row += blockDim.y) {
      float x[kVec], dy[kVec];
      convert(read_pack<kVec>(from + row * call.channels), x);
      convert(read_pack<kVec>(grads + row * call.channels), dy);
      channel.template mask<kRelu>(x, dy);
#pragma unroll
      for (int i = 0; i < kVec; ++i) {
        sums[i] += dy[i];
        sums[kVec + i] += dy[i] * x[i];
      }
    }
  }
  add_up_rows(sums);
  if (threadIdx.y != 0 || !inside) return;
  float* const to = call.partials + 2 * blockIdx.y * call.channels + task.column;
#pragma unroll
  for (int i = 0; i < kVec; ++i) {
    to[i] = sums[i];
    to[call.channels + i] = sums[kVec + i];
  }
}

/// A parameter's gradient; null where it is not wanted.
template <class T>
struct ParameterGradient {
  T* to;
  std::int64_t step;
  bool accumulate;

  explicit ParameterGradient(const Target& target)
      : to(target.view.as<T>()),
        step(target.view.strides[0]),
        accumulate(target.write == Write::accumulate) {}
  __device__ void write(std::int64_t channel, float value) const {
    if (to == nullptr) return;
    T& result = to[channel * step];
    result = from_compute<T>(accumulate ? to_compute(result) + value : value);
  }
};

/// Adds the chunks up: dweight, dbias, and what dx needs.
template <class T>
__global__ void __launch_bounds__(kWarp* kWarp)
    combine_gradients_kernel(BatchNormGradients<T> call, int chunks, bool training,
                             ParameterGradient<T> dweight, ParameterGradient<T> dbias) {
  const std::int64_t channel = std::int64_t{blockIdx.x} * kWarp + threadIdx.x, channels = call.channels;
  const bool inside = channel < channels;
  const double sum = add_up_chunks(call.partials, channel, chunks, 2 * channels, inside);
  const double product = add_up_chunks(call.partials, channels + channel, chunks, 2 * channels, inside);
  if (threadIdx.y != 0 || !inside) return;
  const auto rstd = static_cast<double>(call.map.rstd(channel)), rows = static_cast<double>(call.rows);
  dweight.write(channel, static_cast<float>(product * rstd));
  dbias.write(channel, static_cast<float>(sum));
  if (!training || call.rows == 0) return;
  call.offset_slope[channel] = static_cast<float>(sum / rows);
  call.offset_slope[channels + channel] = static_cast<float>(product * rstd * rstd / rows);
}

/// dx; in training with the offset and the slope that keep mean and variance in place, else without either,
/// whatever x is.
template <class T, int kVec, bool kRelu, bool kTraining>
__global__ void __launch_bounds__(kColumnThreads, 2) batch_norm_dx_kernel(BatchNormGradients<T> call) {
  const ColumnTask task(kVec, call.rows, call.chunk_rows);
  if (task.column >= call.channels) return;
  const ChannelMap<kVec> channel(call.map, task.column);
  float offset[kVec], slope[kVec];
#pragma unroll
  for (int i = 0; i < kVec; ++i) {
    offset[i] = kTraining ? call.offset_slope[task.column + i] : 0.0f;
    slope[i] = kTraining ? call.offset_slope[call.channels + task.column + i] : 0.0f;
  }
  for (std::int64_t first = task.begin; first < task.end; first += kUnrolled * blockDim.y) {
    // All loads come before the first store, as dx may be dy.
    Pack<T, kVec> x[kUnrolled], dy[kUnrolled];
#pragma unroll
    for (int i = 0; i < kUnrolled; ++i) {
      const std::int64_t row = first + i * blockDim.y;
      if (row >= task.end) continue;
      x[i] = read_pack<kVec>(call.x + row * call.channels + task.column);
      dy[i] = read_pack<kVec>(call.dy + row * call.channels + task.column);
    }
#pragma unroll
    for (int i = 0; i < kUnrolled; ++i) {
      const std::int64_t row = first + i * blockDim.y;
      if (row >= task.end) continue;
      float distance[kVec], grad[kVec];
      convert(x[i], distance);
      convert(dy[i], grad);
      channel.template mask<kRelu>(distance, grad);
#pragma unroll
      for (int k = 0; k < kVec; ++k) {
        if (kTraining) grad[k] = (grad[k] - offset[k]) - distance[k] * slope[k];
        grad[k] *= channel.scale[k];
      }
      write_values(call.dx + row * call.channels + task.column, grad, call.accumulate);
    }
  }
}

template <class F>
void dispatch_relu(bool relu, F&& f) {
  if (relu)
    f.template operator()<true>();
  else
    f.template operator()<false>();
}

}  // namespace

void batch_norm_apply(const Queue& queue, double eps, bool relu, const ConstView& x, const ConstView& mean,
                      const ConstView& variance, const ConstView& weight, const ConstView& bias,
                      const View& y) {
  const auto [rows, channels] = ChannelRows(x);
  dispatch_trained("batch_norm", x.dtype, [&, rows = rows, channels = channels]<class T>() {
    const BatchNormMap<T> map{mean.as<float>(), variance.as<float>(), weight.as<T>(), bias.as<T>(),
                              static_cast<float>(eps)};
    const bool packed = channels_packed<T>(channels, x.data, y.data, weight.data, bias.data);
    dispatch_pack<T>(packed, [&]<int kVec>() {
      dispatch_relu(relu, [&]<bool kRelu>() {
        const ColumnPlan plan(multiprocessors(), rows, channels, kVec, false, kMapBlocks);
        launch("batch_norm", queue, batch_norm_apply_kernel<T, kVec, kRelu>, grid_of(plan), block_of(plan), 0,
               map, x.as<T>(), y.as<T>(), rows, channels, plan.chunk_rows);
      });
    });
  });
}

void batch_norm_backward(const Queue& queue, double eps, bool relu, bool training, const ConstView& x,
                         const ConstView& mean, const ConstView& variance, const ConstView& weight,
                         const ConstView& bias, const ConstView& dy, const Target& dx, const Target& dweight,
                         const Target& dbias, const Workspace& workspace) {
  constexpr const char* kOperation = "batch_norm_backward";
  const auto [rows, channels] = ChannelRows(x);
  dispatch_trained(kOperation, x.dtype, [&, rows = rows, channels = channels]<class T>() {
    if (channels == 0) return;
    require_workspace(kOperation, workspace, batch_norm_bytes(x));
    auto* const offset_slope = static_cast<float*>(workspace.data);
    BatchNormGradients<T> call{
        {mean.as<float>(), variance.as<float>(), weight.as<T>(), bias.as<T>(), static_cast<float>(eps)},
        x.as<T>(),
        dy.as<T>(),
        dx.view.as<T>(),
        offset_slope + offset_slope_floats(channels),
        offset_slope,
        rows,
        channels,
        0,
        dx.write == Write::accumulate};
    const bool packed = channels_packed<T>(channels, x.data, dy.data, dx.view.data, weight.data, bias.data);
    dispatch_pack<T>(packed, [&]<int kVec>() {
      dispatch_relu(relu, [&]<bool kRelu>() {
        const ColumnPlan plan(multiprocessors(), rows, channels, kVec);
        call.chunk_rows = plan.chunk_rows;
        if (dweight || dbias || (training && dx)) {
          launch(kOperation, queue, chunk_gradients_kernel<T, kVec, kRelu>, grid_of(plan), block_of(plan), 0,
                 call);
          launch(kOperation, queue, combine_gradients_kernel<T>, combine_grid(channels), kCombineBlock, 0,
                 call, plan.chunks, training, ParameterGradient<T>(dweight), ParameterGradient<T>(dbias));
        }
        if (dx) {
          const ColumnPlan map(multiprocessors(), rows, channels, kVec, false, kMapBlocks);
          call.chunk_rows = map.chunk_rows;
          launch(kOperation, queue,
                 training ? batch_norm_dx_kernel<T, kVec, kRelu, true>
                          : batch_norm_dx_kernel<T, kVec, kRelu, false>,
                 grid_of(map), block_of(map), 0, call);
        }
      });
    });
  });
}

}  // namespace reprise::kernels::cuda
