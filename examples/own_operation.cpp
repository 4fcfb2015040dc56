// An operation of one's own: a plain struct that says what comes out, what backward reads, and how both are
// computed. It records, replays inside segments and takes part in statistics and predictions like any other.
// Whatever order its inputs have in memory (transposed, sliced, channels-last), it sees them row-major.
#include <cmath>
#include <cstdio>

#include "reprise/reprise.h"

using namespace reprise;

namespace {

/// y = log(1 + exp(x)), elementwise, float32.
struct Softplus {
  static constexpr std::string_view name = "softplus";
  static constexpr bool cheap = true;  // worth computing again even where time is dear

  Specs infer(SpecSpan in) const {
    if (in[0].dtype != DType::float32)
      throw TypeError("[softplus] takes float32 tensors; convert with to(DType::float32)");
    return {in[0]};
  }

  Saves saves(GradMask) const { return {.inputs = 1}; }

  void forward(const Exec&, Inputs in, Outputs out) const {
    const kernels::ConstView x = in[0];
    for (std::int64_t i = 0; i < x.numel(); ++i)
      out[0].as<float>()[i] = std::log1p(std::exp(x.as<float>()[i]));
  }

  void backward(const Exec&, const Saved& saved, OutGrads grads, GradSlots slots) const {
    const kernels::ConstView x = saved.input(0);
    const kernels::ConstView dy = grads[0];
    const kernels::Target dx = slots[0];
    for (std::int64_t i = 0; i < x.numel(); ++i) {
      const float gradient = dy.as<float>()[i] / (1 + std::exp(-x.as<float>()[i]));
      float& to = dx.view.as<float>()[i];
      to = dx.write == kernels::Write::accumulate ? to + gradient : gradient;
    }
  }

  bool operator==(const Softplus&) const = default;
};

Tensor softplus(const Tensor& x) { return apply(Softplus{}, x); }

}  // namespace

int main() {
  Tensor x = tensor<float>({-2, -1, 0, 1, 2}, {5});
  x.set_requires_grad(true);
  // A single segment would be spared, as backward needs it first; here the replay is to be seen.
  const Tensor y =
      checkpoint::segment("twice", [&] { return sum(softplus(softplus(x))); }, {.spare_last = false});
  y.backward();
  // The derivative is the sigmoid, in the order of the elements, not of their memory.
  Tensor images = to_channels_last(reshape(arange(24, {.dtype = DType::float32}), {1, 2, 3, 4}) * 0.25 - 3.0);
  images.set_requires_grad(true);
  sum(softplus(images)).backward();
  const float error = max(abs(images.grad() - sigmoid(images.detach()))).item<float>();
  std::printf("channels-last: gradient within %.0e of the sigmoid\n", static_cast<double>(error));
  std::printf("%s\nreplayed nodes: %lld\n", to_string(x.grad()).c_str(),
              static_cast<long long>(tape_counters().replayed_nodes));
  // What a step takes on a device that need not be there: forward and backward above are not called for it.
  const checkpoint::Prediction step = checkpoint::predict(parse_profile("24GiB"), [] {
    const Tensor wide = randn({4096, 4096}).set_requires_grad(true);
    return [=](checkpoint::PhaseMeter&) { sum(softplus(softplus(wide))).backward(); };
  });
  std::printf("predicted peak: %s\n", format_bytes(step.memory.all.allocated.peak).c_str());
  return 0;
}
