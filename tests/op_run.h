// Runs a case of the table, and compares what comes out.
#pragma once

#include <optional>
#include <string>

#include "op_cases.h"
#include "reprise/checkpoint.h"

namespace reprise::op_test {

/// How a case is run.
struct RunOptions {
  DType dtype = DType::float64;
  GradMask wanted = ~GradMask{0};  // inputs that want a gradient, where they can
  bool intermediates = false;      // the operation's inputs and outputs are intermediates of a larger graph
  std::optional<checkpoint::Drop> segment{};  // that graph is a checkpoint segment
  bool inputs_before_segment = false;         // which begins with the operation itself
  Order cotangent_order = Order::row_major;
  int backwards = 1;  // times that backward is played; all but the last keep the tape
};

struct RunResult {
  Tensors outputs;
  Tensors gradients;  // one for each input; undefined where it has none
};

/// Calls the case and plays it backward with random gradients of its outputs.
RunResult run(const Case& c, const Arrays& values, const RunOptions& options = {});

/// The inputs of a case as leaves; those of `wanted` that can want a gradient.
Tensors make_inputs(const Case& c, const Arrays& values, DType dtype, GradMask wanted = 0);

/// Calls the case under the seed of the table.
Tensors call(const Case& c, Tensors inputs);

/// The gradient given to output `i`.
Array cotangent(const Shape& shape, std::size_t i);

/// The inputs that can get a gradient.
GradMask differentiable_inputs(const Case& c);

/// The elements as `dtype` holds them.
Arrays rounded(const Case& c, const Arrays& values, DType dtype);

/// Error of a result of this type relative to 1 + its size that the table allows.
double tolerance(DType dtype);
/// The same for gradients, beside those in float64.
double gradient_tolerance(DType dtype);

// What differs, in words; empty when nothing does.
std::string difference(const Array& got, const Array& want, double tolerance);
std::string difference_in_bits(const Tensor& a, const Tensor& b);
std::string difference_in_bits(const RunResult& a, const RunResult& b);

}  // namespace reprise::op_test
