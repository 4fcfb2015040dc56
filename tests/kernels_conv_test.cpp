// Convolutions and pooling against plain loops in double, through every library.
#include <catch2/catch.hpp>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "kernel_products.h"
#include "reprise/kernels/conv.h"

namespace reprise::kernels {
namespace {

const std::vector<int> kChannelsLast{0, 2, 3, 1};

struct Case {
  std::string name;
  std::int64_t n = 1, ic = 1, oc = 1;
  std::array<std::int64_t, 2> size{}, kernel{};
  Conv2dParams params{};

  std::int64_t out(std::size_t axis) const {
    const std::int64_t reach = params.dilation[axis] * (kernel[axis] - 1) + 1;
    return (size[axis] + 2 * params.padding[axis] - reach) / params.stride[axis] + 1;
  }
};

const std::vector<Case> kCases{
    {"one element", 1, 1, 1, {1, 1}, {1, 1}},
    {"3 x 3, padded", 2, 5, 7, {9, 8}, {3, 3}, {.padding = {1, 1}}},
    {"3 x 3, unpadded", 2, 16, 16, {9, 8}, {3, 3}},
    {"16 to 32, stride 2", 2, 16, 32, {16, 16}, {3, 3}, {.stride = {2, 2}, .padding = {1, 1}}},
    {"33 to 31, odd sizes, stride 2", 1, 33, 31, {13, 11}, {3, 3}, {.stride = {2, 2}, .padding = {1, 1}}},
    {"3 to 16, as the first layer of a network", 3, 3, 16, {32, 32}, {3, 3}, {.padding = {1, 1}}},
    {"7 x 7, stride 2", 1, 3, 64, {30, 30}, {7, 7}, {.stride = {2, 2}, .padding = {3, 3}}},
    {"stride beyond the kernel", 2, 4, 6, {17, 17}, {2, 2}, {.stride = {3, 3}}},
    {"stride 3 leaves a rest", 2, 17, 33, {28, 28}, {3, 3}, {.stride = {3, 3}, .padding = {2, 2}}},
    {"axes differ in everything", 2, 6, 5, {14, 9}, {3, 2}, {{2, 1}, {2, 0}, {1, 3}}},
    {"one row", 2, 8, 8, {1, 20}, {1, 5}, {.padding = {0, 2}}},
    {"dilated", 2, 8, 16, {12, 13}, {3, 3}, {.padding = {2, 2}, .dilation = {2, 2}}},
    {"dilated, stride 2",
     2,
     5,
     7,
     {15, 15},
     {3, 3},
     {.stride = {2, 2}, .padding = {2, 2}, .dilation = {2, 2}}},
    {"kernel as large as the image", 3, 8, 10, {5, 5}, {5, 5}},
    {"padding beyond the image", 1, 4, 4, {2, 2}, {5, 5}, {.padding = {3, 3}}},
    {"groups of 16", 2, 32, 32, {8, 8}, {3, 3}, {.padding = {1, 1}, .groups = 2}},
    {"groups of 5 and 3", 2, 20, 12, {8, 7}, {3, 3}, {.padding = {1, 1}, .groups = 4}},
    {"depthwise", 2, 32, 32, {9, 9}, {3, 3}, {.padding = {1, 1}, .groups = 32}},
    {"depthwise, 5 channels, stride 2",
     2,
     5,
     5,
     {9, 9},
     {3, 3},
     {.stride = {2, 2}, .padding = {1, 1}, .groups = 5}},
    {"depthwise, 2 outputs a channel", 1, 6, 12, {7, 7}, {3, 3}, {.padding = {1, 1}, .groups = 6}},
    {"1 x 1", 3, 33, 17, {6, 5}, {1, 1}},
    {"1 x 1, stride 2", 2, 16, 32, {8, 8}, {1, 1}, {.stride = {2, 2}}},
    {"1 x 1, groups", 2, 12, 8, {5, 5}, {1, 1}, {.groups = 4}},
    {"1 x 1, padded", 2, 3, 4, {5, 5}, {1, 1}, {.padding = {1, 1}}},
    {"weights larger than activations", 1, 64, 64, {3, 3}, {3, 3}, {.padding = {1, 1}}},
    {"no images", 0, 4, 4, {5, 5}, {3, 3}},
    {"no input channels", 2, 0, 4, {5, 5}, {3, 3}},
    {"no output channels", 2, 4, 0, {5, 5}, {3, 3}},
};

/// What a pass should give, and the sums of its terms' absolute values.
struct Reference {
  std::vector<double> values, magnitudes;
  std::int64_t terms = 1;

  explicit Reference(std::int64_t n) : values(static_cast<std::size_t>(n)), magnitudes(values) {}
  void add(std::int64_t at, double term) {
    values[static_cast<std::size_t>(at)] += term;
    magnitudes[static_cast<std::size_t>(at)] += std::abs(term);
  }
};

/// Calls f(element of x, element of w, element of y) for every product of the convolution; elements in
/// row-major order.
template <class F>
void for_each_term(const Case& c, F&& f) {
  const Conv2dParams& p = c.params;
  const std::int64_t out_count = c.oc / p.groups, in_count = c.ic / p.groups;
  for (std::int64_t y = 0; y < c.n * c.oc * c.out(0) * c.out(1); ++y) {
    const std::int64_t ow = y % c.out(1), oh = y / c.out(1) % c.out(0);
    const std::int64_t o = y / (c.out(0) * c.out(1)) % c.oc, image = y / (c.out(0) * c.out(1) * c.oc);
    for (std::int64_t tap = 0; tap < in_count * c.kernel[0] * c.kernel[1]; ++tap) {
      const std::int64_t kw = tap % c.kernel[1], kh = tap / c.kernel[1] % c.kernel[0];
      const std::int64_t i = o / out_count * in_count + tap / (c.kernel[0] * c.kernel[1]);
      const std::int64_t h = oh * p.stride[0] - p.padding[0] + kh * p.dilation[0];
      const std::int64_t w = ow * p.stride[1] - p.padding[1] + kw * p.dilation[1];
      if (h < 0 || h >= c.size[0] || w < 0 || w >= c.size[1]) continue;
      f(((image * c.ic + i) * c.size[0] + h) * c.size[1] + w, o * in_count * c.kernel[0] * c.kernel[1] + tap,
        y);
    }
  }
}

struct Tensors {
  KernelTensor x, w, bias, y;

  Tensors(const Case& c, DType dtype)
      : x(dtype, {c.n, c.ic, c.size[0], c.size[1]}, kChannelsLast),
        w(dtype, {c.oc, c.ic / c.params.groups, c.kernel[0], c.kernel[1]}),
        bias(dtype, {c.oc}),
        y(dtype, {c.n, c.oc, c.out(0), c.out(1)}, kChannelsLast) {
    fill_exact(x, 1);
    fill_exact(w, 2);
    fill_exact(bias, 3);
    fill_exact(y, 4);
  }
};

Reference expect(const Case& c, const Tensors& t, ConvPass pass, bool bias) {
  const std::vector<double> x = t.x.values(), w = t.w.values(), y = t.y.values();
  const auto value = [](const std::vector<double>& from, std::int64_t at) {
    return from[static_cast<std::size_t>(at)];
  };
  Reference result(pass == ConvPass::forward         ? t.y.numel()
                   : pass == ConvPass::backward_data ? t.x.numel()
                                                     : t.w.numel());
  for_each_term(c, [&](std::int64_t at_x, std::int64_t at_w, std::int64_t at_y) {
    if (pass == ConvPass::forward) result.add(at_y, value(x, at_x) * value(w, at_w));
    if (pass == ConvPass::backward_data) result.add(at_x, value(y, at_y) * value(w, at_w));
    if (pass == ConvPass::backward_weight) result.add(at_w, value(y, at_y) * value(x, at_x));
  });
  for (std::int64_t i = 0; bias && i < t.y.numel(); ++i)
    result.add(i, t.bias.get(i / (c.out(0) * c.out(1)) % c.oc));
  const std::int64_t taps = c.kernel[0] * c.kernel[1];
  result.terms = pass == ConvPass::forward         ? c.ic * taps + 1
                 : pass == ConvPass::backward_data ? c.oc * taps
                                                   : c.n * c.out(0) * c.out(1);
  return result;
}

/// Runs a pass into `out`, a copy of the tensor that it makes.
void run(const Case& c, const Tensors& t, ConvPass pass, bool bias, const Target& out,
         const Workspace& workspace) {
  if (pass == ConvPass::forward) {
    conv2d_forward({}, c.params, t.x, t.w, bias ? ConstView(t.bias) : ConstView(), out.view, workspace);
  } else if (pass == ConvPass::backward_data) {
    conv2d_backward_data({}, c.params, t.y, t.w, out, workspace);
  } else {
    conv2d_backward_weight({}, c.params, t.x, t.y, out, workspace);
  }
}

void check(const Case& c, DType dtype, ConvPass pass, bool bias, Write write, const Reference& reference) {
  const Tensors t(c, dtype);
  const KernelTensor& model = pass == ConvPass::forward ? t.y : pass == ConvPass::backward_data ? t.x : t.w;
  KernelTensor out = model;
  const double blank = write == Write::overwrite ? std::nan("") : 0.625;
  out.fill([&](std::int64_t) { return blank; });

  ConstView x = t.x, w = t.w, y = t.y;
  x.data = w.data = y.data = nullptr;
  GuardedWorkspace workspace(conv2d_workspace_bytes(DeviceKind::cpu, pass, c.params, x, w, y, write));
  run(c, t, pass, bias, {out, write}, workspace);

  CHECK(workspace.guards_intact());
  CHECK(out.guards_intact());
  for (std::int64_t i = 0; i < out.numel(); ++i) {
    const double base = write == Write::accumulate ? blank : 0;
    const double expected = base + reference.values[static_cast<std::size_t>(i)];
    const double magnitude = base + reference.magnitudes[static_cast<std::size_t>(i)];
    // Where the result is made in a narrow type and then added, it is rounded twice.
    const double twice = unit_roundoff(dtype) * (std::abs(expected) + base);
    if (!(std::abs(out.get(i) - expected) <=
          sum_tolerance(dtype, reference.terms, magnitude, expected) + twice)) {
      FAIL_CHECK("element " << i << " is " << out.get(i) << ", not " << expected);
      return;
    }
  }
}

/// A pass through every library, in every type.
void check_all(const Case& c, ConvPass pass, bool bias, Write write) {
  // All types hold the numbers exactly, so that one reference serves them all.
  const Reference reference = expect(c, Tensors(c, DType::float64), pass, bias);
  for (const CpuLibrary library : kLibraries) {
    const LibraryScope scope(library);
    for (const DType dtype : kFloatingTypes) {
      INFO(name_of(library) << ", " << c.name << ", " << name_of(dtype) << ", pass " << static_cast<int>(pass)
                            << (write == Write::accumulate ? ", accumulated" : ""));
      check(c, dtype, pass, bias, write, reference);
    }
  }
}

TEST_CASE("convolutions agree with loops in double", "[kernels][conv]") {
  for (const Case& c : kCases) {
    check_all(c, ConvPass::forward, false, Write::overwrite);
    check_all(c, ConvPass::forward, true, Write::overwrite);
    for (const Write write : {Write::overwrite, Write::accumulate}) {
      check_all(c, ConvPass::backward_data, false, write);
      check_all(c, ConvPass::backward_weight, false, write);
    }
  }
}

TEST_CASE("convolutions give the same bits each time", "[kernels][conv]") {
  const Case c{"", 3, 17, 20, {12, 11}, {3, 3}, {.padding = {1, 1}}};
  const Tensors t(c, DType::float32);
  for (const CpuLibrary library : kLibraries) {
    const LibraryScope scope(library);
    for (const int threads : {1, 2, 3}) {
      const ThreadsScope thread_scope(threads);
      for (const ConvPass pass : {ConvPass::forward, ConvPass::backward_data, ConvPass::backward_weight}) {
        KernelTensor first = pass == ConvPass::forward ? t.y : pass == ConvPass::backward_data ? t.x : t.w;
        KernelTensor second = first;
        for (const KernelTensor* out : {&first, &second}) {
          GuardedWorkspace workspace(
              conv2d_workspace_bytes(DeviceKind::cpu, pass, c.params, t.x, t.w, t.y, Write::overwrite));
          run(c, t, pass, false, {*out}, workspace);
          CHECK(workspace.guards_intact());
        }
        INFO(name_of(library) << ", " << threads << " threads, pass " << static_cast<int>(pass));
        CHECK(first.same_bytes(second));
      }
    }
  }
}

struct PoolCase {
  std::int64_t n = 1, channels = 1;
  std::array<std::int64_t, 2> size{};
  Pool2dParams params{};

  std::int64_t out(std::size_t axis) const {
    return (size[axis] + 2 * params.padding[axis] - params.kernel[axis]) / params.stride[axis] + 1;
  }
};

const std::vector<PoolCase> kPoolCases{
    {1, 1, {2, 2}},
    {2, 3, {8, 6}},
    {2, 31, {9, 7}},
    {2, 33, {12, 12}, {{3, 3}, {2, 2}, {1, 1}}},
    {2, 32, {12, 12}, {{3, 3}, {2, 2}, {1, 1}, false}},
    {1, 5, {7, 9}, {{3, 2}, {1, 1}, {1, 0}, false}},
    {1, 5, {9, 9}, {{2, 2}, {3, 3}}},
    {3, 40, {7, 7}, {{7, 7}, {7, 7}}},
    {1, 1100, {4, 4}, {{2, 2}, {1, 1}}},
    {0, 4, {4, 4}},
    {2, 0, {4, 4}},
};

/// Calls f(element of y, element of x, position h * W + w) for every element of every window, in order.
template <class F>
void for_each_pooled(const PoolCase& c, F&& f) {
  for (std::int64_t y = 0; y < c.n * c.channels * c.out(0) * c.out(1); ++y) {
    const std::int64_t ow = y % c.out(1), oh = y / c.out(1) % c.out(0), plane = y / (c.out(0) * c.out(1));
    for (std::int64_t tap = 0; tap < c.params.kernel[0] * c.params.kernel[1]; ++tap) {
      const std::int64_t h = oh * c.params.stride[0] - c.params.padding[0] + tap / c.params.kernel[1];
      const std::int64_t w = ow * c.params.stride[1] - c.params.padding[1] + tap % c.params.kernel[1];
      if (h < 0 || h >= c.size[0] || w < 0 || w >= c.size[1]) continue;
      f(y, (plane * c.size[0] + h) * c.size[1] + w, h * c.size[1] + w);
    }
  }
}

struct PoolTensors {
  KernelTensor x, y, index, dy, dx;

  PoolTensors(const PoolCase& c, DType dtype)
      : x(dtype, {c.n, c.channels, c.size[0], c.size[1]}, kChannelsLast),
        y(dtype, {c.n, c.channels, c.out(0), c.out(1)}, kChannelsLast),
        index(DType::int32, {c.n, c.channels, c.out(0), c.out(1)}, kChannelsLast),
        dy(y),
        dx(x) {
    fill_exact(x, 1);  // with many ties
    fill_exact(dy, 2);
  }
};

/// Checks dx (overwritten or added to) against the sum of what each of y's elements passes on.
void check_pool_gradient(const PoolTensors& t, DType dtype, const std::vector<double>& expected,
                         Write write) {
  CHECK(t.dx.guards_intact());
  for (std::int64_t i = 0; i < t.dx.numel(); ++i) {
    const double sum = expected[static_cast<std::size_t>(i)] + (write == Write::accumulate ? 0.5 : 0);
    REQUIRE(std::abs(t.dx.get(i) - sum) <= sum_tolerance(dtype, 16, 8, sum));
  }
}

TEST_CASE("max pooling takes the first maximum, and its gradient goes there", "[kernels][conv]") {
  for (const PoolCase& c : kPoolCases) {
    for (const DType dtype : kFloatingTypes) {
      for (const Write write : {Write::overwrite, Write::accumulate}) {
        INFO(c.n << " x " << c.channels << " x " << c.size[0] << " x " << c.size[1] << ", "
                 << name_of(dtype));
        PoolTensors t(c, dtype);
        std::vector<double> best(static_cast<std::size_t>(t.y.numel()),
                                 -std::numeric_limits<double>::infinity());
        std::vector<std::int64_t> position(best.size()), winner(best.size());
        for_each_pooled(c, [&](std::int64_t y, std::int64_t x, std::int64_t at) {
          const auto i = static_cast<std::size_t>(y);
          if (t.x.get(x) <= best[i]) return;
          best[i] = t.x.get(x);
          position[i] = at;
          winner[i] = x;
        });
        max_pool2d_forward({}, c.params, t.x, t.y, t.index);
        CHECK(t.y.guards_intact());
        CHECK(t.index.guards_intact());
        std::vector<double> dx(static_cast<std::size_t>(t.dx.numel()));
        for (std::int64_t i = 0; i < t.y.numel(); ++i) {
          REQUIRE(t.y.get(i) == best[static_cast<std::size_t>(i)]);
          REQUIRE(t.index.get(i) == static_cast<double>(position[static_cast<std::size_t>(i)]));
          dx[static_cast<std::size_t>(winner[static_cast<std::size_t>(i)])] += t.dy.get(i);
        }
        if (write == Write::accumulate) t.dx.fill([](std::int64_t) { return 0.5; });
        max_pool2d_backward({}, c.params, t.index, t.dy, {t.dx, write});
        check_pool_gradient(t, dtype, dx, write);
      }
    }
  }
}

TEST_CASE("max pooling hands NaN on, and finds a maximum among infinities", "[kernels][conv]") {
  const double nan = std::nan(""), infinity = std::numeric_limits<double>::infinity();
  struct Window {
    std::vector<double> x;
    double maximum, index;
  };
  const std::vector<Window> windows{{{1, nan, 5, nan}, nan, 1},
                                    {{nan, 1, 2, 3}, nan, 0},
                                    {{1, 2, 3, nan}, nan, 3},
                                    {{-infinity, -infinity, -infinity, -infinity}, -infinity, 0},
                                    {{-infinity, 2, infinity, 3}, infinity, 2},
                                    {{4, 4, 4, 4}, 4, 0}};
  for (const DType dtype : kFloatingTypes) {
    for (const Window& window : windows) {
      KernelTensor x(dtype, {1, 1, 2, 2}, kChannelsLast), y(dtype, {1, 1, 1, 1}, kChannelsLast);
      KernelTensor index(DType::int32, {1, 1, 1, 1}, kChannelsLast);
      x.fill([&](std::int64_t i) { return window.x[static_cast<std::size_t>(i)]; });
      max_pool2d_forward({}, {}, x, y, index);
      CHECK((std::isnan(window.maximum) ? std::isnan(y.get(0)) : y.get(0) == window.maximum));
      CHECK(index.get(0) == window.index);
    }
  }
}

TEST_CASE("average pooling divides by the window, and spreads its gradient", "[kernels][conv]") {
  for (const PoolCase& c : kPoolCases) {
    for (const DType dtype : kFloatingTypes) {
      for (const Write write : {Write::overwrite, Write::accumulate}) {
        INFO(c.n << " x " << c.channels << " x " << c.size[0] << " x " << c.size[1] << ", "
                 << name_of(dtype));
        PoolTensors t(c, dtype);
        std::vector<double> sum(static_cast<std::size_t>(t.y.numel())), count(sum.size());
        for_each_pooled(c, [&](std::int64_t y, std::int64_t x, std::int64_t) {
          sum[static_cast<std::size_t>(y)] += t.x.get(x);
          count[static_cast<std::size_t>(y)] += 1;
        });
        if (c.params.count_padding) {
          for (double& number : count) number = static_cast<double>(c.params.kernel[0] * c.params.kernel[1]);
        }
        std::vector<double> dx(static_cast<std::size_t>(t.dx.numel()));
        for_each_pooled(c, [&](std::int64_t y, std::int64_t x, std::int64_t) {
          dx[static_cast<std::size_t>(x)] += t.dy.get(y) / count[static_cast<std::size_t>(y)];
        });
        avg_pool2d_forward({}, c.params, t.x, t.y);
        CHECK(t.y.guards_intact());
        for (std::int64_t i = 0; i < t.y.numel(); ++i) {
          const double expected = sum[static_cast<std::size_t>(i)] / count[static_cast<std::size_t>(i)];
          REQUIRE(std::abs(t.y.get(i) - expected) <= sum_tolerance(dtype, 49, 1, expected));
        }
        if (write == Write::accumulate) t.dx.fill([](std::int64_t) { return 0.5; });
        avg_pool2d_backward({}, c.params, t.dy, {t.dx, write});
        check_pool_gradient(t, dtype, dx, write);
      }
    }
  }
}

}  // namespace
}  // namespace reprise::kernels
