#include "op_run.h"

#include <fmt/format.h>

#include <cmath>
#include <cstring>

namespace reprise::op_test {
namespace {

/// Inputs that are themselves results: as they are within a network.
Tensors passed_on(const Tensors& inputs) {
  Tensors results;
  for (const Tensor& input : inputs) {
    const bool plain = is_floating(input.dtype()) && input.requires_grad();
    results.push_back(plain ? input * 1.0 : input);
  }
  return results;
}

Tensors forward(const Case& c, const Tensors& inputs, const RunOptions& options) {
  if (!options.intermediates) return call(c, inputs);
  Tensors results;
  if (options.inputs_before_segment) results = passed_on(inputs);
  std::optional<checkpoint::Segment> segment;
  if (options.segment)
    segment.emplace("case", checkpoint::SegmentOptions{.drop = *options.segment, .spare_last = false});
  if (!options.inputs_before_segment) results = passed_on(inputs);
  Tensors outputs = call(c, std::move(results));
  for (Tensor& output : outputs) {
    if (output.requires_grad()) output = output * 1.0;
  }
  return outputs;
}

}  // namespace

Array cotangent(const Shape& shape, std::size_t i) { return random_array(shape, -1, 1, 1000 + i); }

GradMask differentiable_inputs(const Case& c) {
  GradMask mask = 0;
  for (std::size_t i = 0; i < c.inputs.size() && i < static_cast<std::size_t>(kMaxInputs); ++i) {
    if (c.inputs[i].takes_gradient()) mask |= GradMask{1} << i;
  }
  return mask;
}

Tensors make_inputs(const Case& c, const Arrays& values, DType dtype, GradMask wanted) {
  Tensors inputs;
  for (std::size_t i = 0; i < c.inputs.size(); ++i) {
    inputs.push_back(make_tensor(c.inputs[i], values[i], dtype));
    const bool wants = i >= static_cast<std::size_t>(kMaxInputs) ? wanted != 0 : (wanted >> i & 1u) != 0;
    if (wants && c.inputs[i].takes_gradient() && is_floating(dtype)) inputs.back().set_requires_grad(true);
  }
  return inputs;
}

Arrays rounded(const Case& c, const Arrays& values, DType dtype) {
  Arrays result;
  for (std::size_t i = 0; i < values.size(); ++i)
    result.push_back(read(make_tensor(c.inputs[i], values[i], dtype)));
  return result;
}

Tensors call(const Case& c, Tensors inputs) {
  manual_seed(kSeed);
  return c.call(std::move(inputs));
}

RunResult run(const Case& c, const Arrays& values, const RunOptions& options) {
  Tensors inputs = make_inputs(c, values, options.dtype, options.wanted);
  RunResult result{forward(c, inputs, options), {}};
  Tensors roots;
  Tensors seeds;
  for (std::size_t i = 0; i < result.outputs.size(); ++i) {
    const Tensor& output = result.outputs[i];
    if (!output.requires_grad()) continue;
    Input form{.shape = output.shape(), .order = options.cotangent_order};
    if (form.shape.rank() == 0) form.order = Order::row_major;
    Array seed = cotangent(output.shape(), i);
    if (form.order == Order::expanded) seed = Array(output.shape(), 0.75);
    roots.push_back(output);
    const OnDevice there(output.device());
    seeds.push_back(make_tensor(form, seed, output.dtype()));
  }
  for (int i = 1; i <= options.backwards && !roots.empty(); ++i) {
    backward(roots, seeds, {.retain_tape = i < options.backwards});
  }
  for (const Tensor& input : inputs) result.gradients.push_back(input.grad());
  return result;
}

double tolerance(DType dtype) {
  switch (dtype) {
    case DType::float64:
      return 1e-12;
    case DType::float32:
      return 1e-6;
    case DType::bfloat16:
      return 1e-2;
    case DType::float16:
      return 2e-3;
    default:
      return 0;
  }
}

double gradient_tolerance(DType dtype) {
  switch (dtype) {
    case DType::float64:
      return 1e-10;
    case DType::float32:
      return 2e-5;
    case DType::bfloat16:
      return 1e-1;
    default:
      return 1e-2;
  }
}

std::string difference(const Array& got, const Array& want, double tolerance) {
  if (!(got.shape == want.shape))
    return fmt::format("sizes {} instead of {}", to_string(got.shape), to_string(want.shape));
  for (std::int64_t i = 0; i < want.shape.numel(); ++i) {
    const bool alike = std::abs(got[i] - want[i]) <= tolerance * (1 + std::abs(want[i])) ||
                       got[i] == want[i] || (std::isnan(got[i]) && std::isnan(want[i]));
    if (!alike) {
      return fmt::format("element {} of {} is {} instead of {}: {:.2e} off, {:.2e} allowed", i,
                         to_string(want.shape), got[i], want[i], std::abs(got[i] - want[i]),
                         tolerance * (1 + std::abs(want[i])));
    }
  }
  return {};
}

std::string difference_in_bits(const Tensor& a, const Tensor& b) {
  if (a.defined() != b.defined()) return a.defined() ? "the second is undefined" : "the first is undefined";
  if (!a.defined()) return {};
  if (a.dtype() != b.dtype() || !(a.shape() == b.shape())) return "dtypes or sizes differ";
  const NoGrad no_grad;
  const Tensor dense_a = a.contiguous().to(Device::cpu());
  const Tensor dense_b = b.contiguous().to(Device::cpu());
  const auto* bytes_a = static_cast<const std::byte*>(dense_a.value()->data());
  const auto* bytes_b = static_cast<const std::byte*>(dense_b.value()->data());
  const std::size_t width = size_of(a.dtype());
  for (std::int64_t i = 0; i < a.numel(); ++i) {
    const std::size_t at = static_cast<std::size_t>(i) * width;
    if (std::memcmp(bytes_a + at, bytes_b + at, width) != 0) {
      return fmt::format("element {} of {}: {} and {}", i, to_string(a.shape()), read(a)[i], read(b)[i]);
    }
  }
  return {};
}

std::string difference_in_bits(const RunResult& a, const RunResult& b) {
  const auto all = [](const char* what, const Tensors& of_a, const Tensors& of_b) -> std::string {
    if (of_a.size() != of_b.size()) return fmt::format("{} and {} {}s", of_a.size(), of_b.size(), what);
    for (std::size_t i = 0; i < of_a.size(); ++i) {
      const std::string found = difference_in_bits(of_a[i], of_b[i]);
      if (!found.empty()) return fmt::format("{} {}: {}", what, i, found);
    }
    return {};
  };
  const std::string found = all("output", a.outputs, b.outputs);
  return found.empty() ? all("gradient", a.gradients, b.gradients) : found;
}

}  // namespace reprise::op_test
