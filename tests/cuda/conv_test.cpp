// cuDNN's convolutions beside the CPU's, all three passes. The numbers are such that all sums are exact.
#include "reprise/kernels/conv.h"

#include "harness.h"
#include "reprise/error.h"
#include "reprise/kernels/device.h"
#if defined(REPRISE_SIMT)
#include "simt/runtime/control.h"
#endif

namespace reprise::test {
namespace {

using kernels::Conv2dParams;
using kernels::ConvPass;
using kernels::Write;
using Sizes = Twin::Sizes;

constexpr Write kWrites[] = {Write::overwrite, Write::accumulate};

/// A convolution of x (n, c, h, w) with weights (o, c / groups, kh, kw).
struct Case {
  const char* what;
  std::array<std::int64_t, 4> x, w;
  Conv2dParams params = {};
  std::int64_t offset = 0;  // elements that spoil the alignment of x, y and the weights
  std::int64_t bias_stride = 1;
};

const Case kCases[] = {
    {"one pixel", {1, 1, 1, 1}, {1, 1, 1, 1}},
    {"plain", {2, 3, 7, 6}, {5, 3, 3, 2}},
    {"padded", {2, 4, 5, 5}, {8, 4, 3, 3}, {.padding = {1, 1}}},
    {"strides", {2, 3, 9, 8}, {4, 3, 3, 3}, {.stride = {2, 3}, .padding = {1, 0}}},
    {"dilated", {1, 2, 9, 9}, {3, 2, 3, 2}, {.padding = {0, 2}, .dilation = {2, 3}}},
    {"groups", {2, 6, 5, 5}, {4, 3, 3, 3}, {.padding = {1, 1}, .groups = 2}},
    {"depthwise", {2, 4, 5, 5}, {4, 1, 3, 3}, {.padding = {1, 1}, .groups = 4}},
    {"pointwise", {2, 5, 4, 3}, {7, 5, 1, 1}},
    {"pointwise with strides", {2, 5, 4, 3}, {7, 5, 1, 1}, {.stride = {2, 2}}},
    {"one channel", {2, 1, 6, 6}, {3, 1, 3, 3}},
    {"window of the whole image", {3, 4, 3, 5}, {6, 4, 3, 5}},
    {"nothing aligned", {2, 3, 5, 5}, {4, 3, 3, 3}, {.padding = {1, 1}}, 1},
    {"bias scattered", {2, 3, 5, 5}, {4, 3, 3, 3}, {}, 0, 2},
    {"no images", {0, 3, 5, 5}, {4, 3, 3, 3}},
    {"no channels", {2, 0, 5, 5}, {4, 0, 3, 3}},
};

std::int64_t positions(const Case& test, std::size_t k) {
  const Conv2dParams& p = test.params;
  return (test.x[2 + k] + 2 * p.padding[k] - p.dilation[k] * (test.w[2 + k] - 1) - 1) / p.stride[k] + 1;
}

Twin filled(Twin twin, std::int64_t seed) {
  twin.assign([&](std::int64_t i) { return static_cast<double>((i * 37 + seed * 11) % 29 - 14) / 16; });
  return twin;
}

Twin images(DType dtype, std::int64_t n, std::int64_t c, std::int64_t h, std::int64_t w, std::int64_t offset,
            std::int64_t seed) {
  return filled(Twin(dtype, {n, c, h, w}, {c * h * w, 1, w * c, c}, offset), seed);
}

/// The tensors of one case.
struct Tensors {
  Tensors(const Case& test, DType dtype)
      : params(test.params),
        x(images(dtype, test.x[0], test.x[1], test.x[2], test.x[3], test.offset, 1)),
        y(images(dtype, test.x[0], test.w[0], positions(test, 0), positions(test, 1), test.offset, 2)),
        w(filled(Twin(dtype, Sizes(test.w.begin(), test.w.end()), {}, test.offset), 3)),
        bias(filled(Twin(dtype, {test.w[0]}, {test.bias_stride}), 4)) {}

  TwinWorkspace workspace(ConvPass pass, Write write) {
    const auto bytes = [&](DeviceKind device, const auto& view) {
      return kernels::conv2d_workspace_bytes(device, pass, params, view(x), view(w), view(y), write);
    };
    return {bytes(DeviceKind::cpu, [](Twin& twin) { return twin.cpu(); }),
            bytes(DeviceKind::cuda, [](Twin& twin) { return twin.cuda(); })};
  }

  Conv2dParams params;
  Twin x, y, w, bias;
};

void check_forward(const Queues& queues, Tensors t, bool with_bias) {
  TwinWorkspace workspace = t.workspace(ConvPass::forward, Write::overwrite);
  const auto bias = [&](const kernels::View& view) { return with_bias ? view : kernels::View(); };
  kernels::conv2d_forward(queues.cpu(), t.params, t.x.cpu(), t.w.cpu(), bias(t.bias.cpu()), t.y.cpu(),
                          workspace.cpu());
  kernels::conv2d_forward(queues.cuda(), t.params, t.x.cuda(), t.w.cuda(), bias(t.bias.cuda()), t.y.cuda(),
                          workspace.cuda());
  queues.wait();
  t.y.check_close();
}

void check_backward_data(const Queues& queues, Tensors t, Write write) {
  TwinWorkspace workspace = t.workspace(ConvPass::backward_data, write);
  kernels::conv2d_backward_data(queues.cpu(), t.params, t.y.cpu(), t.w.cpu(), t.x.cpu(write),
                                workspace.cpu());
  kernels::conv2d_backward_data(queues.cuda(), t.params, t.y.cuda(), t.w.cuda(), t.x.cuda(write),
                                workspace.cuda());
  queues.wait();
  t.x.check_close();
}

void check_backward_weight(const Queues& queues, Tensors t, Write write) {
  TwinWorkspace workspace = t.workspace(ConvPass::backward_weight, write);
  kernels::conv2d_backward_weight(queues.cpu(), t.params, t.x.cpu(), t.y.cpu(), t.w.cpu(write),
                                  workspace.cpu());
  kernels::conv2d_backward_weight(queues.cuda(), t.params, t.x.cuda(), t.y.cuda(), t.w.cuda(write),
                                  workspace.cuda());
  queues.wait();
  t.w.check_close();
}

TEST_CASE("convolutions agree with the CPU's", "[simt][cuda]") {
  const Queues queues;
  for (const Case& test : kCases) {
    for (const DType dtype : kTrained) {
      INFO(test.what << ", " << name_of(dtype));
      for (const bool with_bias : {false, true}) {
        INFO("forward" << (with_bias ? ", bias" : ""));
        check_forward(queues, Tensors(test, dtype), with_bias);
      }
      for (const Write write : kWrites) {
        INFO("backward" << (write == Write::accumulate ? ", added" : ""));
        check_backward_data(queues, Tensors(test, dtype), write);
        check_backward_weight(queues, Tensors(test, dtype), write);
      }
    }
  }
}

/// Channels that are filled up to eights in 16 bits, on either side or on both, or are not.
std::vector<Case> filled_cases() {
  std::vector<Case> cases;
  for (const std::int64_t in : {1, 3, 5, 8, 9}) {
    for (const std::int64_t out : {1, 8, 12}) {
      cases.push_back({"odd sizes", {2, in, 7, 5}, {out, in, 3, 2}});
      cases.push_back({"strides", {3, in, 9, 7}, {out, in, 3, 3}, {.stride = {2, 2}, .padding = {1, 2}}});
      cases.push_back({"dilated, nothing aligned", {1, in, 9, 8}, {out, in, 2, 3}, {.dilation = {2, 1}}, 1});
    }
  }
  cases.push_back(
      {"the first layer of a network", {2, 3, 21, 23}, {64, 3, 7, 7}, {.stride = {2, 2}, .padding = {3, 3}}});
  cases.push_back({"bias scattered", {2, 3, 5, 5}, {5, 3, 3, 3}, {}, 0, 2});
  cases.push_back({"several blocks", {3, 3, 41, 37}, {8, 3, 1, 3}});
  return cases;
}

TEST_CASE("channels are filled up for tensor cores in 16 bits", "[simt][cuda]") {
  const Queues queues;
  for (const Case& test : filled_cases()) {
    for (const DType dtype : {DType::bfloat16, DType::float16}) {
      INFO(test.what << ", " << test.w[1] << " to " << test.w[0] << ", " << name_of(dtype));
#if defined(REPRISE_SIMT)
      simt::runtime::reset_calls();
#endif
      for (const bool with_bias : {false, true}) check_forward(queues, Tensors(test, dtype), with_bias);
      for (const Write write : kWrites) {
        check_backward_data(queues, Tensors(test, dtype), write);
        check_backward_weight(queues, Tensors(test, dtype), write);
      }
#if defined(REPRISE_SIMT)
      CHECK(simt::runtime::calls("cudnnConvolutionForward") == 2);
      CHECK(simt::runtime::uneven_convolutions() == 0);
      Tensors wide(test, DType::float32);
      check_forward(queues, std::move(wide), false);
      CHECK(simt::runtime::uneven_convolutions() == (test.w[0] % 8 != 0 || test.w[1] % 8 != 0));
#endif
    }
  }
}

TEST_CASE("images that lie row-major are filled up in the same pass", "[simt][cuda]") {
  const Queues queues;
  for (const DType dtype : {DType::bfloat16, DType::float16}) {
    CAPTURE(name_of(dtype));
    Tensors t({"row-major", {2, 3, 6, 7}, {12, 3, 3, 3}}, dtype);
    Twin x(dtype, {2, 3, 6, 7});
    const auto forward = [&](const kernels::View& images, const kernels::View& y) {
      const std::size_t bytes = kernels::conv2d_workspace_bytes(DeviceKind::cuda, ConvPass::forward, t.params,
                                                                images, t.w.cuda(), y, Write::overwrite);
      TwinWorkspace workspace(0, bytes);
      kernels::conv2d_forward(queues.cuda(), t.params, images, t.w.cuda(), t.bias.cuda(), y,
                              workspace.cuda());
      queues.wait();
    };
    const auto element = [](std::int64_t n, std::int64_t c, std::int64_t h, std::int64_t w) {
      return static_cast<double>((n * 126 + c * 42 + h * 7 + w) % 13 - 6) / 8;
    };
    x.assign([&](std::int64_t i) { return element(i / 126, i / 42 % 3, i / 7 % 6, i % 7); });
    t.x.assign([&](std::int64_t i) { return element(i / 126, i % 3, i / 21 % 6, i / 3 % 7); });
    forward(t.x.cuda(), t.y.cuda());
    const std::vector<double> expected = t.y.cuda_values();
    forward(x.cuda(), t.y.cuda());
    CHECK(t.y.cuda_values() == expected);
  }
}

TEST_CASE("a recorded convolution runs again on new numbers", "[simt][cuda]") {
  const Queues queues;
  Tensors t(kCases[1], DType::float32);
  TwinWorkspace workspace = t.workspace(ConvPass::forward, Write::overwrite);
  const auto forward = [&] {
    kernels::conv2d_forward(queues.cuda(), t.params, t.x.cuda(), t.w.cuda(), t.bias.cuda(), t.y.cuda(),
                            workspace.cuda());
  };
  forward();  // finds its algorithm, which cannot be recorded
  const kernels::cuda::Stream stream = queues.cuda().stream;
  kernels::cuda::begin_capture(stream);
  forward();
  const kernels::cuda::Graph graph = kernels::cuda::end_capture(stream);
  for (const unsigned seed : {1u, 5u}) {
    queues.wait();
    t.x.randomise(seed);
    t.w.randomise(seed + 1, 0.1);
    kernels::cuda::launch_graph(graph, stream);
    queues.wait();
    kernels::conv2d_forward(queues.cpu(), t.params, t.x.cpu(), t.w.cpu(), t.bias.cpu(), t.y.cpu(),
                            workspace.cpu());
    t.y.check_close();
  }
  kernels::cuda::destroy_graph(graph);
}

TEST_CASE("convolutions refuse what they cannot take", "[simt][cuda]") {
  const Queues queues;
  const Case plain = kCases[1];
  Tensors whole(plain, DType::int32);
  CHECK_THROWS_AS(
      kernels::conv2d_workspace_bytes(DeviceKind::cuda, ConvPass::forward, whole.params, whole.x.cuda(),
                                      whole.w.cuda(), whole.y.cuda(), Write::overwrite),
      TypeError);
  Tensors t(plain, DType::float32);
  CHECK_THROWS_WITH(
      kernels::conv2d_forward(queues.cuda(), t.params, t.x.cuda(), t.w.cuda(), {}, t.y.cuda(), {}),
      Catch::Contains("workspace of"));
  // An image of 2^31 elements, none of which is touched.
  kernels::View large = t.x.cuda(), weight = t.w.cuda();
  large.sizes = {1, 1, 65536, 32768};
  large.strides = {std::int64_t{1} << 31, 1, 32768, 1};
  weight.sizes = {1, 1, 1, 3};
  weight.strides = {3, 3, 3, 1};
  const Conv2dParams params{.padding = {0, 1}};
  const std::size_t bytes = kernels::conv2d_workspace_bytes(DeviceKind::cuda, ConvPass::forward, params,
                                                            large, weight, large, Write::overwrite);
  CHECK_THROWS_WITH(
      kernels::conv2d_forward(queues.cuda(), params, large, weight, {}, large, {large.data, bytes}),
      Catch::StartsWith("[conv2d] one image of x (1, 1, 65536, 32768)"));
}

#if defined(REPRISE_SIMT)
/// Every pass, with the first of the calls that look for an algorithm refused: "Algorithm_v7" for all of
/// channels-last tensors, "WorkspaceSize" for the one that would be taken. For shapes that no other test has,
/// as what was found for a shape stays.
void check_refused(const Queues& queues, const std::string& call, const Case& test, DType dtype) {
  simt::runtime::Control& control = simt::runtime::control();
  control.fail_cudnn = 3000;  // not supported
  const auto refused = [&](const char* pass, auto&& run) {
    control.fail_name = std::string("cudnnGetConvolution") + pass + call;
    control.fail_call = 0;
    run();
    CHECK(control.fail_call < 0);
  };
  refused("Forward", [&] { check_forward(queues, Tensors(test, dtype), true); });
  refused("BackwardData", [&] { check_backward_data(queues, Tensors(test, dtype), Write::accumulate); });
  refused("BackwardFilter", [&] { check_backward_weight(queues, Tensors(test, dtype), Write::accumulate); });
  simt::runtime::reset();
}

TEST_CASE("what cuDNN cannot do channels-last is done row-major", "[simt][cuda]") {
  const Queues queues;
  for (const std::int64_t groups : {1, 2}) {
    const Case test{"row-major", {2, 4, 6, 5}, {6, 4 / groups, 3, 2}, {.padding = {1, 1}, .groups = groups}};
    check_refused(queues, "Algorithm_v7", test, DType::float32);
  }
}

TEST_CASE("an algorithm that cuDNN takes back is passed over", "[simt][cuda]") {
  const Queues queues;
  for (const DType dtype : kTrained) {
    const Case test{"taken back", {2, 4, 6, 7}, {6, 4, 3, 2}, {.padding = {1, 1}}};
    check_refused(queues, "WorkspaceSize", test, dtype);
  }
}

TEST_CASE("images go in several calls where there is no room for copies of all", "[simt][cuda]") {
  const Queues queues;
  // The workspace is twice the images, in which copies of 6 images have room beside their scratch.
  const Case test{"several calls", {9, 8, 128, 128}, {8, 8, 1, 3}, {.padding = {0, 1}}};
  for (const DType dtype : {DType::float32, DType::bfloat16}) {
    CAPTURE(name_of(dtype));
    simt::runtime::reset_calls();
    check_refused(queues, "Algorithm_v7", test, dtype);
    for (const char* call :
         {"cudnnConvolutionForward", "cudnnConvolutionBackwardData", "cudnnConvolutionBackwardFilter"}) {
      CAPTURE(call);
      CHECK(simt::runtime::calls(call) == 2);
    }
  }
}
#endif

}  // namespace
}  // namespace reprise::test
