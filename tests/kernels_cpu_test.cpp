// What the CPU kernels share: vectorised functions, conversions of 16-bit floats, and the loop over threads.
#include <atomic>
#include <bit>
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "cpu/convert.h"
#include "cpu/math.h"
#include "cpu/parallel.h"

using namespace reprise;
using namespace reprise::kernels;
using cpu::parallel_for;

namespace {

/// Distance in units of the last place of the correctly rounded result; infinite where only one of both is
/// not finite.
double ulps(float got, double exact) {
  const auto rounded = static_cast<float>(exact);
  if (std::isnan(exact) || std::isnan(got)) return std::isnan(exact) == std::isnan(got) ? 0 : INFINITY;
  if (std::isinf(rounded) || std::isinf(got)) return rounded == got ? 0 : INFINITY;
  int exponent = 0;
  std::frexp(rounded, &exponent);
  const double unit = std::ldexp(1.0, rounded == 0 ? -149 : std::max(exponent - 24, -149));
  return std::fabs(static_cast<double>(got) - exact) / unit;
}

struct Accuracy {
  const char* name;
  float (*function)(float);
  double (*exact)(double);
  float low;  // below, only the absolute error is bounded
  double ulps;
};

}  // namespace

TEST_CASE("the vectorised functions are right to few units in the last place over all floats") {
  namespace math = cpu::math;
  const float least = -std::numeric_limits<float>::infinity();
  const std::vector<Accuracy> cases = {
      {"exp", math::exp, math::exp, least, 1.5},
      {"log", math::log, math::log, least, 1.5},
      {"tanh", math::tanh, math::tanh, least, 2},
      {"erf", math::erf, math::erf, least, 2},
      {"sigmoid", math::sigmoid, math::sigmoid, -87.0f, 2.5},
  };
  for (const Accuracy& test : cases) {
    double worst = 0;
    float at = 0;
    // An odd step through all bit patterns meets every exponent, both signs, subnormals and NaN.
    for (std::uint64_t bits = 0; bits <= 0xFFFFFFFFu; bits += 4099) {
      const auto x = std::bit_cast<float>(static_cast<std::uint32_t>(bits));
      const float got = test.function(x);
      const double exact = test.exact(static_cast<double>(x));
      const double error = x < test.low ? (std::fabs(got - exact) < 1e-37 ? 0 : INFINITY) : ulps(got, exact);
      if (error > worst) {
        worst = error;
        at = x;
      }
    }
    CAPTURE(test.name, at);
    CHECK(worst <= test.ulps);
  }
}

TEST_CASE("the vectorised functions are exact at their limits") {
  namespace math = cpu::math;
  const float infinity = std::numeric_limits<float>::infinity();
  CHECK(math::exp(infinity) == infinity);
  CHECK(math::exp(-infinity) == 0);
  CHECK(math::exp(0.0f) == 1);
  CHECK(math::exp(89.0f) == infinity);
  CHECK(math::exp(-103.9f) > 0);
  CHECK(math::exp(-105.0f) == 0);
  CHECK(math::log(1.0f) == 0);
  CHECK(math::log(0.0f) == -infinity);
  CHECK(math::log(infinity) == infinity);
  CHECK(std::isnan(math::log(-1.0f)));
  CHECK(math::tanh(infinity) == 1);
  CHECK(math::tanh(-20.0f) == -1);
  CHECK(std::signbit(math::tanh(-0.0f)));
  CHECK(math::erf(-infinity) == -1);
  CHECK(math::sigmoid(infinity) == 1);
  CHECK(math::sigmoid(-infinity) == 0);
}

TEST_CASE("rows of 16-bit floats convert as single values do, for every bit pattern") {
  std::vector<bfloat16> brains(65536 + 5), brains_again(brains.size());
  std::vector<float16> halves(65536 + 5), halves_again(halves.size());
  std::vector<float> values(brains.size());
  const auto n = static_cast<std::int64_t>(values.size());
  for (std::size_t i = 0; i < brains.size(); ++i)
    brains[i].bits = halves[i].bits = static_cast<std::uint16_t>(i);
  std::size_t wrong = 0;
  cpu::load_row(brains.data(), values.data(), n);
  cpu::store_row(values.data(), brains_again.data(), n);
  for (std::size_t i = 0; i < brains.size(); ++i)
    wrong += brains_again[i].bits != bfloat16(float(brains[i])).bits;
  cpu::load_row(halves.data(), values.data(), n);
  cpu::store_row(values.data(), halves_again.data(), n);
  for (std::size_t i = 0; i < halves.size(); ++i) {
    if (!std::isnan(values[i])) wrong += halves_again[i].bits != halves[i].bits;
  }
  for (std::uint64_t bits = 0; bits <= 0xFFFFFFFFu; bits += 65521) {
    const float x = std::bit_cast<float>(static_cast<std::uint32_t>(bits));
    const std::vector<float> row(9, x);
    cpu::store_row(row.data(), brains_again.data(), 9);
    cpu::store_row(row.data(), halves_again.data(), 9);
    wrong += brains_again[0].bits != bfloat16(x).bits || brains_again[8].bits != bfloat16(x).bits;
    wrong += !std::isnan(x) &&
             (halves_again[0].bits != float16(x).bits || halves_again[8].bits != float16(x).bits);
  }
  CHECK(wrong == 0);
}

TEST_CASE("parallel_for visits every item once, whatever the number of threads") {
  const int threads = num_threads();
  for (const int count : {1, 2, 3, 8}) {
    set_num_threads(count);
    CHECK(num_threads() == count);
    for (const std::int64_t n : {0, 1, 2, 7, 31, 1000, 100003}) {
      for (const std::int64_t grain : {0, 1, 10, 5000, 1000000}) {
        std::vector<int> visits(static_cast<std::size_t>(n), 0);
        std::atomic<int> parts{0};
        parallel_for(n, grain, [&](std::int64_t begin, std::int64_t end) {
          ++parts;
          for (std::int64_t i = begin; i < end; ++i) ++visits[static_cast<std::size_t>(i)];
        });
        CAPTURE(count, n, grain);
        CHECK(std::count(visits.begin(), visits.end(), 1) == n);
        CHECK(parts <= count);
        if (n > 0)
          CHECK(parts * std::max<std::int64_t>(grain, 1) <= std::max(n, std::max<std::int64_t>(grain, 1)));
      }
    }
  }
  set_num_threads(0);
  CHECK(num_threads() == 1);
  set_num_threads(threads);
}

TEST_CASE("a parallel_for inside another runs serially") {
  const int threads = num_threads();
  set_num_threads(4);
  CHECK_FALSE(in_parallel());
  std::atomic<int> inner_parts{0}, outer_parts{0}, inside{0};
  parallel_for(4, 1, [&](std::int64_t, std::int64_t) {
    ++outer_parts;
    inside += in_parallel() ? 1 : 0;
    parallel_for(1000, 1, [&](std::int64_t, std::int64_t) { ++inner_parts; });
  });
  CHECK(inner_parts == outer_parts);
  CHECK(inside == outer_parts);
  CHECK_FALSE(in_parallel());
  set_num_threads(threads);
}

TEST_CASE("results of one parallel_for are seen by the next, many times over") {
  const int threads = num_threads();
  set_num_threads(3);
  std::vector<std::int64_t> values(3000, 0);
  for (int round = 0; round < 500; ++round) {
    const auto n = static_cast<std::int64_t>(values.size());
    parallel_for(n, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) ++values[static_cast<std::size_t>(n - 1 - i)];
    });
  }
  CHECK(std::accumulate(values.begin(), values.end(), std::int64_t{0}) == 1500000);
  set_num_threads(threads);
}
