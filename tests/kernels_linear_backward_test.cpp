// What a linear layer passes through the activation before it: the very bits of what it stands for.
#include "kernel_checks.h"
#include "kernel_products.h"
#include "reprise/kernels/elementwise.h"
#include "reprise/kernels/matmul.h"

namespace reprise::kernels {
namespace {

struct Shape {
  std::int64_t rows, inputs, outputs;
};

constexpr Shape kShapes[] = {{1, 1, 1}, {9, 16, 24}, {33, 7, 13}, {300, 8, 1},
                             {5, 1, 6}, {0, 3, 4},   {4, 0, 3}};

KernelTensor numbers(DType dtype, std::vector<std::int64_t> sizes, unsigned seed) {
  std::int64_t n = 1;
  for (const std::int64_t size : sizes) n *= size;
  return tensor_of(dtype, std::move(sizes), random_values(n, seed));
}

View swapped(View view) {
  std::swap(view.sizes[0], view.sizes[1]);
  std::swap(view.strides[0], view.strides[1]);
  return view;
}

/// Runs f with scratch of so many bytes.
template <class F>
void with_scratch(std::size_t bytes, F&& f) {
  std::vector<std::byte> memory(bytes);
  f(Workspace{memory.data(), memory.size()});
}

void product(const View& a, const View& b, const Target& c) {
  with_scratch(matmul_workspace_bytes(DeviceKind::cpu, a, b, c.view),
               [&](const Workspace& workspace) { matmul(kCpu, 1, a, b, c, workspace); });
}

TEST_CASE("An input's gradient goes through the activation before it", "[unit]") {
  for (const DType dtype : kFloatTypes) {
    for (const Shape& s : kShapes) {
      CAPTURE(name_of(dtype), s.rows, s.inputs, s.outputs);
      const KernelTensor w = numbers(dtype, {s.inputs, s.outputs}, 1),
                         dy = numbers(dtype, {s.rows, s.outputs}, 2);
      const KernelTensor pre = numbers(dtype, {s.rows, s.inputs}, 3);
      KernelTensor dx = numbers(dtype, {s.rows, s.inputs}, 4), same_dx = dx;
      with_scratch(matmul_workspace_bytes(DeviceKind::cpu, dy, swapped(w), dx),
                   [&](const Workspace& workspace) {
                     linear_backward_input(kCpu, Activation::gelu_tanh, dy, w, pre, dx, workspace);
                   });
      product(dy, swapped(w), {same_dx});
      unary_backward(kCpu, Unary::gelu_tanh, 0, pre, {}, same_dx, {same_dx});
      CHECK(dx.same_bytes(same_dx));
    }
  }
}

}  // namespace
}  // namespace reprise::kernels
