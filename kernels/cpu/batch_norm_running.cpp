// Batch norm's running statistics: few numbers, by one thread.
#include <cmath>

#include "reprise/kernels/norm.h"

namespace reprise::kernels::cpu {
namespace {

/// running = keep running + add batch, rounded as on every device: fma() leaves the compiler no choice.
template <class T>
void fold(double keep, double add, const ConstView& batch, const View& running) {
  using C = Compute<T>;
  const C old_share = static_cast<C>(keep), new_share = static_cast<C>(add);
  for (std::int64_t channel = 0; channel < running.sizes[0]; ++channel) {
    T& value = running.as<T>()[channel * running.strides[0]];
    const C of_batch = static_cast<C>(batch.as<T>()[channel * batch.strides[0]]);
    value = static_cast<T>(std::fma(new_share, of_batch, old_share * static_cast<C>(value)));
  }
}

}  // namespace

void batch_norm_running(const Queue&, double momentum, double unbias, const ConstView& mean,
                        const ConstView& variance, const View& running_mean, const View& running_variance,
                        const View& batches) {
  dispatch_floating(running_mean.dtype, [&]<class T>() {
    fold<T>(1 - momentum, momentum, mean, running_mean);
    fold<T>(1 - momentum, momentum * unbias, variance, running_variance);
  });
  ++*batches.as<std::int64_t>();
}

}  // namespace reprise::kernels::cpu
