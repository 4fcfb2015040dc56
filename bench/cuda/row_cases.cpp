// Kernels that go through rows or columns: reductions, norms, softmax, cross entropy.
#include <fmt/format.h>

#include "kernel_cases.h"
#include "reprise/kernels/matmul.h"
#include "reprise/kernels/norm.h"
#include "reprise/kernels/reduce.h"
#include "reprise/kernels/softmax.h"

namespace reprise::bench {
namespace {

using kernels::ConstView;
using kernels::Queue;

constexpr std::int64_t kColumns = 1024;
constexpr DeviceKind kCuda = DeviceKind::cuda;

/// Rows and columns of an array of the usual size.
struct Matrix {
  std::int64_t rows, columns;
  DType dtype;

  Matrix(const Suite& suite, std::int64_t wide, DType type)
      : rows(suite.scale.elements(type) / wide), columns(wide), dtype(type) {}
  Tensor random() const { return randn({rows, columns}, {.dtype = dtype}); }
  Tensor fresh() const { return empty({rows, columns}, {.dtype = dtype}); }
  Tensor row() const { return randn({columns}, {.dtype = dtype}); }
  Cost arrays(double count) const { return {.bytes = bytes_of(count, rows * columns, dtype)}; }
  std::string shape() const { return fmt::format("({}, {})", rows, columns); }
};

void measure_reduction(Suite& suite, const Matrix& m, const char* name, const Shape& result) {
  const Tensor x = m.random(), y = empty(result, {.dtype = m.dtype});
  const Scratch scratch(kernels::reduce_workspace_bytes(kCuda, kernels::Reduce::sum, view(x), view(y)));
  suite.measure("reduction", name, m.dtype, m.shape(), m.arrays(1), [&](const Queue& queue) {
    kernels::reduce(queue, kernels::Reduce::sum, view(x), into(y), scratch.get());
  });
}

}  // namespace

void measure_reductions(Suite& suite) {
  for (const DType dtype : kMeasured) {
    const Matrix m(suite, kColumns, dtype);
    measure_reduction(suite, m, "sum of rows", {m.rows, 1});
    measure_reduction(suite, m, "sum of columns", {1, m.columns});
    measure_reduction(suite, m, "sum of all", {1, 1});
    const Tensor dy = m.random(), dbias = empty({m.columns}, {.dtype = dtype});
    const Scratch scratch(kernels::bias_backward_workspace_bytes(kCuda, view(dy)));
    suite.measure("reduction", "bias backward", dtype, m.shape(), m.arrays(1), [&](const Queue& queue) {
      kernels::bias_backward(queue, view(dy), into(dbias), scratch.get());
    });
  }
}

void measure_row_norms(Suite& suite) {
  constexpr std::int64_t kWidth = 768;
  for (const DType dtype : kMeasured) {
    const Matrix m(suite, kWidth, dtype);
    const Tensor x = m.random(), y = m.fresh(), dx = m.fresh(), weight = m.row(), bias = m.row();
    const Tensor dweight = empty({kWidth}, {.dtype = dtype}), dbias = empty({kWidth}, {.dtype = dtype});
    const Tensor mean = empty({m.rows}), rstd = empty({m.rows});
    const Scratch scratch(kernels::norm_backward_workspace_bytes(kCuda, view(x)));
    suite.measure("layer norm", "forward", dtype, m.shape(), m.arrays(2), [&](const Queue& queue) {
      kernels::layer_norm_forward(queue, 1e-5, view(x), view(weight), view(bias), view(y), view(mean),
                                  view(rstd));
    });
    suite.measure("layer norm", "backward", dtype, m.shape(), m.arrays(3), [&](const Queue& queue) {
      kernels::layer_norm_backward(queue, view(x), view(weight), view(mean), view(rstd), view(y), into(dx),
                                   into(dweight), into(dbias), scratch.get());
    });
    suite.measure("rms norm", "forward", dtype, m.shape(), m.arrays(2), [&](const Queue& queue) {
      kernels::rms_norm_forward(queue, 1e-6, view(x), view(weight), view(y), view(rstd));
    });
    suite.measure("rms norm", "backward", dtype, m.shape(), m.arrays(3), [&](const Queue& queue) {
      kernels::rms_norm_backward(queue, view(x), view(weight), view(rstd), view(y), into(dx), into(dweight),
                                 scratch.get());
    });
  }
}

void measure_batch_norm(Suite& suite) {
  const std::int64_t channels = suite.scale.pick(256, 8), side = suite.scale.pick(56, 4);
  for (const DType dtype : kMeasured) {
    const std::int64_t images =
        std::max<std::int64_t>(suite.scale.elements(dtype) / (channels * side * side), 2);
    const Shape sizes{images, channels, side, side};
    const std::string shape = fmt::format("({}, {}, {}, {})", images, channels, side, side);
    const TensorOptions options{.dtype = dtype, .channels_last = true};
    const auto arrays = [&](double count) { return Cost{.bytes = bytes_of(count, sizes.numel(), dtype)}; };
    const Tensor x = randn(sizes, options), y = randn(sizes, options), dx = empty(sizes, options);
    const Tensor mean = empty({channels}), variance = empty({channels});
    const Tensor weight = randn({channels}, {.dtype = dtype}), bias = randn({channels}, {.dtype = dtype});
    const Tensor dweight = empty({channels}, {.dtype = dtype}), dbias = empty({channels}, {.dtype = dtype});
    const Scratch scratch(kernels::batch_norm_workspace_bytes(kCuda, view(x)));
    suite.measure("batch norm", "statistics", dtype, shape, arrays(1), [&](const Queue& queue) {
      kernels::batch_norm_statistics(queue, view(x), view(mean), view(variance), scratch.get());
    });
    suite.measure("batch norm", "apply, relu", dtype, shape, arrays(2), [&](const Queue& queue) {
      kernels::batch_norm_apply(queue, 1e-5, true, view(x), view(mean), view(variance), view(weight),
                                view(bias), view(y));
    });
    // x and dy are read for the sums, and again for dx.
    suite.measure("batch norm", "backward, relu", dtype, shape, arrays(5), [&](const Queue& queue) {
      kernels::batch_norm_backward(queue, 1e-5, true, true, view(x), view(mean), view(variance), view(weight),
                                   view(bias), view(y), into(dx), into(dweight), into(dbias), scratch.get());
    });
  }
}

void measure_softmax(Suite& suite) {
  for (const DType dtype : kMeasured) {
    const Matrix m(suite, kColumns, dtype);
    const Tensor x = m.random(), y = m.fresh(), dx = m.fresh();
    suite.measure("softmax", "forward", dtype, m.shape(), m.arrays(2),
                  [&](const Queue& queue) { kernels::softmax_forward(queue, view(x), view(y)); });
    suite.measure("softmax", "backward", dtype, m.shape(), m.arrays(3),
                  [&](const Queue& queue) { kernels::softmax_backward(queue, view(y), view(x), into(dx)); });
    suite.measure("softmax", "log forward", dtype, m.shape(), m.arrays(2),
                  [&](const Queue& queue) { kernels::log_softmax_forward(queue, view(x), view(y)); });
  }
}

void measure_cross_entropy(Suite& suite) {
  using kernels::Reduction;
  constexpr std::int64_t kIgnore = -100;
  const std::int64_t rows = suite.scale.pick(8192, 8), classes = suite.scale.pick(50257, 257);
  for (const DType dtype : kMeasured) {
    const std::string shape = fmt::format("({}, {})", rows, classes);
    const auto arrays = [&](double count) { return Cost{.bytes = bytes_of(count, rows * classes, dtype)}; };
    const Tensor logits = randn({rows, classes}, {.dtype = dtype});
    const Tensor targets = random_ids({rows}, classes), losses = empty({rows}), statistics = empty({rows, 2});
    const Tensor total = empty({}), count = empty({}), dloss = ones({});
    suite.measure("cross entropy", "forward", dtype, shape, arrays(1), [&](const Queue& queue) {
      kernels::cross_entropy_forward(queue, Reduction::mean, kIgnore, view(logits), view(targets),
                                     view(losses), view(statistics), view(total), view(count));
    });
    suite.measure("cross entropy", "backward in place", dtype, shape, arrays(2), [&](const Queue& queue) {
      kernels::cross_entropy_backward(queue, Reduction::mean, kIgnore, view(logits), view(targets),
                                      view(statistics), view(count), view(dloss), into(logits));
    });
  }
}

}  // namespace reprise::bench
