// Gradients of linear layers as epilogues, beside the CPU's, which computes them one after the other.
#include <cublasLt.h>

#include "harness.h"
#include "reprise/kernels/matmul.h"
#if defined(REPRISE_SIMT)
#include "simt/runtime/control.h"
#endif

namespace reprise::test {
namespace {

using kernels::Activation;
using kernels::WeightLayout;
using kernels::Write;
using Sizes = Twin::Sizes;

constexpr Write kWrites[] = {Write::overwrite, Write::accumulate};
constexpr WeightLayout kLayouts[] = {WeightLayout::out_in, WeightLayout::in_out};

/// Numbers whose sums are exact.
Twin make(DType dtype, const Sizes& sizes, std::int64_t seed, const Sizes& strides = {},
          std::int64_t offset = 0) {
  Twin twin(dtype, sizes, strides, offset);
  twin.assign([&](std::int64_t i) { return static_cast<double>((i * 37 + seed * 11) % 29 - 14) / 16; });
  return twin;
}

/// Products with an epilogue that were asked for since the last call; none on a device, which does not tell.
class Products {
 public:
#if defined(REPRISE_SIMT)
  Products() { simt::runtime::reset_calls(); }
  void check(unsigned epilogue, int expected) const {
    CHECK(simt::runtime::products_with_epilogue(epilogue) == expected);
  }
#else
  void check(unsigned, int) const {}
#endif
};

/// A layer of `inputs` and `outputs` for `rows`; `bias_stride` and `offset` spoil how results lie.
struct Case {
  const char* what;
  std::int64_t rows, inputs, outputs, bias_stride = 1, offset = 0;
};

constexpr Case kCases[] = {
    {"aligned", 40, 16, 24},  {"odd sizes", 33, 7, 13},         {"one row", 1, 16, 24},
    {"one input", 9, 1, 24},  {"one output", 9, 16, 1},         {"one of each", 5, 1, 1},
    {"many rows", 700, 8, 8}, {"bias scattered", 9, 16, 24, 3}, {"nothing aligned", 9, 16, 24, 1, 1},
    {"no rows", 0, 16, 24},   {"no inputs", 9, 0, 24},
};

void check_weight(const Queues& queues, DType dtype, WeightLayout layout, const Case& c, Write write) {
  const Sizes weight =
      layout == WeightLayout::out_in ? Sizes{c.outputs, c.inputs} : Sizes{c.inputs, c.outputs};
  Twin x = make(dtype, {c.rows, c.inputs}, 1, {}, c.offset),
       dy = make(dtype, {c.rows, c.outputs}, 2, {}, c.offset);
  Twin dw = make(dtype, weight, 3, {}, c.offset);
  Twin dbias = make(dtype, {c.outputs}, 4, {c.bias_stride}, c.offset);
  const auto bytes = [&](DeviceKind device, const auto& view) {
    return kernels::linear_backward_weight_workspace_bytes(device, layout, view(x), view(dy), view(dw));
  };
  TwinWorkspace workspace(bytes(DeviceKind::cpu, [](Twin& twin) { return twin.cpu(); }),
                          bytes(DeviceKind::cuda, [](Twin& twin) { return twin.cuda(); }));
  kernels::linear_backward_weight(queues.cpu(), layout, x.cpu(), dy.cpu(), dw.cpu(write), dbias.cpu(write),
                                  workspace.cpu());
  kernels::linear_backward_weight(queues.cuda(), layout, x.cuda(), dy.cuda(), dw.cuda(write),
                                  dbias.cuda(write), workspace.cuda());
  queues.wait();
  dw.check_close(1e-300);
  // A sum that is rounded before it is added is rounded twice.
  dbias.check_close(write == Write::accumulate ? 0 : 1e-300);
}

TEST_CASE("the weight's product gives the bias gradient too", "[simt][cuda]") {
  const Queues queues;
  for (const Case& c : kCases) {
    for (const DType dtype : kTrained) {
      for (const WeightLayout layout : kLayouts) {
        const bool out_in = layout == WeightLayout::out_in;
        for (const Write write : kWrites) {
          INFO(c.what << ", " << name_of(dtype) << (out_in ? ", (out, in)" : ", (in, out)")
                      << (write == Write::accumulate ? ", added" : ""));
          const Products products;
          check_weight(queues, dtype, layout, c, write);
          const bool has_terms = c.rows > 0 && c.inputs > 0;
          products.check(out_in ? CUBLASLT_EPILOGUE_BGRADB : CUBLASLT_EPILOGUE_BGRADA, has_terms ? 1 : 0);
          products.check(CUBLASLT_EPILOGUE_DEFAULT, 0);
        }
      }
    }
  }
}

/// The gradient of what gelu was applied to; the weight as the layout has it, seen as (inputs, outputs).
void check_input(const Queues& queues, DType dtype, WeightLayout layout, Activation activation,
                 const Case& c) {
  const Sizes strides = layout == WeightLayout::out_in ? Sizes{1, c.inputs} : Sizes{c.outputs, 1};
  Twin w = make(dtype, {c.inputs, c.outputs}, 1, strides, c.offset);
  Twin dy = make(dtype, {c.rows, c.outputs}, 2, {}, c.offset),
       pre = make(dtype, {c.rows, c.inputs}, 3, {}, c.offset);
  Twin dx = make(dtype, {c.rows, c.inputs}, 4, {}, c.offset);
  const auto bytes = [&](DeviceKind device, const auto& view) {
    kernels::ConstView transposed = view(w);
    std::swap(transposed.sizes[0], transposed.sizes[1]);
    std::swap(transposed.strides[0], transposed.strides[1]);
    return kernels::matmul_workspace_bytes(device, view(dy), transposed, view(dx));
  };
  TwinWorkspace workspace(bytes(DeviceKind::cpu, [](Twin& twin) { return twin.cpu(); }),
                          bytes(DeviceKind::cuda, [](Twin& twin) { return twin.cuda(); }));
  kernels::linear_backward_input(queues.cpu(), activation, dy.cpu(), w.cpu(), pre.cpu(), dx.cpu(),
                                 workspace.cpu());
  kernels::linear_backward_input(queues.cuda(), activation, dy.cuda(), w.cuda(), pre.cuda(), dx.cuda(),
                                 workspace.cuda());
  queues.wait();
  dx.check_close();
}

TEST_CASE("the input's product applies the derivative of gelu", "[simt][cuda]") {
  const Queues queues;
  for (const Case& c : kCases) {
    for (const DType dtype : kTrained) {
      for (const WeightLayout layout : kLayouts) {
        for (const Activation activation : {Activation::gelu_tanh, Activation::gelu_erf}) {
          INFO(c.what << ", " << name_of(dtype) << ", activation " << int(activation));
          const Products products;
          check_input(queues, dtype, layout, activation, c);
          // cuBLASLt reads rows that begin at multiples of 16 bytes, and of 8 elements from each other.
          const bool readable = c.rows > 0 && c.inputs > 0 && c.inputs % 8 == 0 && c.offset == 0;
          const bool exact = size_of(dtype) == 2;  // the epilogue's GELU is not, in wider types
          products.check(CUBLASLT_EPILOGUE_DGELU,
                         activation == Activation::gelu_tanh && readable && exact ? 1 : 0);
        }
      }
    }
  }
}

#if defined(REPRISE_SIMT)
/// Shapes that no other test has, as what was found for a shape stays.
TEST_CASE("gradients do without the epilogues that cuBLASLt lacks", "[simt][cuda]") {
  const Queues queues;
  simt::runtime::Control& control = simt::runtime::control();
  control.fail_cublas = CUBLAS_STATUS_NOT_SUPPORTED;
  control.fail_name = "cublasLtMatmulAlgoGetHeuristic";
  const Products products;
  std::int64_t rows = 300;
  for (const WeightLayout layout : kLayouts) {
    for (const Write write : kWrites) {
      control.fail_call = 0;
      check_weight(queues, DType::float32, layout, {"", ++rows, 16, 24}, write);
      CHECK(control.fail_call < 0);
    }
    control.fail_call = 0;
    check_input(queues, DType::bfloat16, layout, Activation::gelu_tanh, {"", ++rows, 16, 24});
    CHECK(control.fail_call < 0);
  }
  for (const unsigned epilogue :
       {CUBLASLT_EPILOGUE_BGRADA, CUBLASLT_EPILOGUE_BGRADB, CUBLASLT_EPILOGUE_DGELU})
    products.check(epilogue, 0);
  simt::runtime::reset();
}
#endif

}  // namespace
}  // namespace reprise::test
