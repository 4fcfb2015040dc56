// The reductions against sums in double, over every choice of axes.
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

#include "kernel_array.h"
#include "reprise/kernels/reduce.h"
#include "reprise/kernels/threads.h"

using namespace reprise;
using namespace reprise::kernels;

namespace {

using Sizes = KernelArray::Sizes;

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

const Queue kQueue;

const std::vector<Sizes> kSizes = {{},        {1},          {33},         {7, 65},      {300, 3},
                                   {3, 2100}, {2, 3, 5, 7}, {4, 1, 6, 1}, {2, 9, 4, 31}};

/// Every set of axes of this rank, as a bit mask.
unsigned masks(const Sizes& sizes) { return 1u << sizes.size(); }

Sizes reduced_sizes(Sizes sizes, unsigned mask) {
  for (std::size_t axis = 0; axis < sizes.size(); ++axis) {
    if (mask >> axis & 1u) sizes[axis] = 1;
  }
  return sizes;
}

/// For every element of x the element of the result that it belongs to, both in row-major order.
std::vector<std::int64_t> owners(const Sizes& sizes, unsigned mask) {
  std::int64_t numel = 1;
  for (const std::int64_t size : sizes) numel *= size;
  std::vector<std::int64_t> result(static_cast<std::size_t>(numel));
  for (std::int64_t i = 0; i < numel; ++i) {
    std::int64_t rest = i, owner = 0, scale = 1;
    for (std::size_t axis = sizes.size(); axis-- > 0;) {
      const std::int64_t at = rest % sizes[axis];
      rest /= sizes[axis];
      if (mask >> axis & 1u) continue;
      owner += at * scale;
      scale *= sizes[axis];
    }
    result[static_cast<std::size_t>(i)] = owner;
  }
  return result;
}

std::vector<double> expected_reduction(Reduce function, const KernelArray& x,
                                       const std::vector<std::int64_t>& owner, std::int64_t results) {
  // Wider than double, since that is one of the types that are checked.
  std::vector<long double> value(static_cast<std::size_t>(results),
                                 function == Reduce::max ? -kInfinity : 0.0);
  for (std::int64_t i = 0; i < x.numel(); ++i) {
    long double& result = value[static_cast<std::size_t>(owner[static_cast<std::size_t>(i)])];
    if (function == Reduce::max)
      result = x[i] > result || std::isnan(x[i]) ? x[i] : result;
    else
      result += x[i];
  }
  const long double divisor = function == Reduce::mean ? static_cast<long double>(x.numel() / results) : 1;
  std::vector<double> expected;
  for (const long double result : value) expected.push_back(static_cast<double>(result / divisor));
  return expected;
}

void run(Reduce function, const ConstView& x, const Target& y) {
  std::vector<double> scratch((reduce_workspace_bytes(DeviceKind::cpu, function, x, y.view) + 7) / 8);
  reduce(kQueue, function, x, y, {scratch.data(), scratch.size() * 8});
}

double largest_error(const KernelArray& got, const std::vector<double>& expected, double scale) {
  double worst = 0;
  for (std::int64_t i = 0; i < got.numel(); ++i) {
    const double wanted = expected[static_cast<std::size_t>(i)];
    if (std::isnan(wanted) && std::isnan(got[i])) continue;
    if (std::isinf(wanted) && wanted == got[i]) continue;
    const double error = std::fabs(got[i] - wanted) / (scale + std::fabs(wanted));
    worst = std::isnan(error) ? kInfinity : std::max(worst, error);
  }
  return worst;
}

/// 16-bit results are rounded once; the wider types show the additions, whose order depends on the vector
/// length.
double tolerance(DType dtype) { return (size_of(dtype) == 2 ? 2 : 32) * epsilon_of(dtype); }

}  // namespace

TEST_CASE("reductions equal sums in double over every set of axes") {
  for (const Reduce function : {Reduce::sum, Reduce::mean, Reduce::max}) {
    for (const DType dtype : kFloatingTypes) {
      for (const Sizes& sizes : kSizes) {
        for (unsigned mask = 0; mask < masks(sizes); ++mask) {
          for (const Placement placement : kPlacements) {
            KernelArray x(dtype, sizes, placement), y(dtype, reduced_sizes(sizes, mask), placement);
            x.fill_uniform(-1, 2, mask + 1);
            const std::vector<double> expected =
                expected_reduction(function, x, owners(sizes, mask), y.numel());
            CAPTURE(static_cast<int>(function), name_of(dtype), sizes, mask, static_cast<int>(placement));
            run(function, x.view(), {y.view()});
            CHECK(largest_error(y, expected, 1) <= tolerance(dtype));
            y.fill([](std::int64_t) { return 1.0; });
            run(function, x.view(), {y.view(), Write::accumulate});
            std::vector<double> more = expected;
            for (double& value : more) value += 1;
            CHECK(largest_error(y, more, 1) <= tolerance(dtype));
            CHECK(y.guards_intact());
          }
        }
      }
    }
  }
}

TEST_CASE("integers and booleans are summed exactly") {
  for (const DType dtype : {DType::int32, DType::int64, DType::boolean}) {
    for (const Sizes& sizes : kSizes) {
      for (unsigned mask = 0; mask < masks(sizes); ++mask) {
        KernelArray x(dtype, sizes), y(DType::int64, reduced_sizes(sizes, mask));
        x.fill([&](std::int64_t i) {
          return dtype == DType::boolean ? static_cast<double>(i % 2) : 1e9 - 3.0 * static_cast<double>(i);
        });
        run(Reduce::sum, x.view(), {y.view()});
        CAPTURE(name_of(dtype), sizes, mask);
        CHECK(y.values() == expected_reduction(Reduce::sum, x, owners(sizes, mask), y.numel()));
      }
    }
  }
}

TEST_CASE("the reduction of nothing is 0, NaN or -inf, and nothing is written where nothing is asked") {
  for (const DType dtype : kFloatingTypes) {
    KernelArray x(dtype, {3, 0}), y(dtype, {3, 1});
    const std::vector<std::pair<Reduce, double>> cases = {
        {Reduce::sum, 0.0}, {Reduce::mean, kNaN}, {Reduce::max, -kInfinity}};
    for (const auto& [function, expected] : cases) {
      run(function, x.view(), {y.view()});
      CHECK(largest_error(y, std::vector<double>(3, expected), 1) == 0);
    }
    KernelArray none(dtype, {1, 0});
    run(Reduce::sum, x.view(), {none.view()});
    CHECK(none.guards_intact());
  }
  KernelArray x(DType::int32, {0}), y(DType::int64, {1});
  run(Reduce::sum, x.view(), {y.view()});
  CHECK(y[0] == 0);
}

TEST_CASE("NaN is the largest and spoils sums") {
  for (const DType dtype : kFloatingTypes) {
    for (const unsigned mask : {1u, 2u, 3u}) {
      for (const Reduce function : {Reduce::sum, Reduce::max}) {
        KernelArray x(dtype, {40, 50}), y(dtype, reduced_sizes({40, 50}, mask));
        x.fill([](std::int64_t i) {
          return i == 777 ? kNaN : (i == 3 ? -kInfinity : static_cast<double>(i % 9));
        });
        run(function, x.view(), {y.view()});
        const auto expected = expected_reduction(function, x, owners({40, 50}, mask), y.numel());
        CHECK(largest_error(y, expected, 1) <= tolerance(dtype));
      }
    }
  }
}

TEST_CASE("large reductions are accurate and do not depend on the number of threads") {
  const int threads = num_threads();
  const std::vector<std::pair<Sizes, unsigned>> cases = {
      {{300003}, 1},    {{1503, 200}, 1}, {{1503, 200}, 2},          {{200, 1503}, 1},
      {{3, 100007}, 2}, {{100007, 3}, 1}, {{4, 16, 60, 60}, 0b1101}, {{200, 2000}, 1}};
  for (const auto& [sizes, mask] : cases) {
    for (const DType dtype : {DType::float32, DType::bfloat16}) {
      for (const Placement placement : {Placement::row_major, Placement::permuted}) {
        KernelArray x(dtype, sizes, placement);
        KernelArray one(DType::float64, reduced_sizes(sizes, mask)),
            many(DType::float64, reduced_sizes(sizes, mask));
        x.fill_uniform(-1, 2, 5);
        set_num_threads(1);
        run(Reduce::sum, x.view(), {one.view()});
        set_num_threads(5);
        run(Reduce::sum, x.view(), {many.view()});
        CAPTURE(sizes, mask, name_of(dtype), static_cast<int>(placement));
        CHECK(one.bytes() == many.bytes());
        CHECK(largest_error(one, expected_reduction(Reduce::sum, x, owners(sizes, mask), one.numel()), 1) <=
              1e-6);
      }
    }
  }
  set_num_threads(threads);
}

TEST_CASE("a workspace that is too small is refused") {
  KernelArray x(DType::float32, {200000}), y(DType::float32, {1});
  x.fill([](std::int64_t) { return 1.0; });
  REQUIRE(reduce_workspace_bytes(DeviceKind::cpu, Reduce::sum, x.view(), y.view()) > 0);
  CHECK_THROWS_WITH(reduce(kQueue, Reduce::sum, x.view(), {y.view()}, {}),
                    Catch::Contains("workspace too small"));
}

TEST_CASE("the gradient of max is shared by ties") {
  for (const DType dtype : kFloatingTypes) {
    for (const Sizes& sizes : kSizes) {
      for (unsigned mask = 0; mask < masks(sizes); ++mask) {
        for (const Placement placement : kPlacements) {
          KernelArray x(dtype, sizes, placement), dx(dtype, sizes),
              y(dtype, reduced_sizes(sizes, mask), placement);
          KernelArray dy(dtype, reduced_sizes(sizes, mask));
          x.fill([](std::int64_t i) { return static_cast<double>(i * 7919 % 11); });
          dy.fill_uniform(-2, 2, 3);
          run(Reduce::max, x.view(), {y.view()});
          max_backward(kQueue, x.view(), y.view(), dy.view(), {dx.view()});

          const std::vector<std::int64_t> owner = owners(sizes, mask);
          std::vector<double> ties(static_cast<std::size_t>(y.numel()), 0.0);
          const auto largest = [&](std::int64_t i) { return x[i] == y[owner[static_cast<std::size_t>(i)]]; };
          for (std::int64_t i = 0; i < x.numel(); ++i) {
            if (largest(i)) ties[static_cast<std::size_t>(owner[static_cast<std::size_t>(i)])] += 1;
          }
          std::vector<double> expected(static_cast<std::size_t>(x.numel()), 0.0);
          for (std::int64_t i = 0; i < x.numel(); ++i) {
            const std::int64_t o = owner[static_cast<std::size_t>(i)];
            if (largest(i)) expected[static_cast<std::size_t>(i)] = dy[o] / ties[static_cast<std::size_t>(o)];
          }
          CAPTURE(name_of(dtype), sizes, mask, static_cast<int>(placement));
          CHECK(largest_error(dx, expected, 1) <= 2 * epsilon_of(dtype));
          max_backward(kQueue, x.view(), y.view(), dy.view(), {dx.view(), Write::accumulate});
          for (double& value : expected) value *= 2;
          CHECK(largest_error(dx, expected, 1) <= 4 * epsilon_of(dtype));
          CHECK(dx.guards_intact());
        }
      }
    }
  }
}

TEST_CASE("argmax is the first of the largest") {
  for (const DType dtype : kAllTypes) {
    for (const Sizes& sizes : kSizes) {
      for (std::size_t axis = 0; axis < sizes.size(); ++axis) {
        for (const Placement placement : kPlacements) {
          const unsigned mask = 1u << axis;
          KernelArray x(dtype, sizes, placement), y(DType::int64, reduced_sizes(sizes, mask), placement);
          x.fill([](std::int64_t i) { return static_cast<double>(i * 7919 % 13) - 5; });
          argmax(kQueue, x.view(), static_cast<int>(axis), y.view());

          std::int64_t step = 1;
          for (std::size_t later = axis + 1; later < sizes.size(); ++later) step *= sizes[later];
          const std::vector<std::int64_t> owner = owners(sizes, mask);
          std::vector<double> most(static_cast<std::size_t>(y.numel()), -kInfinity),
              expected(most.size(), -1);
          for (std::int64_t i = 0; i < x.numel(); ++i) {
            const auto o = static_cast<std::size_t>(owner[static_cast<std::size_t>(i)]);
            if (x[i] <= most[o]) continue;
            most[o] = x[i];
            expected[o] = static_cast<double>(i / step % sizes[axis]);
          }
          CAPTURE(name_of(dtype), sizes, axis, static_cast<int>(placement));
          CHECK(y.values() == expected);
          CHECK(y.guards_intact());
        }
      }
    }
  }
  KernelArray x(DType::float32, {1, 300}), y(DType::int64, {1, 1});
  x.fill([](std::int64_t i) { return i == 120 || i == 250 ? kNaN : static_cast<double>(i); });
  argmax(kQueue, x.view(), 1, y.view());
  CHECK(y[0] == 120);
}

namespace {

double norm_of(std::span<const ConstView> tensors) {
  KernelArray norm(DType::float64, {});
  global_norm(kQueue, tensors, 0, norm.view(), {}, {});
  return norm.values()[0];
}

}  // namespace

TEST_CASE("sums of squares over several tensors are in double and in a fixed order") {
  const int threads = num_threads();
  for (const DType dtype : kFloatingTypes) {
    KernelArray a(dtype, {70001}), b(dtype, {}), c(dtype, {0}), d(dtype, {40, 31}, Placement::gaps);
    double expected = 0;
    for (KernelArray* array : {&a, &b, &c, &d}) {
      array->fill_uniform(-100, 100, 1);
      for (const double value : array->values()) expected += value * value;
    }
    const std::vector<ConstView> views = {a.view(), b.view(), c.view(), d.view()};
    set_num_threads(1);
    const double one = norm_of(views);
    set_num_threads(4);
    CHECK(norm_of(views) == one);
    CHECK(one == Approx(std::sqrt(expected)).epsilon(1e-12));
  }
  set_num_threads(threads);
  KernelArray huge(DType::float32, {3});
  huge.fill([](std::int64_t) { return 1e30; });
  const ConstView view = huge.view();
  CHECK(norm_of({&view, 1}) == Approx(std::sqrt(3.0) * 1e30).epsilon(1e-6));
  CHECK(norm_of({}) == 0);
}

TEST_CASE("global_norm gives the scale of clipping") {
  KernelArray array(DType::float32, {2});
  array.fill([](std::int64_t i) { return i == 0 ? 3.0 : 4.0; });
  const ConstView view = array.view();
  const auto scale_for = [&](double max_norm, std::span<const ConstView> tensors) {
    KernelArray norm(DType::float64, {}), scale(DType::float64, {});
    global_norm(kQueue, tensors, max_norm, norm.view(), scale.view(), {});
    return scale.values()[0];
  };
  CHECK(scale_for(1.0, {&view, 1}) == 0.2);
  CHECK(scale_for(5.0, {&view, 1}) == 1.0);
  CHECK(scale_for(50.0, {&view, 1}) == 1.0);
  CHECK(scale_for(0.0, {&view, 1}) == 1.0);
  CHECK(scale_for(1.0, {}) == 1.0);
  for (const double bad : {kNaN, kInfinity}) {  // never 1, which would leave the rest unclipped
    array.fill([&](std::int64_t i) { return i == 0 ? 3.0 : bad; });
    CHECK((std::isnan(bad) ? std::isnan(scale_for(1.0, {&view, 1})) : scale_for(1.0, {&view, 1}) == 0.0));
    CHECK(scale_for(0.0, {&view, 1}) == 1.0);
  }
}

TEST_CASE("any_nan finds a NaN anywhere") {
  for (const DType dtype : kFloatingTypes) {
    for (const Placement placement : kPlacements) {
      for (const std::int64_t at : {-1, 0, 1, 4099, 20000}) {
        KernelArray x(dtype, {3, 6667}, placement);
        x.fill([&](std::int64_t i) { return i == at ? kNaN : (i == 5 ? kInfinity : 1.0); });
        CAPTURE(name_of(dtype), static_cast<int>(placement), at);
        CHECK(any_nan(kQueue, x.view()) == (at >= 0));
      }
    }
  }
  KernelArray empty(DType::float32, {0});
  CHECK_FALSE(any_nan(kQueue, empty.view()));
}
