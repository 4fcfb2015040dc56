// cuBLASLt's products beside the CPU's. The numbers are such that all sums are exact: results are equal, not
// close, but for activations.
#include "reprise/kernels/matmul.h"

#include <cublasLt.h>

#include <algorithm>

#include "harness.h"
#include "reprise/error.h"
#include "reprise/kernels/device.h"
#if defined(REPRISE_SIMT)
#include "simt/runtime/control.h"
#endif

namespace reprise::test {
namespace {

using kernels::Activation;
using kernels::Write;
using Sizes = Twin::Sizes;

/// Where an operand lies; row-major without strides.
struct Operand {
  Sizes sizes, strides = {};
  std::int64_t offset = 0;
};

Twin make(DType dtype, const Operand& operand, std::int64_t seed) {
  Twin twin(dtype, operand.sizes, operand.strides, operand.offset);
  twin.assign([&](std::int64_t i) { return static_cast<double>((i * 37 + seed * 11) % 29 - 14) / 16; });
  return twin;
}

constexpr DType kFloating[] = {DType::float32, DType::float64, DType::bfloat16, DType::float16};
constexpr Write kWrites[] = {Write::overwrite, Write::accumulate};

struct Case {
  const char* what;
  Operand a, b, c;
};

const Case kCases[] = {
    {"one element", {{1, 1}}, {{1, 1}}, {{1, 1}}},
    {"odd sizes", {{33, 17}}, {{17, 65}}, {{33, 65}}},
    {"even sizes", {{32, 64}}, {{64, 32}}, {{32, 32}}},
    {"a row", {{1, 40}}, {{40, 24}}, {{1, 24}}},
    {"a column", {{24, 40}}, {{40, 1}}, {{24, 1}}},
    {"an outer product", {{7, 1}}, {{1, 9}}, {{7, 9}}},
    {"a inner product", {{1, 31}}, {{31, 1}}, {{1, 1}}},
    {"no terms", {{3, 0}}, {{0, 4}}, {{3, 4}}},
    {"no rows", {{0, 3}}, {{3, 4}}, {{0, 4}}},
    {"no columns", {{3, 3}}, {{3, 0}}, {{3, 0}}},
    {"no batches", {{0, 3, 3}}, {{0, 3, 4}}, {{0, 3, 4}}},
    {"a transposed", {{6, 10}, {1, 6}}, {{10, 8}}, {{6, 8}}},
    {"b transposed", {{6, 10}}, {{10, 8}, {1, 10}}, {{6, 8}}},
    {"both transposed", {{6, 10}, {1, 6}}, {{10, 8}, {1, 10}}, {{6, 8}}},
    {"c transposed", {{6, 10}}, {{10, 8}}, {{6, 8}, {1, 6}}},
    {"all transposed", {{6, 10}, {1, 6}}, {{10, 8}, {1, 10}}, {{6, 8}, {1, 6}}},
    {"rows apart", {{6, 10}, {16, 1}}, {{10, 8}, {11, 1}}, {{6, 8}, {24, 1}}},
    {"columns apart", {{6, 10}, {1, 9}}, {{10, 8}, {1, 16}}, {{6, 8}}},
    {"a scattered", {{6, 10}, {20, 2}}, {{10, 8}}, {{6, 8}}},
    {"b scattered", {{6, 10}}, {{10, 8}, {24, 3}}, {{6, 8}}},
    {"c scattered", {{6, 10}}, {{10, 8}}, {{6, 8}, {16, 2}}},
    {"rows of a repeated", {{6, 10}, {0, 1}}, {{10, 8}}, {{6, 8}}},
    {"nothing aligned", {{6, 10}, {}, 1}, {{10, 8}, {}, 3}, {{6, 8}, {}, 1}},
    {"odd strides of single rows", {{1, 10}, {3, 1}}, {{10, 1}, {1, 7}}, {{1, 1}, {5, 9}}},
    {"odd strides of single columns", {{6, 1}, {1, 99}}, {{1, 8}, {99, 1}}, {{6, 8}}},
    {"batches", {{5, 6, 10}}, {{5, 10, 8}}, {{5, 6, 8}}},
    {"two batch axes that merge", {{2, 3, 6, 10}}, {{2, 3, 10, 8}}, {{2, 3, 6, 8}}},
    {"heads side by side", {{2, 3, 4, 8}, {96, 8, 24, 1}}, {{2, 3, 8, 4}, {96, 8, 1, 24}}, {{2, 3, 4, 4}}},
    {"heads put side by side",
     {{2, 3, 4, 4}},
     {{2, 3, 4, 8}, {96, 8, 24, 1}},
     {{2, 3, 4, 8}, {96, 8, 24, 1}}},
    {"b the same for all", {{3, 4, 6, 10}}, {{3, 4, 10, 8}, {0, 0, 8, 1}}, {{3, 4, 6, 8}}},
    {"a the same for all", {{3, 6, 10}, {0, 10, 1}}, {{3, 10, 8}}, {{3, 6, 8}}},
    {"a the same on one axis", {{2, 3, 6, 10}, {60, 0, 10, 1}}, {{2, 3, 10, 8}}, {{2, 3, 6, 8}}},
    {"broadcast and scattered", {{2, 3, 6, 10}, {0, 120, 20, 2}}, {{2, 3, 10, 8}}, {{2, 3, 6, 8}}},
    {"batches of c transposed", {{5, 6, 10}}, {{5, 10, 8}}, {{5, 6, 8}, {48, 1, 6}}},
    {"batches of c scattered", {{5, 6, 10}}, {{5, 10, 8}}, {{5, 6, 8}, {16, 80, 2}}},
    {"batches of single rows", {{5, 1, 10}}, {{5, 10, 8}, {0, 8, 1}}, {{5, 1, 8}}},
    {"batches not aligned", {{3, 5, 7}, {}, 1}, {{3, 7, 3}}, {{3, 5, 3}}},
};

void check_product(const Queues& queues, DType dtype, DType result, const Case& test, double alpha,
                   Write write) {
  Twin a = make(dtype, test.a, 1), b = make(dtype, test.b, 2), c = make(result, test.c, 3);
  TwinWorkspace workspace(kernels::matmul_workspace_bytes(DeviceKind::cpu, a.cpu(), b.cpu(), c.cpu()),
                          kernels::matmul_workspace_bytes(DeviceKind::cuda, a.cuda(), b.cuda(), c.cuda()));
  kernels::matmul(queues.cpu(), alpha, a.cpu(), b.cpu(), c.cpu(write), workspace.cpu());
  kernels::matmul(queues.cuda(), alpha, a.cuda(), b.cuda(), c.cuda(write), workspace.cuda());
  queues.wait();
  c.check_close(write == Write::accumulate ? one_more_rounding(result) : kExactly);
  a.check_equal();
  b.check_equal();
}

TEST_CASE("products agree with the CPU's", "[simt][cuda]") {
  const Queues queues;
  for (const Case& test : kCases) {
    for (const DType dtype : kFloating) {
      for (const Write write : kWrites) {
        INFO(test.what << ", " << name_of(dtype) << (write == Write::accumulate ? ", added" : ""));
        check_product(queues, dtype, dtype, test, 1, write);
        if (size_of(dtype) == 2) check_product(queues, dtype, DType::float32, test, 1, write);
      }
    }
    INFO(test.what << ", alpha");
    check_product(queues, DType::float32, DType::float32, test, -0.5, Write::overwrite);
    check_product(queues, DType::bfloat16, DType::bfloat16, test, 2, Write::accumulate);
  }
}

TEST_CASE("products refuse what they cannot take", "[simt][cuda]") {
  const Queues queues;
  Twin a(DType::int32, {4, 4}), c(DType::int32, {4, 4});
  const auto product = [&](Twin& x, Twin& y, kernels::Workspace workspace) {
    kernels::matmul(queues.cuda(), 1, x.cuda(), x.cuda(), y.cuda(Write::overwrite), workspace);
  };
  CHECK_THROWS_AS(product(a, c, {}), TypeError);
  CHECK_THROWS_AS(kernels::matmul_workspace_bytes(DeviceKind::cuda, a.cuda(), a.cuda(), c.cuda()), TypeError);
  Twin scattered(DType::float32, {4, 4}, {8, 2}), out(DType::float32, {4, 4});
  CHECK_THROWS_WITH(product(scattered, out, {}), Catch::Contains("workspace of"));
}

/// One linear layer: what is asked for, and how its operands lie.
struct Layer {
  Activation activation = Activation::none;
  bool wants_y = true, wants_pre = false;
  Operand x, w, y;
  Operand bias = {};  // no sizes: none
};

void check_layer(const Queues& queues, DType dtype, const Layer& layer) {
  Twin x = make(dtype, layer.x, 1), w = make(dtype, layer.w, 2);
  Twin y = make(dtype, layer.y, 3), pre = make(dtype, layer.y, 4);
  const bool has_bias = !layer.bias.sizes.empty();
  Twin bias = make(dtype, has_bias ? layer.bias : Operand{{1}}, 5);
  TwinWorkspace workspace(kernels::linear_workspace_bytes(DeviceKind::cpu, x.cpu(), w.cpu(), y.cpu()),
                          kernels::linear_workspace_bytes(DeviceKind::cuda, x.cuda(), w.cuda(), y.cuda()));
  const auto view = [](bool wanted, const kernels::View& given) { return wanted ? given : kernels::View(); };
  kernels::linear_forward(queues.cpu(), layer.activation, x.cpu(), w.cpu(), view(has_bias, bias.cpu()),
                          view(layer.wants_pre, pre.cpu()), view(layer.wants_y, y.cpu()), workspace.cpu());
  kernels::linear_forward(queues.cuda(), layer.activation, x.cuda(), w.cuda(), view(has_bias, bias.cuda()),
                          view(layer.wants_pre, pre.cuda()), view(layer.wants_y, y.cuda()), workspace.cuda());
  queues.wait();
  const double exact = has_bias ? one_more_rounding(dtype) : kExactly;
  pre.check_close(exact);
  y.check_close(layer.activation == Activation::none ? exact : 0);
}

constexpr Activation kActivations[] = {Activation::none, Activation::relu, Activation::gelu_tanh,
                                       Activation::gelu_erf, Activation::silu};

/// Every activation with every choice of outputs.
void check_layers(const Queues& queues, DType dtype, Layer layer) {
  for (const Activation activation : kActivations) {
    layer.activation = activation;
    for (const auto& [y, pre] : {std::pair{true, false}, {true, true}, {false, true}}) {
      if (activation == Activation::none && pre) continue;
      if (layer.y.sizes[0] == 0 && !y) continue;  // there would be no output at all
      layer.wants_y = y;
      layer.wants_pre = pre;
      INFO("activation " << int(activation) << (y ? ", y" : "") << (pre ? ", pre" : ""));
      check_layer(queues, dtype, layer);
    }
  }
}

TEST_CASE("linear layers agree with the CPU's", "[simt][cuda]") {
  const Queues queues;
  struct {
    const char* what;
    Layer layer;
  } const cases[] = {
      {"aligned", {.x = {{9, 16}}, .w = {{16, 24}}, .y = {{9, 24}}, .bias = {{24}}}},
      {"no bias", {.x = {{9, 16}}, .w = {{16, 24}}, .y = {{9, 24}}}},
      {"odd sizes", {.x = {{9, 7}}, .w = {{7, 13}}, .y = {{9, 13}}, .bias = {{13}}}},
      {"one row", {.x = {{1, 7}}, .w = {{7, 13}}, .y = {{1, 13}}, .bias = {{13}}}},
      {"one output", {.x = {{9, 7}}, .w = {{7, 1}}, .y = {{9, 1}}, .bias = {{1}}}},
      {"w transposed", {.x = {{9, 16}}, .w = {{16, 24}, {1, 16}}, .y = {{9, 24}}, .bias = {{24}}}},
      {"x transposed", {.x = {{9, 16}, {1, 9}}, .w = {{16, 24}}, .y = {{9, 24}}, .bias = {{24}}}},
      {"x scattered", {.x = {{9, 16}, {32, 2}}, .w = {{16, 24}}, .y = {{9, 24}}, .bias = {{24}}}},
      {"bias scattered", {.x = {{9, 16}}, .w = {{16, 24}}, .y = {{9, 24}}, .bias = {{24}, {3}}}},
      {"bias not aligned", {.x = {{9, 16}}, .w = {{16, 24}}, .y = {{9, 24}}, .bias = {{24}, {}, 1}}},
      {"y not aligned", {.x = {{9, 16}}, .w = {{16, 24}}, .y = {{9, 24}, {}, 1}, .bias = {{24}}}},
      {"rows of y apart", {.x = {{9, 16}}, .w = {{16, 24}}, .y = {{9, 24}, {40, 1}}, .bias = {{24}}}},
      {"y transposed", {.x = {{9, 16}}, .w = {{16, 24}}, .y = {{9, 24}, {1, 9}}, .bias = {{24}}}},
      {"no terms", {.x = {{9, 0}}, .w = {{0, 24}}, .y = {{9, 24}}, .bias = {{24}}}},
      {"neither terms nor bias", {.x = {{9, 0}}, .w = {{0, 24}}, .y = {{9, 24}}}},
      {"no rows", {.x = {{0, 16}}, .w = {{16, 24}}, .y = {{0, 24}}, .bias = {{24}}}},
  };
  for (const auto& [what, layer] : cases) {
    for (const DType dtype : kTrained) {
      INFO(what << ", " << name_of(dtype));
      check_layers(queues, dtype, layer);
    }
    INFO(what << ", float64");
    check_layer(queues, DType::float64, layer);
  }
}

TEST_CASE("relu keeps NaN", "[simt][cuda]") {
  const Queues queues;
  for (const DType dtype : kTrained) {
    CAPTURE(name_of(dtype));
    Twin x(dtype, {8, 16}), w(dtype, {16, 24}), bias(dtype, {24}), y(dtype, {8, 24});
    x.assign([](std::int64_t i) { return i == 0 ? std::nan("") : 1.0; });
    w.randomise(1);
    bias.randomise(2);
    TwinWorkspace workspace(0,
                            kernels::linear_workspace_bytes(DeviceKind::cuda, x.cuda(), w.cuda(), y.cuda()));
    kernels::linear_forward(queues.cuda(), Activation::relu, x.cuda(), w.cuda(), bias.cuda(), {}, y.cuda(),
                            workspace.cuda());
    queues.wait();
    const std::vector<double> values = y.cuda_values();
    CHECK(std::all_of(values.begin(), values.begin() + 24, [](double v) { return std::isnan(v); }));
    CHECK(std::none_of(values.begin() + 24, values.end(), [](double v) { return std::isnan(v); }));
  }
}

TEST_CASE("a recorded layer runs again on new numbers", "[simt][cuda]") {
  const Queues queues;
  Twin x(DType::bfloat16, {9, 16}), w(DType::bfloat16, {16, 24}), y(DType::bfloat16, {9, 24});
  Twin bias(DType::bfloat16, {24});
  const auto forward = [&](const kernels::Queue& queue, auto view, const kernels::Workspace& workspace) {
    kernels::linear_forward(queue, Activation::gelu_tanh, view(x), view(w), view(bias), {}, view(y),
                            workspace);
  };
  const auto on_cpu = [](Twin& twin) { return twin.cpu(); };
  const auto on_cuda = [](Twin& twin) { return twin.cuda(); };
  TwinWorkspace workspace(kernels::linear_workspace_bytes(DeviceKind::cpu, x.cpu(), w.cpu(), y.cpu()),
                          kernels::linear_workspace_bytes(DeviceKind::cuda, x.cuda(), w.cuda(), y.cuda()));
  forward(queues.cuda(), on_cuda, workspace.cuda());  // finds its algorithm, which cannot be recorded
  const kernels::cuda::Stream stream = queues.cuda().stream;
  kernels::cuda::begin_capture(stream);
  forward(queues.cuda(), on_cuda, workspace.cuda());
  const kernels::cuda::Graph graph = kernels::cuda::end_capture(stream);
  for (const unsigned seed : {1u, 5u}) {
    queues.wait();
    x.randomise(seed);
    w.randomise(seed + 1, 0.1);
    bias.randomise(seed + 2);
    kernels::cuda::launch_graph(graph, stream);
    queues.wait();
    forward(queues.cpu(), on_cpu, workspace.cpu());
    y.check_close();
  }
  kernels::cuda::destroy_graph(graph);
}

TEST_CASE("the same product gives the same bits", "[simt][cuda]") {
  const Queues queues;
  Twin a(DType::float32, {33, 130}), b(DType::float32, {130, 65}), c(DType::float32, {33, 65});
  a.randomise(1);
  b.randomise(2);
  const std::size_t bytes = kernels::matmul_workspace_bytes(DeviceKind::cuda, a.cuda(), b.cuda(), c.cuda());
  std::vector<double> first;
  for (int round = 0; round < 3; ++round) {
    TwinWorkspace workspace(0, bytes);
    kernels::matmul(queues.cuda(), 1, a.cuda(), b.cuda(), c.cuda(Write::overwrite), workspace.cuda());
    queues.wait();
    if (round == 0) first = c.cuda_values();
    CHECK(c.cuda_values() == first);
  }
}

#if defined(REPRISE_SIMT)
/// Layers of shapes that no other test has, as what was found for a shape stays.
TEST_CASE("layers do without the epilogues that cuBLASLt lacks", "[simt][cuda]") {
  const Queues queues;
  simt::runtime::Control& control = simt::runtime::control();
  control.fail_cublas = CUBLAS_STATUS_NOT_SUPPORTED;
  std::int64_t rows = 100;
  for (const Activation activation : {Activation::none, Activation::relu, Activation::gelu_tanh}) {
    for (const bool wants_pre : {false, true}) {
      if (activation == Activation::none && wants_pre) continue;
      INFO("activation " << int(activation) << (wants_pre ? ", pre" : ""));
      const Layer layer{.activation = activation,
                        .wants_pre = wants_pre,
                        .x = {{++rows, 16}},
                        .w = {{16, 24}},
                        .y = {{rows, 24}},
                        .bias = {{24}}};
      control.fail_name = "cublasLtMatmulAlgoGetHeuristic";
      control.fail_call = 0;
      check_layer(queues, DType::bfloat16, layer);
      CHECK(control.fail_call < 0);
    }
  }
  simt::runtime::reset();
}

TEST_CASE("an error of cuBLASLt names the operation and is not kept", "[simt][cuda]") {
  const Queues queues;
  Twin a(DType::float32, {201, 3}), b(DType::float32, {3, 5}), c(DType::float32, {201, 5});
  TwinWorkspace workspace(0, kernels::matmul_workspace_bytes(DeviceKind::cuda, a.cuda(), b.cuda(), c.cuda()));
  const auto product = [&] {
    kernels::matmul(queues.cuda(), 1, a.cuda(), b.cuda(), c.cuda(Write::overwrite), workspace.cuda());
  };
  simt::runtime::Control& control = simt::runtime::control();
  for (const char* call :
       {"cublasLtMatmulDescCreate", "cublasLtMatrixLayoutCreate", "cublasLtMatmulAlgoGetHeuristic"}) {
    CAPTURE(call);
    const std::size_t objects = simt::runtime::live_objects();
    control.fail_name = call;
    control.fail_call = 0;
    CHECK_THROWS_WITH(product(), Catch::StartsWith("[matmul] cuBLASLt: "));
    CHECK(simt::runtime::live_objects() == objects);
  }
  CHECK_NOTHROW(product());
  simt::runtime::reset();
}
#endif

}  // namespace
}  // namespace reprise::test
