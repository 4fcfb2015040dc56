// Matrix products against triple loops in double, through every library.
#include <catch2/catch.hpp>

#include <cmath>
#include <string>
#include <vector>

#include "kernel_products.h"
#include "reprise/kernels/matmul.h"

namespace reprise::kernels {
namespace {

using Order = std::vector<int>;
using Sizes = std::vector<std::int64_t>;

/// An operand: the order of its axes in memory, a gap between runs, and the batch axes that are broadcast.
struct Operand {
  Order order{};
  std::int64_t gap = 0;
  std::vector<int> broadcast{};
};

struct Case {
  std::string name;
  Sizes batch{};
  std::int64_t m = 0, k = 0, n = 0;
  Operand a{}, b{}, c{};
};

const Order kTransposed{1, 0};

const std::vector<Case> kCases{
    {"one element", {}, 1, 1, 1},
    {"small", {}, 3, 5, 7},
    {"31, 32, 33", {}, 31, 32, 33},
    {"a is transposed", {}, 33, 17, 31, {kTransposed}},
    {"b is transposed", {}, 33, 17, 31, {}, {kTransposed}},
    {"both are transposed", {}, 33, 17, 31, {kTransposed}, {kTransposed}},
    {"c is transposed", {}, 33, 17, 31, {}, {}, {kTransposed}},
    {"all are transposed", {}, 33, 17, 31, {kTransposed}, {kTransposed}, {kTransposed}},
    {"rows with gaps", {}, 9, 65, 20, {{}, 3}, {kTransposed, 5}, {{}, 7}},
    {"transposed c with gaps", {}, 9, 65, 20, {{}, 3}, {{}, 5}, {kTransposed, 7}},
    {"one row", {}, 1, 130, 67},
    {"one row, b is transposed", {}, 1, 130, 67, {}, {kTransposed}},
    {"one column", {}, 67, 130, 1},
    {"one column with gaps", {}, 67, 130, 1, {}, {{}, 4}, {{}, 2}},
    {"inner size 1", {}, 67, 1, 45},
    {"several blocks", {}, 130, 257, 129, {}, {kTransposed}},
    {"long sums", {}, 5, 3000, 6, {kTransposed}, {}},
    {"no rows", {}, 0, 4, 5},
    {"no columns", {}, 4, 5, 0},
    {"no terms", {}, 4, 0, 5},
    {"empty batch", {0}, 4, 3, 5},
    {"batch without terms", {2}, 4, 0, 5},
    {"batch", {5}, 7, 9, 11},
    {"batch of one", {1}, 7, 9, 11},
    {"two batch axes", {2, 3}, 33, 8, 17, {}, {{0, 1, 3, 2}}},
    {"heads inside rows", {2, 3}, 20, 16, 20, {{0, 2, 1, 3}}, {{0, 3, 1, 2}}, {{0, 2, 1, 3}}},
    {"b is the same for all", {2, 3}, 5, 16, 20, {}, {{}, 0, {0, 1}}},
    {"one row, b is the same for all", {6}, 1, 16, 20, {}, {{}, 0, {0}}},
    {"transposed b is the same for all", {4}, 5, 16, 20, {}, {{0, 2, 1}, 0, {0}}},
    {"a is the same for all", {3, 2}, 5, 16, 20, {{}, 0, {0, 1}}},
    {"each broadcasts over one axis", {3, 2}, 5, 16, 20, {{}, 0, {0}}, {{}, 0, {1}}},
    {"batch innermost in a", {4}, 6, 10, 9, {{1, 2, 0}}},
    {"batch innermost in b", {4}, 6, 10, 9, {}, {{1, 2, 0}}},
    {"batch innermost in c", {4}, 6, 10, 9, {}, {}, {{1, 2, 0}}},
    {"batch innermost everywhere", {4}, 6, 10, 9, {{1, 2, 0}}, {{2, 1, 0}}, {{1, 2, 0}}},
    {"broadcast copy", {4, 3}, 6, 10, 9, {{2, 3, 1, 0}, 0, {0}}},
    {"many small", {65}, 3, 4, 5},
};

/// An operand's memory, and the view of it with broadcast axes as large as the batch.
struct Matrix {
  KernelTensor memory;
  View view;
};

Matrix make(DType dtype, const Sizes& batch, std::int64_t rows, std::int64_t columns, const Operand& operand,
            std::int64_t seed) {
  Sizes sizes = batch;
  sizes.insert(sizes.end(), {rows, columns});
  Sizes stored = sizes;
  for (const int axis : operand.broadcast) stored[static_cast<std::size_t>(axis)] = 1;
  KernelTensor memory(dtype, stored, operand.order, operand.gap);
  if (seed != 0) fill_exact(memory, seed);
  return {memory, {}};
}

/// The view of a matrix that no longer moves.
View view_of(const Matrix& matrix, const Sizes& batch, const Operand& operand) {
  View view = matrix.memory.view();
  for (const int axis : operand.broadcast) {
    view.sizes[axis] = batch[static_cast<std::size_t>(axis)];
    view.strides[axis] = 0;
  }
  return view;
}

/// The product of a (..., m, k) and b (..., k, n) in double, and the sums of the terms' absolute values.
struct Reference {
  std::vector<double> values, magnitudes;
};

Reference multiply(const ConstView& a, const ConstView& b, std::int64_t m, std::int64_t k, std::int64_t n,
                   std::int64_t batches) {
  const std::vector<double> left = values_of(a), right = values_of(b);
  Reference reference;
  for (std::int64_t row = 0; row < batches * m; ++row) {
    for (std::int64_t j = 0; j < n; ++j) {
      double sum = 0, magnitude = 0;
      for (std::int64_t i = 0; i < k; ++i) {
        const double term = left[static_cast<std::size_t>(row * k + i)] *
                            right[static_cast<std::size_t>((row / m * k + i) * n + j)];
        sum += term;
        magnitude += std::abs(term);
      }
      reference.values.push_back(sum);
      reference.magnitudes.push_back(magnitude);
    }
  }
  return reference;
}

void check_matmul(const Case& test, DType dtype, DType result, double alpha, Write write) {
  const Matrix a = make(dtype, test.batch, test.m, test.k, test.a, 1);
  const Matrix b = make(dtype, test.batch, test.k, test.n, test.b, 2);
  const Matrix c = make(result, test.batch, test.m, test.n, test.c, write == Write::accumulate ? 3 : 0);
  const View a_view = view_of(a, test.batch, test.a), b_view = view_of(b, test.batch, test.b);
  const View c_view = c.memory.view();
  const std::vector<double> before = c.memory.values();
  std::int64_t batches = 1;
  for (const std::int64_t size : test.batch) batches *= size;
  const Reference reference = multiply(a_view, b_view, test.m, test.k, test.n, batches);

  ConstView a_layout = a_view, b_layout = b_view;
  View c_layout = c_view;
  a_layout.data = b_layout.data = nullptr;
  c_layout.data = nullptr;
  GuardedWorkspace workspace(matmul_workspace_bytes(DeviceKind::cpu, a_layout, b_layout, c_layout));
  matmul({}, alpha, a_view, b_view, {c_view, write}, workspace);

  CHECK(workspace.guards_intact());
  CHECK(c.memory.guards_intact());
  const std::vector<double> after = c.memory.values();
  for (std::size_t i = 0; i < after.size(); ++i) {
    const double base = write == Write::accumulate ? before[i] : 0;
    const double expected = base + alpha * reference.values[i];
    const double magnitude = std::abs(base) + std::abs(alpha) * reference.magnitudes[i];
    if (!(std::abs(after[i] - expected) <= sum_tolerance(result, test.k, magnitude, expected))) {
      FAIL_CHECK("element " << i << " is " << after[i] << ", not " << expected);
      return;
    }
  }
}

TEST_CASE("matmul agrees with loops in double", "[kernels][matmul]") {
  for (const CpuLibrary library : kLibraries) {
    const LibraryScope scope(library);
    for (const Case& test : kCases) {
      for (const DType dtype : kFloatingTypes) {
        INFO(name_of(library) << ", " << test.name << ", " << name_of(dtype));
        for (const DType result : {dtype, DType::float32}) {
          if (result != dtype && size_of(dtype) != 2) continue;
          INFO("gives " << name_of(result));
          check_matmul(test, dtype, result, 1, Write::overwrite);
          check_matmul(test, dtype, result, 1, Write::accumulate);
          check_matmul(test, dtype, result, -0.375, Write::overwrite);
          check_matmul(test, dtype, result, 0.5, Write::accumulate);
        }
      }
    }
  }
}

TEST_CASE("matmul gives the same bits each time", "[kernels][matmul]") {
  for (const CpuLibrary library : kLibraries) {
    const LibraryScope scope(library);
    for (const int threads : {1, 2, 3}) {
      const ThreadsScope thread_scope(threads);
      KernelTensor a(DType::float32, {65, 300}), b(DType::float32, {300, 70}, kTransposed),
          first(DType::float32, {65, 70});
      fill_exact(a, 1);
      fill_exact(b, 2);
      KernelTensor second = first;
      for (KernelTensor* c : {&first, &second}) {
        GuardedWorkspace workspace(matmul_workspace_bytes(DeviceKind::cpu, a, b, *c));
        matmul({}, 0.3, a, b, {*c}, workspace);
      }
      INFO(name_of(library) << ", " << threads << " threads");
      CHECK(first.same_bytes(second));
    }
  }
}

TEST_CASE("matmul passes NaN and infinity on, and does not read what it overwrites", "[kernels][matmul]") {
  for (const CpuLibrary library : kLibraries) {
    const LibraryScope scope(library);
    for (const DType dtype : kFloatingTypes) {
      INFO(name_of(library) << ", " << name_of(dtype));
      KernelTensor a(dtype, {4, 33}), b(dtype, {33, 35}), c(dtype, {4, 35});
      fill_exact(a, 1);
      fill_exact(b, 2);
      a.set(1 * 33 + 5, std::nan(""));
      a.set(2 * 33 + 5, INFINITY);
      b.fill([&](std::int64_t i) { return 1 + 0.25 * static_cast<double>(i % 3); });
      GuardedWorkspace workspace(matmul_workspace_bytes(DeviceKind::cpu, a, b, c));
      matmul({}, 1, a, b, {c}, workspace);
      for (std::int64_t j = 0; j < 35; ++j) {
        CHECK(std::isfinite(c.get(j)));
        CHECK(std::isnan(c.get(35 + j)));
        CHECK(std::isinf(c.get(2 * 35 + j)));
        CHECK(std::isfinite(c.get(3 * 35 + j)));
      }
    }
  }
}

double activate(Activation activation, double x) {
  switch (activation) {
    case Activation::none:
      return x;
    case Activation::relu:
      return std::max(x, 0.0);
    case Activation::gelu_tanh:
      return 0.5 * x * (1 + std::tanh(std::sqrt(2 / std::acos(-1.0)) * (x + 0.044715 * x * x * x)));
    case Activation::gelu_erf:
      return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0)));
    case Activation::silu:
      return x / (1 + std::exp(-x));
  }
  return 0;
}

struct LinearCase {
  std::int64_t m, k, n;
  Order weight_order{};
  Order y_order{};
  bool bias = true;
};

const std::vector<LinearCase> kLinearCases{
    {1, 1, 1},
    {5, 7, 3},
    {33, 31, 65, kTransposed},
    {33, 31, 65, kTransposed, {}, false},
    {1, 70, 40},
    {40, 70, 1},
    {7, 64, 128, {}, kTransposed},
    {0, 3, 4},
    {4, 0, 5},
    {4, 0, 5, {}, {}, false},
    {4, 3, 0},
};

/// Which outputs of linear_forward are asked for.
enum class Wanted { y, pre, both };

void check_linear(const LinearCase& test, DType dtype, Activation activation, Wanted wanted) {
  KernelTensor x(dtype, {test.m, test.k}), w(dtype, {test.k, test.n}, test.weight_order),
      bias(dtype, {test.n});
  KernelTensor pre(dtype, {test.m, test.n}, test.y_order), y(dtype, {test.m, test.n}, test.y_order);
  fill_exact(x, 1);
  fill_exact(w, 2);
  fill_exact(bias, 5);
  const Reference reference = multiply(ConstView(x), ConstView(w), test.m, test.k, test.n, 1);
  GuardedWorkspace workspace(linear_workspace_bytes(DeviceKind::cpu, x, w, y));
  linear_forward({}, activation, x, w, test.bias ? ConstView(bias) : ConstView(),
                 wanted == Wanted::y ? View() : pre.view(), wanted == Wanted::pre ? View() : y.view(),
                 workspace);
  CHECK(workspace.guards_intact());
  CHECK(pre.guards_intact());
  CHECK(y.guards_intact());
  for (std::int64_t i = 0; i < test.m * test.n; ++i) {
    const auto at = static_cast<std::size_t>(i);
    const double add = test.bias ? bias.get(i % test.n) : 0;
    const double sum = reference.values[at] + add;
    const double tolerance = sum_tolerance(dtype, test.k, reference.magnitudes[at] + std::abs(add), sum);
    if (wanted != Wanted::y) REQUIRE(std::abs(pre.get(i) - sum) <= tolerance);
    if (wanted == Wanted::pre) continue;
    const double expected = activate(activation, sum);
    const double rounding = 4 * unit_roundoff(dtype == DType::float64 ? DType::float64 : DType::float32);
    REQUIRE(std::abs(y.get(i) - expected) <=
            1.2 * tolerance + unit_roundoff(dtype) * std::abs(expected) + rounding * (1 + std::abs(sum)));
  }
}

TEST_CASE("linear_forward adds the bias and activates", "[kernels][matmul]") {
  using enum Activation;
  for (const CpuLibrary library : kLibraries) {
    const LibraryScope scope(library);
    for (const LinearCase& test : kLinearCases) {
      for (const DType dtype : kFloatingTypes) {
        for (const Activation activation : {none, relu, gelu_tanh, gelu_erf, silu}) {
          INFO(name_of(library) << ", " << test.m << " x " << test.k << " x " << test.n << ", "
                                << name_of(dtype) << ", activation " << static_cast<int>(activation));
          check_linear(test, dtype, activation, Wanted::y);
          if (activation == none) continue;
          check_linear(test, dtype, activation, Wanted::pre);
          check_linear(test, dtype, activation, Wanted::both);
        }
      }
    }
  }
}

TEST_CASE("linear_forward gives the same bits whether or not it keeps what it activates",
          "[kernels][matmul]") {
  for (const DType dtype : kFloatingTypes) {
    KernelTensor x(dtype, {9, 33}), w(dtype, {33, 20}), pre(dtype, {9, 20}), kept(dtype, {9, 20});
    fill_exact(x, 1);
    fill_exact(w, 2);
    KernelTensor alone = kept;
    GuardedWorkspace workspace(linear_workspace_bytes(DeviceKind::cpu, x, w, kept));
    linear_forward({}, Activation::gelu_tanh, x, w, {}, pre, kept, workspace);
    linear_forward({}, Activation::gelu_tanh, x, w, {}, {}, alone, workspace);
    CHECK(kept.same_bytes(alone));
  }
}

struct BiasCase {
  std::int64_t m, n;
  Order order{};
  std::int64_t gap = 0;
};

const std::vector<BiasCase> kBiasCases{{0, 5},    {5, 0},     {1, 1},           {3, 31},
                                       {64, 32},  {65, 33},   {1000, 3},        {129, 257},
                                       {7, 9000}, {70, 9000}, {300, 40, {}, 5}, {300, 40, kTransposed}};

TEST_CASE("bias_backward sums columns, whatever the number of threads", "[kernels][matmul]") {
  for (const BiasCase& test : kBiasCases) {
    for (const DType dtype : kFloatingTypes) {
      INFO(test.m << " x " << test.n << ", " << name_of(dtype));
      KernelTensor dy(dtype, {test.m, test.n}, test.order, test.gap);
      fill_exact(dy, 1);
      for (const Write write : {Write::overwrite, Write::accumulate}) {
        KernelTensor dbias(dtype, {test.n});
        if (write == Write::accumulate) fill_exact(dbias, 4);
        const KernelTensor before = dbias;
        KernelTensor serial = dbias;
        bias_backward({}, dy, {dbias, write}, {});
        CHECK(dbias.guards_intact());
        for (std::int64_t j = 0; j < test.n; ++j) {
          double sum = write == Write::accumulate ? before.get(j) : 0, magnitude = std::abs(sum);
          for (std::int64_t i = 0; i < test.m; ++i) {
            sum += dy.get(i * test.n + j);
            magnitude += std::abs(dy.get(i * test.n + j));
          }
          REQUIRE(std::abs(dbias.get(j) - sum) <= sum_tolerance(dtype, test.m, magnitude, sum));
        }
        for (const int threads : {1, 3}) {
          const ThreadsScope scope(threads);
          KernelTensor again = before;
          bias_backward({}, dy, {again, write}, {});
          CHECK(again.same_bytes(dbias));
        }
      }
    }
  }
}

}  // namespace
}  // namespace reprise::kernels
