// Softmax, log-softmax and cross entropy against formulas in double.
#include <algorithm>
#include <catch2/catch.hpp>
#include <limits>

#include "kernel_checks.h"
#include "reprise/kernels/softmax.h"

using namespace reprise;
using namespace reprise::kernels;

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

struct Rows {
  std::int64_t rows, columns;
};
const Rows kShapes[] = {{1, 1},    {3, 31},   {4, 32},  {2, 33}, {3, 1000},
                        {2, 1025}, {1, 5000}, {300, 7}, {0, 5},  {5, 0}};

/// The row of a vector of rows.
Doubles row_of(const Doubles& x, std::int64_t row, std::int64_t columns) {
  return {x.begin() + row * columns, x.begin() + (row + 1) * columns};
}

/// In a wider type, because float64 is one of those that are checked.
long double log_sum_exp(const Doubles& row) {
  long double largest = -kInfinity, sum = 0;
  for (const double value : row) largest = std::max<long double>(largest, value);
  for (const double value : row) sum += std::exp(value - largest);
  return largest + std::log(sum);
}

Doubles log_softmax(const Doubles& x, std::int64_t columns) {
  Doubles y;
  for (std::int64_t row = 0; columns > 0 && row < static_cast<std::int64_t>(x.size()) / columns; ++row) {
    const Doubles values = row_of(x, row, columns);
    const long double lse = log_sum_exp(values);
    for (const double value : values) y.push_back(static_cast<double>(value - lse));
  }
  return y;
}

Doubles softmax(const Doubles& x, std::int64_t columns) {
  Doubles y = log_softmax(x, columns);
  for (double& value : y) value = std::exp(value);
  return y;
}

using Forward = void (*)(const Queue&, const ConstView&, const View&);
using Backward = void (*)(const Queue&, const ConstView&, const ConstView&, const Target&);
struct Function {
  const char* name;
  Forward forward;
  Backward backward;
  Doubles (*formula)(const Doubles&, std::int64_t);
};
const Function kFunctions[] = {
    {"softmax", cpu::softmax_forward, cpu::softmax_backward, softmax},
    {"log_softmax", cpu::log_softmax_forward, cpu::log_softmax_backward, log_softmax}};

struct CrossEntropy {
  KernelTensor row_loss, statistics, total, count;
  std::int64_t bad;

  CrossEntropy(Reduction reduction, const KernelTensor& logits, const KernelTensor& targets,
               std::int64_t ignore = -100)
      : row_loss(compute_dtype(logits.view().dtype), {logits.view().sizes[0]}),
        statistics(row_loss.view().dtype, {logits.view().sizes[0], 2}),
        total(row_loss.view().dtype, {}),
        count(total),
        bad(cross_entropy_forward(kCpu, reduction, ignore, logits, targets, row_loss, statistics,
                                  reduction == Reduction::none ? View() : total.view(), count)) {}
};

struct Losses {
  Doubles rows;
  double count = 0, total = 0;
};

Losses cross_entropy(Reduction reduction, const Doubles& logits, std::int64_t columns, const Doubles& targets,
                     double ignore = -100) {
  const Doubles log_p = log_softmax(logits, columns);
  Losses losses;
  for (std::size_t row = 0; row < targets.size(); ++row) {
    const bool used = targets[row] != ignore;
    const std::size_t at =
        row * static_cast<std::size_t>(columns) + static_cast<std::size_t>(used ? targets[row] : 0);
    losses.rows.push_back(used ? -log_p[at] : 0);
    losses.count += used ? 1 : 0;
    losses.total += losses.rows.back();
  }
  if (reduction == Reduction::mean) losses.total /= losses.count;
  return losses;
}

/// Targets within range, every third one ignored.
Doubles some_targets(std::int64_t rows, std::int64_t columns) {
  Doubles targets;
  for (std::int64_t row = 0; row < rows; ++row) {
    targets.push_back(row % 3 == 1 ? -100 : static_cast<double>((row * 7 + 3) % columns));
  }
  return targets;
}

}  // namespace

TEST_CASE("softmax and log-softmax agree with their formulas", "[kernels][softmax]") {
  for (const Function& function : kFunctions) {
    for (const auto [rows, columns] : kShapes) {
      for (const DType dtype : kFloatTypes) {
        for (const std::int64_t gap : {0, 5}) {
          CAPTURE(function.name, rows, columns, name_of(dtype), gap);
          const KernelTensor x =
              tensor_of(dtype, {rows, columns}, random_values(rows * columns, 1, 0, 3), {}, gap);
          KernelTensor y(dtype, {rows, columns}, {}, 2 * gap);
          function.forward(kCpu, x, y);
          CHECK(difference(y, function.formula(x.values(), columns)) == "");
        }
      }
    }
  }
}

TEST_CASE("softmax and log-softmax of extreme rows", "[kernels][softmax]") {
  const Doubles extremes[] = {
      {1e4, -1e4, 0, 9999},           {-1e4, -1e4, -1e4, -1e4 - 3}, {-kInfinity, 0, 1, -kInfinity},
      {-kInfinity, -kInfinity, 0, 2}, {3e4, 3e4, -3e4, 0},          {1, 2, kNaN, 3},
      {-kInfinity, kNaN, 0, 1}};
  for (const DType dtype : kFloatTypes) {
    for (const Doubles& row : extremes) {
      // The extremes lie in different pieces of a long row, the first of which is -inf alone.
      for (const std::int64_t columns : {std::int64_t{4}, std::int64_t{3000}}) {
        KernelTensor x(dtype, {1, columns});
        x.fill([&](std::int64_t i) {
          return columns == 4 || i % 700 == 699 ? row[static_cast<std::size_t>(columns == 4 ? i : i / 700)]
                                                : -kInfinity;
        });
        CAPTURE(name_of(dtype), row, columns);
        for (const Function& function : kFunctions) {
          CAPTURE(function.name);
          KernelTensor y(dtype, {1, columns});
          function.forward(kCpu, x, y);
          CHECK(difference(y, function.formula(x.values(), columns)) == "");
        }
      }
    }
    for (const Function& function : kFunctions) {
      KernelTensor x(dtype, {1, 1500}), y(dtype, {1, 1500});
      x.fill([](std::int64_t) { return -kInfinity; });
      function.forward(kCpu, x, y);
      CHECK(difference(y, Doubles(1500, kNaN)) == "");
    }
  }
}

TEST_CASE("gradients of softmax and log-softmax", "[kernels][softmax][gradcheck]") {
  for (const Function& function : kFunctions) {
    for (const auto [rows, columns] : {Rows{1, 1}, {3, 31}, {2, 33}, {1, 130}}) {
      CAPTURE(function.name, rows, columns);
      const KernelTensor x = tensor_of(DType::float64, {rows, columns}, random_values(rows * columns, 2));
      const KernelTensor dy =
          tensor_of(DType::float64, {rows, columns}, random_values(rows * columns, 3), {}, 3);
      KernelTensor y(DType::float64, {rows, columns}, {}, 1), dx(DType::float64, {rows, columns}, {}, 2);
      function.forward(kCpu, x, y);
      function.backward(kCpu, y, dy, {dx, Write::overwrite});
      const Doubles expected = central_differences(
          [&](const Doubles& values) { return dot(function.formula(values, columns), dy.values()); },
          x.values());
      CHECK(gradient_difference(dx, expected) == "");
    }
  }
}

TEST_CASE("backward of softmax and log-softmax in every type, written and added", "[kernels][softmax]") {
  for (const Function& function : kFunctions) {
    for (const auto [rows, columns] : kShapes) {
      for (const DType dtype : kFloatTypes) {
        CAPTURE(function.name, rows, columns, name_of(dtype));
        const std::int64_t n = rows * columns;
        KernelTensor y = tensor_of(dtype, {rows, columns}, function.formula(random_values(n, 4), columns));
        const KernelTensor dy = tensor_of(dtype, {rows, columns}, random_values(n, 5));
        const KernelTensor wide_y = tensor_of(DType::float64, {rows, columns}, y.values());
        const KernelTensor wide_dy = tensor_of(DType::float64, {rows, columns}, dy.values());
        KernelTensor expected(DType::float64, {rows, columns}), dx(dtype, {rows, columns}, {}, 3);
        function.backward(kCpu, wide_y, wide_dy, {expected, Write::overwrite});
        function.backward(kCpu, y, dy, {dx, Write::overwrite});
        CHECK(difference(dx, expected.values(), 4) == "");

        KernelTensor added = tensor_of(dtype, {rows, columns}, random_values(n, 6), {}, 3);
        const Doubles sum = sum_of(added.values(), expected.values());
        function.backward(kCpu, y, dy, {added, Write::accumulate});
        CHECK(difference(added, sum, 4) == "");
      }
    }
  }
}

TEST_CASE("cross entropy agrees with its formula", "[kernels][softmax]") {
  for (const auto [rows, columns] : kShapes) {
    if (columns == 0) continue;
    for (const DType dtype : kFloatTypes) {
      for (const DType integer : {DType::int32, DType::int64}) {
        for (const Reduction reduction : {Reduction::none, Reduction::mean, Reduction::sum}) {
          CAPTURE(rows, columns, name_of(dtype), name_of(integer), static_cast<int>(reduction));
          const KernelTensor logits =
              tensor_of(dtype, {rows, columns}, random_values(rows * columns, 7, 0, 3), {}, 2);
          const KernelTensor targets = tensor_of(integer, {rows}, some_targets(rows, columns));
          const CrossEntropy got(reduction, logits, targets);
          const Losses expected = cross_entropy(reduction, logits.values(), columns, targets.values());
          CHECK(got.bad == -100);
          CHECK(difference(got.row_loss, expected.rows) == "");
          CHECK(got.count.get(0) == expected.count);
          Doubles statistics;
          for (std::int64_t row = 0; row < rows; ++row) {
            const Doubles values = row_of(logits.values(), row, columns);
            const double largest = *std::max_element(values.begin(), values.end());
            statistics.push_back(largest);
            statistics.push_back(static_cast<double>(std::exp(log_sum_exp(values) - largest)));
          }
          CHECK(difference(got.statistics, statistics) == "");
          if (reduction != Reduction::none) CHECK(difference(got.total, {expected.total}) == "");
        }
      }
    }
  }
}

TEST_CASE("cross entropy names the first target that is out of range", "[kernels][softmax]") {
  const KernelTensor logits = tensor_of(DType::float32, {4, 5}, random_values(20, 8));
  struct Case {
    Doubles targets;
    std::int64_t ignore, bad;
  };
  const Case cases[] = {{{0, 4, 5, -1}, -100, 5},
                        {{0, -1, 7, 2}, -100, -1},
                        {{0, -1, 4, 2}, -1, -1},
                        {{7, 7, 0, 0}, 7, 7},
                        {{7, 0, 8, 0}, 7, 8}};
  for (const auto& [targets, ignore, bad] : cases) {
    for (const DType integer : {DType::int32, DType::int64}) {
      CAPTURE(targets, ignore);
      CHECK(CrossEntropy(Reduction::mean, logits, tensor_of(integer, {4}, targets), ignore).bad == bad);
    }
  }
}

TEST_CASE("cross entropy of extreme rows, and of none", "[kernels][softmax]") {
  const Doubles targets = {0, 1, 2, 0};
  for (const DType dtype : kFloatTypes) {
    CAPTURE(name_of(dtype));
    const KernelTensor logits = tensor_of(
        dtype, {4, 3}, {1e4, -1e4, 0, 1e4, -1e4, 0, -kInfinity, 0, 1, -kInfinity, -kInfinity, -kInfinity});
    const CrossEntropy got(Reduction::none, logits, tensor_of(DType::int64, {4}, targets));
    CHECK(difference(got.row_loss, cross_entropy(Reduction::none, logits.values(), 3, targets).rows) == "");

    const CrossEntropy ignored(Reduction::mean, logits, tensor_of(DType::int64, {4}, Doubles(4, -100)));
    CHECK(std::isnan(ignored.total.get(0)));
    CHECK(ignored.count.get(0) == 0);
    const CrossEntropy sum(Reduction::sum, KernelTensor(dtype, {0, 3}), KernelTensor(DType::int64, {0}));
    CHECK(sum.total.get(0) == 0);
  }
}

TEST_CASE("gradients of cross entropy", "[kernels][softmax][gradcheck]") {
  for (const auto [rows, columns] : {Rows{1, 1}, {4, 31}, {3, 33}, {5, 100}}) {
    for (const Reduction reduction : {Reduction::none, Reduction::mean, Reduction::sum}) {
      CAPTURE(rows, columns, static_cast<int>(reduction));
      const KernelTensor logits =
          tensor_of(DType::float64, {rows, columns}, random_values(rows * columns, 9), {}, 3);
      const KernelTensor targets = tensor_of(DType::int32, {rows}, some_targets(rows, columns));
      const bool each = reduction == Reduction::none;
      const KernelTensor dloss =
          tensor_of(DType::float64, each ? std::vector{rows} : std::vector<std::int64_t>{},
                    random_values(each ? rows : 1, 10));
      const CrossEntropy got(reduction, logits, targets);
      KernelTensor dlogits(DType::float64, {rows, columns}, {}, 1);
      cross_entropy_backward(kCpu, reduction, -100, logits, targets, got.statistics, got.count, dloss,
                             {dlogits, Write::overwrite});
      const Doubles expected = central_differences(
          [&](const Doubles& values) {
            const Losses losses = cross_entropy(reduction, values, columns, targets.values());
            return each ? dot(losses.rows, dloss.values()) : losses.total * dloss.get(0);
          },
          logits.values());
      CHECK(gradient_difference(dlogits, expected) == "");
    }
  }
}

TEST_CASE("cross entropy's gradient does not depend on how large its logits are", "[kernels][softmax]") {
  for (const DType dtype : {DType::float32, DType::float64}) {
    for (const double offset : {0.0, 1e4, -1e4, 1e8, -1e8}) {
      for (const std::int64_t columns : {3, 33, 1500}) {
        CAPTURE(name_of(dtype), offset, columns);
        // Multiples of 8 are exact even beside 1e8.
        KernelTensor logits(dtype, {4, columns});
        logits.fill([&](std::int64_t i) { return offset + 8 * static_cast<double>(i * 7 % 3); });
        const KernelTensor targets = tensor_of(DType::int64, {4}, some_targets(4, columns));
        const KernelTensor dloss = tensor_of(dtype, {}, {1});
        const CrossEntropy got(Reduction::sum, logits, targets);
        Doubles expected, losses;
        for (std::int64_t row = 0; row < 4; ++row) {
          const Doubles values = row_of(logits.values(), row, columns);
          const double largest = *std::max_element(values.begin(), values.end());
          double sum = 0;
          for (const double value : values) sum += std::exp(value - largest);
          const bool counts = targets.get(row) != -100;
          const std::size_t own = counts ? static_cast<std::size_t>(targets.get(row)) : 0;
          losses.push_back(counts ? largest - values[own] + std::log(sum) : 0);
          for (std::int64_t i = 0; i < columns; ++i) {
            const double hit = targets.get(row) == static_cast<double>(i) ? 1 : 0;
            const double value = std::exp(values[static_cast<std::size_t>(i)] - largest) / sum - hit;
            expected.push_back(counts ? value : 0);
          }
        }
        CHECK(difference(got.row_loss, losses) == "");
        KernelTensor dlogits(dtype, {4, columns});
        cross_entropy_backward(kCpu, Reduction::sum, -100, logits, targets, got.statistics, got.count, dloss,
                               {dlogits, Write::overwrite});
        double worst = 0;
        for (std::int64_t i = 0; i < 4 * columns; ++i)
          worst = std::max(worst, std::fabs(dlogits.get(i) - expected[static_cast<std::size_t>(i)]));
        CHECK(worst <= (dtype == DType::float32 ? 2e-7 : 4e-16));
      }
    }
  }
}

TEST_CASE("backward of cross entropy in every type: written, added, and over the logits",
          "[kernels][softmax]") {
  for (const auto [rows, columns] : kShapes) {
    if (columns == 0) continue;
    for (const DType dtype : kFloatTypes) {
      CAPTURE(rows, columns, name_of(dtype));
      KernelTensor logits = tensor_of(dtype, {rows, columns}, random_values(rows * columns, 11), {}, 2);
      const KernelTensor targets = tensor_of(DType::int64, {rows}, some_targets(rows, columns));
      const KernelTensor dloss = tensor_of(compute_dtype(dtype), {}, {0.75});
      const CrossEntropy got(Reduction::sum, logits, targets);
      Doubles expected = softmax(logits.values(), columns);
      for (std::int64_t i = 0; i < logits.numel(); ++i) {
        const double target = targets.get(i / columns);
        const double hit = target == static_cast<double>(i % columns) ? 1 : 0;
        double& value = expected[static_cast<std::size_t>(i)];
        value = target == -100 ? 0 : 0.75 * (value - hit);
      }
      const auto backward = [&](const Target& dlogits) {
        cross_entropy_backward(kCpu, Reduction::sum, -100, logits, targets, got.statistics, got.count, dloss,
                               dlogits);
      };
      KernelTensor dlogits(dtype, {rows, columns}, {}, 1);
      backward({dlogits, Write::overwrite});
      CHECK(difference(dlogits, expected, 2) == "");

      KernelTensor added = tensor_of(dtype, {rows, columns}, random_values(rows * columns, 12));
      const Doubles sum = sum_of(added.values(), expected);
      backward({added, Write::accumulate});
      CHECK(difference(added, sum, 2) == "");

      backward({logits, Write::overwrite});
      CHECK(logits.values() == dlogits.values());
      CHECK(logits.guards_intact());
    }
  }
}

TEST_CASE("softmax kernels give the same bits on any number of threads", "[kernels][softmax]") {
  constexpr std::int64_t rows = 101, columns = 1003;
  const KernelTensor x = tensor_of(DType::float32, {rows, columns}, random_values(rows * columns, 13, 0, 4));
  const KernelTensor targets = tensor_of(DType::int64, {rows}, some_targets(rows, columns));
  const KernelTensor dloss = tensor_of(DType::float32, {}, {1});
  const auto results = [&](int threads) {
    const ThreadsScope scope(threads);
    std::vector<Doubles> all;
    for (const Function& function : kFunctions) {
      KernelTensor y(DType::float32, {rows, columns}), dx(y);
      function.forward(kCpu, x, y);
      function.backward(kCpu, y, x, {dx, Write::overwrite});
      all.push_back(y.values());
      all.push_back(dx.values());
    }
    const CrossEntropy loss(Reduction::mean, x, targets);
    KernelTensor dlogits(DType::float32, {rows, columns});
    cross_entropy_backward(kCpu, Reduction::mean, -100, x, targets, loss.statistics, loss.count, dloss,
                           {dlogits, Write::overwrite});
    for (const KernelTensor& tensor : {loss.row_loss, loss.statistics, loss.total, dlogits})
      all.push_back(tensor.values());
    return all;
  };
  const auto expected = results(1);
  CHECK(results(2) == expected);
  CHECK(results(5) == expected);
}
