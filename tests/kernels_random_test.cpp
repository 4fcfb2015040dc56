#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <numbers>
#include <vector>

#include "cpu/philox_lanes.h"
#include "kernel_tensor.h"
#include "reprise/kernels/philox.h"
#include "reprise/kernels/random.h"

using namespace reprise;
using namespace reprise::kernels;

namespace {

constexpr RandomKey kKey{0x0123456789ABCDEFu, 0xFEDCBA9876543210u};
constexpr DType kFloating[] = {DType::float32, DType::float64, DType::bfloat16, DType::float16};

std::uint32_t word(RandomKey key, std::int64_t element) {
  return philox::word_of(key.seed, key.node, static_cast<std::uint64_t>(element));
}

/// Largest distance between the empirical distribution of `sample` and `distribution`.
template <class F>
double kolmogorov_smirnov(std::vector<double> sample, F&& distribution) {
  std::sort(sample.begin(), sample.end());
  const auto n = static_cast<double>(sample.size());
  double distance = 0;
  for (std::size_t i = 0; i < sample.size(); ++i) {
    const double expected = distribution(sample[i]), below = static_cast<double>(i) / n;
    distance = std::max({distance, expected - below, below + 1.0 / n - expected});
  }
  return distance;
}

double mean(const std::vector<double>& sample) {
  double sum = 0;
  for (const double x : sample) sum += x;
  return sum / static_cast<double>(sample.size());
}

double variance(const std::vector<double>& sample) {
  const double centre = mean(sample);
  double sum = 0;
  for (const double x : sample) sum += (x - centre) * (x - centre);
  return sum / static_cast<double>(sample.size());
}

/// Layouts of (2, 3, 5, 7): row-major, channels-last, another order, and rows with gaps.
struct LayoutCase {
  const char* name;
  std::vector<int> order;
  std::int64_t gap;
  bool memory_order;  // elements are counted as they lie in memory
};
const std::vector<LayoutCase> kLayouts = {{"row-major", {}, 0, false},
                                          {"channels-last", {0, 2, 3, 1}, 0, true},
                                          {"transposed", {3, 2, 1, 0}, 0, false},
                                          {"with gaps", {}, 2, false}};

/// The index under which element i of y is counted.
std::int64_t counted(const LayoutCase& layout, const KernelTensor& y, std::int64_t i) {
  return layout.memory_order ? y.offset(i) : i;
}

}  // namespace

TEST_CASE("Philox gives the known answers of Random123", "[kernels][random]") {
  struct Case {
    philox::Block counter;
    std::array<std::uint32_t, 2> key;
    std::array<std::uint32_t, 4> expected;
  };
  constexpr std::uint32_t kOnes = 0xFFFFFFFFu;
  const Case cases[] = {
      {{{0, 0, 0, 0}}, {0, 0}, {0x6627E8D5u, 0xE169C58Du, 0xBC57AC4Cu, 0x9B00DBD8u}},
      {{{kOnes, kOnes, kOnes, kOnes}}, {kOnes, kOnes}, {0x408F276Du, 0x41C83B0Eu, 0xA20BC7C6u, 0x6D5451FDu}},
      {{{0x243F6A88u, 0x85A308D3u, 0x13198A2Eu, 0x03707344u}},
       {0xA4093822u, 0x299F31D0u},
       {0xD16CFE09u, 0x94FDCCEBu, 0x5001E420u, 0x24126EA1u}},
  };
  for (const Case& c : cases) {
    const philox::Block block = philox::block(c.counter, c.key[0], c.key[1]);
    CHECK(std::equal(c.expected.begin(), c.expected.end(), block.word));
  }
  static_assert(philox::block({{0, 0, 0, 0}}, 0, 0).word[3] == 0x9B00DBD8u);
}

TEST_CASE("vectors of counters give the blocks of the single ones", "[kernels][random]") {
  using namespace cpu;
  for (const std::uint64_t first : {std::uint64_t{0}, std::uint64_t{0xFFFFFFF8u}, ~std::uint64_t{0} - 7}) {
    CAPTURE(first);
    std::uint32_t words[kPhiloxWords], lanes[4][kPhiloxCounters];
    std::uint64_t counters[kPhiloxCounters];
    for (std::uint64_t i = 0; i < kPhiloxCounters; ++i) counters[i] = first + 3 * i;
    philox_words(kKey, first, words);
    philox_lanes(kKey, counters, lanes[0], kPhiloxCounters);
    for (std::uint64_t i = 0; i < kPhiloxCounters; ++i) {
      const philox::Block in_order = philox::block_of(kKey.seed, kKey.node, first + i);
      const philox::Block spread = philox::block_of(kKey.seed, kKey.node, counters[i]);
      for (std::uint64_t w = 0; w < 4; ++w) {
        CHECK(words[4 * i + w] == in_order.word[w]);
        CHECK(lanes[w][i] == spread.word[w]);
      }
    }
  }
}

TEST_CASE("a drop rule keeps the promised words", "[kernels][random]") {
  CHECK_FALSE(philox::drop_rule(0.0).drops(0));
  CHECK(philox::drop_rule(1.0).drops(0xFFFFFFFFu));
  CHECK(philox::drop_rule(0.5).drops(0x7FFFFFFFu));
  CHECK_FALSE(philox::drop_rule(0.5).drops(0x80000000u));
  CHECK(philox::drop_rule(1e-12).drops(0));
  CHECK_FALSE(philox::drop_rule(1e-12).drops(1));
  CHECK(philox::drop_rule(1.0 - 1e-12).drops(0xFFFFFFFFu));
  CHECK(philox::keep_scale(0.75) == 4.0);
  CHECK(philox::keep_scale(1.0) == 0.0);
}

TEST_CASE("normal deviates are those of Box and Muller", "[kernels][random]") {
  std::vector<std::uint32_t> words = {0u,          1u,          2u,          0x1FFFFFFFu, 0x20000000u,
                                      0x5FFFFFFFu, 0x60000000u, 0x7FFFFFFFu, 0x80000000u, 0xA0000000u,
                                      0xDFFFFFFFu, 0xE0000000u, 0xFFFFFFFEu, 0xFFFFFFFFu};
  for (std::int64_t i = 0; i < 200; ++i) words.push_back(word(kKey, i));
  double worst = 0;
  for (const std::uint32_t a : words) {
    for (const std::uint32_t b : words) {
      const philox::NormalPair pair = philox::normal_pair(a, b);
      const double u = static_cast<float>(static_cast<double>(static_cast<float>(a)) * 0x1p-32 + 0x1p-33);
      const double radius = std::sqrt(-2.0 * std::log(u)), angle = 2.0 * std::numbers::pi * b * 0x1p-32;
      worst = std::max({worst, std::fabs(static_cast<double>(pair.first) - radius * std::cos(angle)),
                        std::fabs(static_cast<double>(pair.second) - radius * std::sin(angle))});
    }
  }
  CHECK(worst < 1.5e-6);
}

TEST_CASE("fills follow their formula at every size", "[kernels][random]") {
  for (const DType dtype : kFloating) {
    for (const std::int64_t n : {0, 1, 2, 3, 31, 32, 33, 1023, 1024, 1025, 5001}) {
      CAPTURE(name_of(dtype), n);
      KernelTensor uniform(dtype, {n}), normal(dtype, {n});
      fill_uniform({}, kKey, -3.0, 5.0, uniform);
      fill_normal({}, kKey, 1.5, 0.25, normal);
      CHECK(uniform.guards_intact());
      CHECK(normal.guards_intact());
      double worst_uniform = 0, worst_normal = 0;
      for (std::int64_t i = 0; i < n; ++i) {
        const double u = -3.0 + 8.0 * word(kKey, i) * 0x1p-32;
        const philox::NormalPair pair = philox::normal_pair(word(kKey, i / 2 * 2), word(kKey, i / 2 * 2 + 1));
        const double z = 1.5 + 0.25 * static_cast<double>(i % 2 == 0 ? pair.first : pair.second);
        worst_uniform = std::max(worst_uniform, std::fabs(uniform.get(i) - u));
        worst_normal = std::max(worst_normal, std::fabs(normal.get(i) - z));
      }
      CHECK(worst_uniform <= 12.0 * unit_roundoff(dtype));
      CHECK(worst_normal <= 3.0 * unit_roundoff(dtype));
    }
  }
}

TEST_CASE("a uniform fill never reaches its upper end", "[kernels][random]") {
  struct Interval {
    double low, high;
  };
  for (const DType dtype : kFloating) {
    for (const Interval interval :
         {Interval{1.0, 2.0}, {-1.0, 0.0}, {-2.0, -1.0}, {0.0, 1.0}, {0.0, 1.001}, {100.0, 101.0}}) {
      CAPTURE(name_of(dtype), interval.low, interval.high);
      KernelTensor y(dtype, {20000});
      fill_uniform({}, kKey, interval.low, interval.high, y);
      const std::vector<double> values = y.values();
      CHECK(*std::min_element(values.begin(), values.end()) >= interval.low);
      CHECK(*std::max_element(values.begin(), values.end()) < interval.high);
    }
  }
}

TEST_CASE("fills have the promised distribution", "[kernels][random]") {
  constexpr std::int64_t kCount = 1 << 17;
  // The distance exceeds this with probability 1e-4.
  const double bound = 2.23 / std::sqrt(static_cast<double>(kCount));
  for (const DType dtype : {DType::float32, DType::float64}) {
    for (const std::uint64_t node : {0u, 1u, 77u}) {
      CAPTURE(name_of(dtype), node);
      KernelTensor uniform(dtype, {kCount}), normal(dtype, {kCount});
      fill_uniform({}, {42, node}, 0.0, 1.0, uniform);
      fill_normal({}, {42, node}, 0.0, 1.0, normal);
      const std::vector<double> u = uniform.values(), z = normal.values();
      CHECK(mean(u) == Approx(0.5).margin(0.004));
      CHECK(variance(u) == Approx(1.0 / 12.0).margin(0.001));
      CHECK(kolmogorov_smirnov(u, [](double x) { return x; }) < bound);
      CHECK(mean(z) == Approx(0.0).margin(0.012));
      CHECK(variance(z) == Approx(1.0).margin(0.017));
      CHECK(kolmogorov_smirnov(z, [](double x) { return 0.5 * std::erfc(-x / std::numbers::sqrt2); }) <
            bound);
    }
  }
}

TEST_CASE("random elements are counted row-major, or in memory order for channels-last",
          "[kernels][random]") {
  for (const LayoutCase& layout : kLayouts) {
    for (const DType dtype : kFloating) {
      CAPTURE(layout.name, name_of(dtype));
      KernelTensor flat(dtype, {210}), y(dtype, {2, 3, 5, 7}, layout.order, layout.gap);
      fill_normal({}, kKey, 0.0, 1.0, flat);
      fill_normal({}, kKey, 0.0, 1.0, y);
      CHECK(y.guards_intact());
      bool equal = true;
      for (std::int64_t i = 0; i < y.numel(); ++i)
        equal = equal && y.get(i) == flat.get(counted(layout, y, i));
      CHECK(equal);
    }
  }
}

TEST_CASE("dropout follows its formula", "[kernels][random]") {
  for (const DType dtype : kFloating) {
    for (const double p : {0.0, 0.1, 0.5, 0.999, 1.0}) {
      for (const std::int64_t n : {0, 1, 3, 31, 33, 1024, 3001}) {
        for (const Write write : {Write::overwrite, Write::accumulate}) {
          CAPTURE(name_of(dtype), p, n, static_cast<int>(write));
          KernelTensor x(dtype, {n}), y(dtype, {n});
          x.fill([](std::int64_t i) { return 0.5 + static_cast<double>(i % 13); });
          if (write == Write::accumulate) y.fill([](std::int64_t i) { return static_cast<double>(i % 5); });
          dropout({}, kKey, p, x, {y, write});
          CHECK(y.guards_intact());
          double worst = 0;
          for (std::int64_t i = 0; i < n; ++i) {
            const bool dropped = p == 1.0 || word(kKey, i) < p * 4294967296.0;
            const double before = write == Write::accumulate ? static_cast<double>(i % 5) : 0.0;
            const double expected = before + (dropped ? 0.0 : x.get(i) / (1.0 - p));
            worst = std::max(worst, std::fabs(y.get(i) - expected) / std::max(1.0, std::fabs(expected)));
          }
          CHECK(worst <= 3.0 * unit_roundoff(dtype));
        }
      }
    }
  }
}

TEST_CASE("dropout takes any layouts and counts as its result lies", "[kernels][random]") {
  for (const LayoutCase& from : kLayouts) {
    for (const LayoutCase& to : kLayouts) {
      CAPTURE(from.name, to.name);
      KernelTensor x(DType::float32, {2, 3, 5, 7}, from.order, from.gap);
      KernelTensor y(DType::float32, {2, 3, 5, 7}, to.order, to.gap);
      x.fill([](std::int64_t i) { return static_cast<double>(i + 1); });
      dropout({}, kKey, 0.5, x, {y});
      CHECK(y.guards_intact());
      bool equal = true;
      for (std::int64_t i = 0; i < y.numel(); ++i) {
        const bool dropped = word(kKey, counted(to, y, i)) < 0x80000000u;
        equal = equal && y.get(i) == (dropped ? 0.0 : 2.0 * static_cast<double>(i + 1));
      }
      CHECK(equal);
    }
  }
}

TEST_CASE("dropout drops NaN and keeps NaN", "[kernels][random]") {
  KernelTensor x(DType::float32, {1000}), y(DType::float32, {1000});
  dropout({}, kKey, 0.5, x, {y});
  bool right = true;
  for (std::int64_t i = 0; i < 1000; ++i) {
    right = right && (word(kKey, i) < 0x80000000u ? y.get(i) == 0.0 : std::isnan(y.get(i)));
  }
  CHECK(right);
}

TEST_CASE("dropout keeps the promised share", "[kernels][random]") {
  constexpr std::int64_t kCount = 1 << 18;
  for (const double p : {0.1, 0.25, 0.9}) {
    KernelTensor x(DType::float32, {kCount}), y(DType::float32, {kCount});
    x.fill([](std::int64_t) { return 1.0; });
    dropout({}, {9, 9}, p, x, {y});
    const std::vector<double> values = y.values();
    const auto zeros = static_cast<double>(std::count(values.begin(), values.end(), 0.0));
    CHECK(zeros / kCount == Approx(p).margin(5.0 * std::sqrt(p * (1.0 - p) / kCount)));
  }
}

TEST_CASE("random numbers do not depend on the number of threads", "[kernels][random]") {
  constexpr std::int64_t kCount = 300001;
  for (const DType dtype : {DType::float32, DType::bfloat16}) {
    KernelTensor x(dtype, {kCount});
    x.fill([](std::int64_t i) { return static_cast<double>(i % 7); });
    std::vector<KernelTensor> first;
    for (const int threads : {1, 2, 3, 7}) {
      CAPTURE(name_of(dtype), threads);
      const ThreadsScope scope(threads);
      std::vector<KernelTensor> results(3, KernelTensor(dtype, {kCount}));
      fill_uniform({}, kKey, 0.0, 1.0, results[0]);
      fill_normal({}, kKey, 0.0, 1.0, results[1]);
      dropout({}, kKey, 0.3, x, {results[2]});
      for (std::size_t i = 0; i < first.size(); ++i) CHECK(results[i].same_bytes(first[i]));
      if (threads == 1) {
        for (const KernelTensor& result : results) first.push_back(result);
      }
    }
  }
}
