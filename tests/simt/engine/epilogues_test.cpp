// Which products of a training step ask cuBLASLt for an epilogue.
#include <cublasLt.h>

#include "reprise/checkpoint.h"
#include "reprise/ops.h"
#include "stand_in.h"

namespace reprise::test {
namespace {

using simt::runtime::products_with_epilogue;

/// Two layers with gelu between them, out and back; gradients of everything.
std::vector<std::vector<float>> step(DType dtype, WeightLayout layout, bool segment) {
  const OnDevice cuda(Device::cuda());
  manual_seed(5);
  const auto leaf = [&](const Shape& shape) {
    return randn(shape).to(dtype).detach().set_requires_grad(true);
  };
  const bool out_in = layout == WeightLayout::out_in;
  const Tensor x = leaf({6, 8}), b1 = leaf({16}), b2 = leaf({8});
  const Tensor w1 = leaf(out_in ? Shape{16, 8} : Shape{8, 16}),
               w2 = leaf(out_in ? Shape{8, 16} : Shape{16, 8});
  Tensor y;
  {
    std::optional<checkpoint::Segment> scope;
    if (segment) scope.emplace("layers", checkpoint::SegmentOptions{.spare_last = false});
    y = linear(linear(x, w1, b1, Activation::gelu_tanh, layout), w2, b2, Activation::none, layout);
  }
  mean(square(y)).backward();
  std::vector<std::vector<float>> gradients;
  for (const Tensor& t : {x, w1, b1, w2, b2})
    gradients.push_back(t.grad().to(DType::float32).to_vector<float>());
  return gradients;
}

TEST_CASE("the derivative of gelu is an epilogue, in segments too", "[simt][cuda]") {
  const StandIn stand_in;
  for (const DType dtype : {DType::float32, DType::bfloat16}) {
    for (const WeightLayout layout : {WeightLayout::out_in, WeightLayout::in_out}) {
      CAPTURE(name_of(dtype), int(layout));
      simt::runtime::reset_calls();
      const auto plain = step(dtype, layout, false);
      const int exact = size_of(dtype) == 2 ? 1 : 0;  // whether the epilogue's GELU is
      CHECK(products_with_epilogue(CUBLASLT_EPILOGUE_DGELU) == exact);
      CHECK(products_with_epilogue(CUBLASLT_EPILOGUE_DEFAULT) == 4 - exact);  // gradients of x and weights
      CHECK(step(dtype, layout, true) == plain);
      CHECK(products_with_epilogue(CUBLASLT_EPILOGUE_DGELU) == 2 * exact);
    }
  }
}

}  // namespace
}  // namespace reprise::test
