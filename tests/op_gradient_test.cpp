// Gradients of every case of the table against central differences, in float64.
#include <catch2/catch.hpp>

#include <fmt/format.h>

#include <cmath>

#include "op_run.h"

namespace reprise::op_test {
namespace {

// As in PyTorch's gradcheck.
constexpr double kAbsolute = 1e-5;
constexpr double kRelative = 1e-3;
constexpr std::int64_t kElements = 200;        // of an input that are checked; all when there are no more
constexpr std::int64_t kElementsOfLarge = 16;  // the same where a call takes long
constexpr std::int64_t kLarge = 3000;

/// The sum of all outputs, weighted with the gradients that `run` gives them.
double weighted_sum(const Case& c, const Tensors& inputs) {
  const NoGrad no_grad;
  double sum = 0;
  const Tensors outputs = call(c, inputs);
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    if (!is_floating(outputs[i].dtype())) continue;
    const Array weights = cotangent(outputs[i].shape(), i);
    const Array values = read(outputs[i]);
    for (std::int64_t k = 0; k < values.shape.numel(); ++k) sum += weights[k] * values[k];
  }
  return sum;
}

/// (f(x + h) - f(x - h)) / 2h in one element of one input, which must not share its memory with others.
double central_difference(const Case& c, const Tensors& inputs, std::size_t input, Array values,
                          std::int64_t element) {
  Input dense = c.inputs[input];
  if (dense.order == Order::expanded) dense.order = Order::row_major;
  const double middle = values[element];
  double ends[2];
  for (const int side : {0, 1}) {
    values[element] = middle + (side == 0 ? -c.step : c.step);
    Tensors moved = inputs;
    moved[input] = make_tensor(dense, values, DType::float64);
    ends[side] = weighted_sum(c, moved);
  }
  return (ends[1] - ends[0]) / (2 * c.step);
}

/// Outputs that carry no gradient are no part of the weighted sum.
Case differentiable_part(const Cases& operation, Case c) {
  const GradMask mask = operation.table->differentiable;
  if (mask == ~GradMask{0}) return c;
  c.call = [mask, whole = c.call](Tensors in) {
    Tensors outputs = whole(std::move(in));
    Tensors kept;
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      if ((mask >> i & 1u) != 0) kept.push_back(outputs[i]);
    }
    return kept;
  };
  return c;
}

std::string check_gradient(const Case& c, const Arrays& values, std::size_t input, const Array& gradient) {
  const std::int64_t n = gradient.shape.numel();
  std::int64_t total = 0;
  for (const Array& array : values) total += array.shape.numel();
  const std::int64_t count = std::min(n, total > kLarge ? kElementsOfLarge : kElements);
  const Tensors inputs = make_inputs(c, values, DType::float64);
  for (std::int64_t k = 0; k < count; ++k) {
    const std::int64_t element = k * n / count + (n > count ? k % (n / count) : 0);
    const double want = central_difference(c, inputs, input, values[input], element);
    if (std::abs(gradient[element] - want) <= kAbsolute + kRelative * std::abs(want)) continue;
    return fmt::format("element {} of {} is {}, the central difference {}", element,
                       to_string(gradient.shape), gradient[element], want);
  }
  return {};
}

}  // namespace

TEST_CASE("gradients are the central differences", "[ops][gradcheck]") {
  for (const Cases& operation : all_cases()) {
    if (operation.table->backward == nullptr) continue;
    DYNAMIC_SECTION(operation.table->name) {
      for (const Case& whole : operation.cases) {
        if (!whole.has_derivative || !whole.has_differences || differentiable_inputs(whole) == 0) continue;
        INFO("case: " << whole.label);
        const Case c = differentiable_part(operation, whole);
        const Arrays values = input_values(operation, c, DType::float64);
        const RunResult result = run(c, values);
        CHECK(difference_in_bits(result, run(c, values)) == "");
        for (std::size_t i = 0; i < c.inputs.size(); ++i) {
          if (!c.inputs[i].takes_gradient()) continue;
          INFO("gradient of input " << i);
          REQUIRE(result.gradients[i].defined());
          CHECK(check_gradient(c, values, i, read(result.gradients[i])) == "");
        }
      }
    }
  }
}

}  // namespace reprise::op_test
