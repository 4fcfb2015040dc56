// Batch norm's running statistics: one small kernel for all that a layer keeps, a thread for each channel.
#include "cuda/element.cuh"
#include "cuda/launch.h"
#include "reprise/kernels/norm.h"

namespace reprise::kernels::cuda {
namespace {

constexpr const char* kOperation = "batch_norm_running";
constexpr int kBlock = 128;

__device__ __forceinline__ float fused(float a, float b, float c) { return fmaf(a, b, c); }
__device__ __forceinline__ double fused(double a, double b, double c) { return fma(a, b, c); }

/// What a running statistic is made of; strides are from channel to channel.
template <class T>
struct Fold {
  ComputeOf<T> keep, add;
  const T* batch;
  T* running;
  std::int64_t batch_stride, running_stride;

  Fold(double old_share, double new_share, const ConstView& from, const View& to)
      : keep(static_cast<ComputeOf<T>>(old_share)),
        add(static_cast<ComputeOf<T>>(new_share)),
        batch(from.as<T>()),
        running(to.as<T>()),
        batch_stride(from.strides[0]),
        running_stride(to.strides[0]) {}

  /// running = keep running + add batch, rounded as on every device: fma leaves the compiler no choice.
  __device__ __forceinline__ void operator()(std::int64_t channel) const {
    T& value = running[channel * running_stride];
    const ComputeOf<T> of_batch = to_compute(batch[channel * batch_stride]);
    value = from_compute<T>(fused(add, of_batch, keep * to_compute(value)));
  }
};

template <class T>
__global__ void __launch_bounds__(kBlock)
    fold_statistics_kernel(Fold<T> mean, Fold<T> variance, std::int64_t channels, std::int64_t* batches) {
  const std::int64_t channel = std::int64_t{blockIdx.x} * kBlock + threadIdx.x;
  if (channel == 0) ++*batches;
  if (channel >= channels) return;
  mean(channel);
  variance(channel);
}

}  // namespace

void batch_norm_running(const Queue& queue, double momentum, double unbias, const ConstView& mean,
                        const ConstView& variance, const View& running_mean, const View& running_variance,
                        const View& batches) {
  const std::int64_t channels = running_mean.sizes[0];
  const dim3 grid(static_cast<unsigned>(std::max<std::int64_t>(1, ceil_div(channels, kBlock))));
  const auto fold = [&]<class T>() {
    launch(kOperation, queue, fold_statistics_kernel<T>, grid, dim3(kBlock), 0,
           Fold<T>(1 - momentum, momentum, mean, running_mean),
           Fold<T>(1 - momentum, momentum * unbias, variance, running_variance), channels,
           batches.as<std::int64_t>());
  };
  if (running_mean.dtype == DType::float64) return fold.template operator()<double>();
  dispatch_trained(kOperation, running_mean.dtype, fold);
}

}  // namespace reprise::kernels::cuda
