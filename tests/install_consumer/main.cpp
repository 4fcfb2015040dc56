// A project of somebody else: an operation of its own, recorded, replayed and differentiated by an installed
// Reprise.
#include <reprise/reprise.h>

#include <cstdint>
#include <cstdio>
#include <string_view>
#include <vector>

namespace {

namespace rp = reprise;
using rp::kernels::Write;

/// y = scale * x^3, elementwise, on float32 on the CPU.
struct ScaledCube {
  float scale = 1;
  static constexpr std::string_view name = "scaled_cube";

  rp::Saves saves(rp::GradMask) const { return {.inputs = 1}; }

  rp::Specs infer(rp::SpecSpan in) const {
    if (in[0].dtype != rp::DType::float32)
      throw rp::TypeError("[scaled_cube] takes float32: convert with to()");
    return {in[0]};
  }

  void forward(const rp::Exec&, rp::Inputs in, rp::Outputs out) const {
    const auto x = in[0];
    const auto* from = x.as<float>();
    auto* to = out[0].as<float>();
    for (std::int64_t i = 0; i < x.numel(); ++i) to[i] = scale * from[i] * from[i] * from[i];
  }

  void backward(const rp::Exec&, const rp::Saved& saved, rp::OutGrads dy, rp::GradSlots dx) const {
    const auto x = saved.input(0);
    const auto upstream = dy[0];
    const rp::kernels::Target target = dx[0];
    auto* to = target.view.as<float>();
    for (std::int64_t i = 0; i < x.numel(); ++i) {
      const float value = x.as<float>()[i];
      const float gradient = upstream.as<float>()[i] * scale * 3 * value * value;
      to[i] = target.write == Write::accumulate ? to[i] + gradient : gradient;
    }
  }

  bool operator==(const ScaledCube&) const = default;
};

rp::Tensor scaled_cube(const rp::Tensor& x, float scale) { return rp::apply(ScaledCube{.scale = scale}, x); }

/// The gradient of sum(2 (2 x^3)^3) at x, which is 144 x^8, with or without a checkpoint segment around the
/// operations.
std::vector<float> gradient_at(const std::vector<float>& points, bool with_segment) {
  rp::Tensor x = rp::tensor<float>(points, {static_cast<std::int64_t>(points.size())});
  x.set_requires_grad(true);
  const auto twice = [&] { return scaled_cube(scaled_cube(x, 2), 2); };
  const rp::Tensor y = with_segment ? rp::checkpoint::segment("twice", twice) : twice();
  rp::sum(y).backward();
  return x.grad().to_vector<float>();
}

}  // namespace

int main() {
  const std::vector<float> points{-1, 0, 0.5F, 2};
  const std::vector<float> expected{144, 0, 0.5625F, 36864};
  const std::vector<float> plain = gradient_at(points, false);
  const std::vector<float> replayed = gradient_at(points, true);
  if (plain != expected || replayed != expected) {
    std::fprintf(stderr, "wrong gradients\n");
    return 1;
  }
  try {
    scaled_cube(rp::arange(4), 1);
  } catch (const rp::TypeError& error) {
    std::printf("gradients as expected, and: %s\n", error.what());
    return 0;
  }
  std::fprintf(stderr, "int64 was not refused\n");
  return 1;
}
