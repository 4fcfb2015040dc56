// Elementwise functions, copies and dropout.
#include <fmt/format.h>

#include "kernel_cases.h"
#include "reprise/kernels/elementwise.h"
#include "reprise/kernels/random.h"

namespace reprise::bench {
namespace {

using kernels::ConstView;
using kernels::Queue;

constexpr std::int64_t kColumns = 1024;

/// The view with its two axes exchanged.
ConstView transposed(const Tensor& tensor) {
  ConstView result = view(tensor);
  std::swap(result.sizes[0], result.sizes[1]);
  std::swap(result.strides[0], result.strides[1]);
  return result;
}

/// A row that stands for `rows` equal ones.
ConstView as_every_row(const Tensor& row, std::int64_t rows) {
  ConstView result = view(row);
  result.rank = 2;
  result.sizes = kernels::PerAxis::Array{rows, row.numel()};
  result.strides = kernels::PerAxis::Array{0, 1};
  return result;
}

void measure_unary(Suite& suite, DType dtype) {
  using kernels::Unary;
  const std::int64_t n = suite.scale.elements(dtype);
  const std::string shape = fmt::format("{}", n);
  const Tensor x = randn({n}, {.dtype = dtype}), y = empty({n}, {.dtype = dtype});
  const Tensor dx = empty({n}, {.dtype = dtype});
  const struct {
    const char* name;
    Unary function;
  } functions[] = {{"relu", Unary::relu}, {"gelu_tanh", Unary::gelu_tanh}, {"exp", Unary::exp}};
  for (const auto& [name, function] : functions) {
    suite.measure("elementwise", name, dtype, shape, {.bytes = bytes_of(2, n, dtype)},
                  [&](const Queue& queue) { kernels::unary_forward(queue, function, 0, view(x), view(y)); });
  }
  suite.measure("elementwise", "gelu_tanh backward", dtype, shape, {.bytes = bytes_of(3, n, dtype)},
                [&](const Queue& queue) {
                  kernels::unary_backward(queue, Unary::gelu_tanh, 0, view(x), ConstView(), view(y),
                                          into(dx));
                });
}

void measure_binary(Suite& suite, DType dtype) {
  using kernels::Binary;
  const std::int64_t n = suite.scale.elements(dtype), rows = n / kColumns;
  const std::string shape = fmt::format("{}", n);
  const Tensor a = randn({rows, kColumns}, {.dtype = dtype}), b = randn({rows, kColumns}, {.dtype = dtype});
  const Tensor y = empty({rows, kColumns}, {.dtype = dtype}), bias = randn({kColumns}, {.dtype = dtype});
  suite.measure(
      "elementwise", "add", dtype, shape, {.bytes = bytes_of(3, n, dtype)},
      [&](const Queue& queue) { kernels::binary_forward(queue, Binary::add, view(a), view(b), view(y)); });
  suite.measure("elementwise", "add bias", dtype, fmt::format("({}, {})", rows, kColumns),
                {.bytes = bytes_of(2, n, dtype) + bytes_of(1, kColumns, dtype)}, [&](const Queue& queue) {
                  kernels::binary_forward(queue, Binary::add, view(a), as_every_row(bias, rows), view(y));
                });
  const Tensor da = empty({rows, kColumns}, {.dtype = dtype}), db = empty({rows, kColumns}, {.dtype = dtype});
  suite.measure("elementwise", "mul backward", dtype, shape, {.bytes = bytes_of(5, n, dtype)},
                [&](const Queue& queue) {
                  kernels::binary_backward(queue, Binary::mul, view(a), view(b), view(y), into(da), into(db));
                });
}

}  // namespace

void measure_elementwise(Suite& suite) {
  for (const DType dtype : kMeasured) {
    measure_unary(suite, dtype);
    measure_binary(suite, dtype);
  }
}

void measure_copies(Suite& suite) {
  for (const DType dtype : kMeasured) {
    const std::int64_t n = suite.scale.elements(dtype), rows = n / kColumns;
    const std::string shape = fmt::format("({}, {})", rows, kColumns);
    const Tensor x = randn({rows, kColumns}, {.dtype = dtype}), y = empty({rows, kColumns}, {.dtype = dtype});
    const Tensor turned = empty({kColumns, rows}, {.dtype = dtype});
    suite.measure("copy", "copy", dtype, shape, {.bytes = bytes_of(2, n, dtype)},
                  [&](const Queue& queue) { kernels::copy(queue, view(x), into(y)); });
    suite.measure("copy", "transposed copy", dtype, shape, {.bytes = bytes_of(2, n, dtype)},
                  [&](const Queue& queue) { kernels::copy(queue, transposed(x), into(turned)); });
    suite.measure("copy", "add into", dtype, shape, {.bytes = bytes_of(3, n, dtype)},
                  [&](const Queue& queue) {
                    kernels::copy(queue, view(x), {view(y), kernels::Write::accumulate});
                  });
    suite.measure("copy", "fill", dtype, shape, {.bytes = bytes_of(1, n, dtype)},
                  [&](const Queue& queue) { kernels::fill(queue, 1.0, view(y)); });
  }
  const std::int64_t n = suite.scale.elements(DType::float32);
  const Tensor wide = randn({n}), narrow = empty({n}, {.dtype = DType::bfloat16});
  const double bytes = bytes_of(1, n, DType::float32) + bytes_of(1, n, DType::bfloat16);
  suite.measure("copy", "cast to bfloat16", DType::float32, fmt::format("{}", n), {.bytes = bytes},
                [&](const Queue& queue) { kernels::copy(queue, view(wide), into(narrow)); });
  suite.measure("copy", "cast to float32", DType::bfloat16, fmt::format("{}", n), {.bytes = bytes},
                [&](const Queue& queue) { kernels::copy(queue, view(narrow), into(wide)); });
}

void measure_dropout(Suite& suite) {
  for (const DType dtype : kMeasured) {
    const std::int64_t n = suite.scale.elements(dtype);
    const Tensor x = randn({n}, {.dtype = dtype}), y = empty({n}, {.dtype = dtype});
    suite.measure("dropout", "dropout", dtype, fmt::format("{}", n), {.bytes = bytes_of(2, n, dtype)},
                  [&](const Queue& queue) {
                    kernels::dropout(queue, {1, 2}, 0.1, view(x), into(y));
                  });
  }
}

}  // namespace reprise::bench
