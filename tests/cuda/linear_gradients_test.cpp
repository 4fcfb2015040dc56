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

/// The weight's and the bias's gradients of a layer of (out, in) weights or, transposed, of (in, out) ones.
void check_parameters(const Queues& queues, DType dtype, WeightLayout layout, const Case& c, Write write) {
  const bool out_in = layout == WeightLayout::out_in;
  Twin x = make(dtype, {c.rows, c.inputs}, 1, {}, c.offset),
       dy = make(dtype, {c.rows, c.outputs}, 2, {}, c.offset);
  Twin dw = make(dtype, out_in ? Sizes{c.outputs, c.inputs} : Sizes{c.inputs, c.outputs}, 3, {}, c.offset);
  Twin dbias = make(dtype, {c.outputs}, 4, {c.bias_stride}, c.offset);
  const auto swapped = [](kernels::View view) {
    std::swap(view.sizes[0], view.sizes[1]);
    std::swap(view.strides[0], view.strides[1]);
    return view;
  };
  const auto run = [&](const kernels::Queue& queue, const auto& view, const kernels::Workspace& memory) {
    const kernels::View a = swapped(view(out_in ? dy : x)), b = view(out_in ? x : dy);
    kernels::matmul(queue, 1, a, b, {view(dw), write}, memory);
    kernels::bias_backward(queue, view(dy), {view(dbias), write}, memory);
  };
  const auto bytes = [&](DeviceKind device, const auto& view) {
    return std::max(kernels::matmul_workspace_bytes(device, swapped(view(out_in ? dy : x)),
                                                    view(out_in ? x : dy), view(dw)),
                    kernels::bias_backward_workspace_bytes(device, view(dy)));
  };
  const auto on_cpu = [](Twin& twin) { return twin.cpu(); };
  const auto on_cuda = [](Twin& twin) { return twin.cuda(); };
  TwinWorkspace workspace(bytes(DeviceKind::cpu, on_cpu), bytes(DeviceKind::cuda, on_cuda));
  run(queues.cpu(), on_cpu, workspace.cpu());
  run(queues.cuda(), on_cuda, workspace.cuda());
  queues.wait();
  dw.check_close(write == Write::accumulate ? one_more_rounding(dtype) : kExactly);
  dbias.check_close(kExactly);  // our own sums
}

TEST_CASE("a layer's parameters get the gradients that the CPU gives them", "[simt][cuda]") {
  const Queues queues;
  for (const Case& c : kCases) {
    for (const DType dtype : kTrained) {
      for (const WeightLayout layout : kLayouts) {
        for (const Write write : kWrites) {
          INFO(c.what << ", " << name_of(dtype)
                      << (layout == WeightLayout::out_in ? ", (out, in)" : ", (in, out)")
                      << (write == Write::accumulate ? ", added" : ""));
          check_parameters(queues, dtype, layout, c, write);
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
    control.fail_call = 0;
    check_input(queues, DType::bfloat16, layout, Activation::gelu_tanh, {"", ++rows, 16, 24});
    CHECK(control.fail_call < 0);
  }
  products.check(CUBLASLT_EPILOGUE_DGELU, 0);
  simt::runtime::reset();
}
#endif

}  // namespace
}  // namespace reprise::test
