// Batch norm against formulas in double.
#include <catch2/catch.hpp>

#include "kernel_checks.h"
#include "reprise/kernels/norm.h"

using namespace reprise;
using namespace reprise::kernels;

namespace {

constexpr double kEps = 1e-5;

using Sizes = std::vector<std::int64_t>;

struct Case {
  Sizes sizes;
  std::vector<int> order;  // of memory; empty: row-major
  std::int64_t gap = 0;
};
const std::vector<int> kChannelsLast = {0, 2, 3, 1};
const Case kCases[] = {
    {{2, 1}, {}},
    {{7, 31}, {}},
    {{33, 32}, {}},
    {{5, 300}, {}},
    {{9, 6}, {}, 3},
    {{9, 6}, {1, 0}},
    {{3, 1, 2, 5}, kChannelsLast},
    {{2, 3, 7, 5}, kChannelsLast},
    {{2, 31, 3, 3}, kChannelsLast},
    {{1, 33, 4, 4}, kChannelsLast},
    {{2, 1000, 1, 2}, kChannelsLast},
    {{3, 2, 40, 31}, kChannelsLast},
    {{4, 64, 1, 1}, kChannelsLast},
    {{2, 7, 3, 5}, {}},
    {{2, 300, 3, 1}, {}},
    {{2, 7, 3, 5}, {3, 1, 0, 2}},
    {{2, 7, 3, 5}, kChannelsLast, 2},
};

/// Channel of element i in row-major order.
std::size_t channel(const Sizes& sizes, std::int64_t i) {
  std::int64_t inner = 1;
  for (std::size_t axis = 2; axis < sizes.size(); ++axis) inner *= sizes[axis];
  return static_cast<std::size_t>(i / inner % sizes[1]);
}

std::int64_t numel(const Sizes& sizes) {
  std::int64_t n = 1;
  for (const std::int64_t size : sizes) n *= size;
  return n;
}

struct Moments {
  Doubles mean, variance;
};

Moments moments(const Sizes& sizes, const Doubles& x) {
  const auto channels = static_cast<std::size_t>(sizes[1]);
  const auto count = static_cast<long double>(x.size()) / static_cast<long double>(channels);
  std::vector<long double> mean(channels), variance(channels);
  for (std::size_t i = 0; i < x.size(); ++i)
    mean[channel(sizes, static_cast<std::int64_t>(i))] += x[i] / count;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const std::size_t c = channel(sizes, static_cast<std::int64_t>(i));
    variance[c] += (x[i] - mean[c]) * (x[i] - mean[c]) / count;
  }
  return {Doubles(mean.begin(), mean.end()), Doubles(variance.begin(), variance.end())};
}

Doubles formula(const Sizes& sizes, bool relu, const Doubles& x, const Moments& m, const Doubles& weight,
                const Doubles& bias) {
  Doubles y;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const std::size_t c = channel(sizes, static_cast<std::int64_t>(i));
    const double value = (x[i] - m.mean[c]) / std::sqrt(m.variance[c] + kEps) * weight[c] + bias[c];
    y.push_back(relu ? std::max(value, 0.0) : value);
  }
  return y;
}

/// x, parameters, dy and statistics.
struct Data {
  KernelTensor x, weight, bias, dy, mean, variance;

  Data(DType dtype, const Case& shape)
      : x(tensor_of(dtype, shape.sizes, random_values(numel(shape.sizes), 1, 0.5, 2), shape.order,
                    shape.gap)),
        weight(tensor_of(dtype, {shape.sizes[1]}, random_values(shape.sizes[1], 2, 1))),
        bias(tensor_of(dtype, {shape.sizes[1]}, random_values(shape.sizes[1], 3))),
        dy(tensor_of(dtype, shape.sizes, random_values(numel(shape.sizes), 4), shape.order, shape.gap)),
        mean(compute_dtype(dtype), {shape.sizes[1]}),
        variance(mean) {
    set(moments(shape.sizes, x.values()));
  }
  void set(const Moments& m) {
    mean.fill([&](std::int64_t c) { return m.mean[static_cast<std::size_t>(c)]; });
    variance.fill([&](std::int64_t c) { return m.variance[static_cast<std::size_t>(c)]; });
  }
};

struct Mode {
  bool relu, training, affine;
};
const Mode kModes[] = {
    {false, true, true}, {true, true, true}, {true, false, true}, {false, false, true}, {false, true, false}};

/// True when the workspace's guard bytes are intact.
bool backward(const Mode& mode, const Data& data, const Target& dx, const Target& dweight,
              const Target& dbias, const ConstView& dy) {
  Scratch scratch(batch_norm_workspace_bytes(DeviceKind::cpu, data.x));
  batch_norm_backward(kCpu, kEps, mode.relu, mode.training, data.x, data.mean, data.variance,
                      mode.affine ? ConstView(data.weight) : ConstView(),
                      mode.affine ? ConstView(data.bias) : ConstView(), dy, dx, dweight, dbias,
                      scratch.get());
  return scratch.guards_intact();
}

void statistics(const ConstView& x, const View& mean, const View& variance) {
  Scratch scratch(batch_norm_workspace_bytes(DeviceKind::cpu, x));
  batch_norm_statistics(kCpu, x, mean, variance, scratch.get());
  CHECK(scratch.guards_intact());
}

TEST_CASE("running statistics follow the batches", "[kernels]") {
  constexpr std::int64_t kChannels = 37;
  constexpr double kMomentum = 0.1, kUnbias = 24.0 / 23;
  for (const DType dtype : {DType::float64, DType::float32, DType::bfloat16, DType::float16}) {
    for (const std::int64_t gap : {0, 2}) {
      CAPTURE(name_of(dtype), gap);
      const std::vector<int> order = gap == 0 ? std::vector<int>{0, 1} : std::vector<int>{1, 0};
      const auto statistic = [&](double scale, double shift) {
        KernelTensor all(dtype, {kChannels, 3}, order, gap);
        return all.fill([=](std::int64_t i) { return scale * std::sin(static_cast<double>(i)) + shift; });
      };
      const auto of_channels = [](const KernelTensor& all) {
        View view = all.view();  // every third number, or a column
        view.rank = 1;
        return view;
      };
      const KernelTensor mean = statistic(3, 1), variance = statistic(1, 2), running_mean = statistic(2, -1),
                         running_variance = statistic(0.5, 1);
      KernelTensor batches(DType::int64, {});
      batches.set(0, 41);
      const Doubles mean_before = running_mean.values(), variance_before = running_variance.values();
      kernels::batch_norm_running({}, kMomentum, kUnbias, of_channels(mean), of_channels(variance),
                                  of_channels(running_mean), of_channels(running_variance), batches);
      const double tolerance = dtype == DType::float64    ? 1e-15
                               : dtype == DType::float32  ? 1e-6
                               : dtype == DType::bfloat16 ? 1e-2
                                                          : 1e-3;
      for (std::int64_t i = 0; i < 3 * kChannels; ++i) {
        CAPTURE(i);
        const auto at = static_cast<std::size_t>(i);
        const bool is_channel = i % 3 == 0;  // all others stay
        const double expected_mean = is_channel ? 0.9 * mean_before[at] + 0.1 * mean.get(i) : mean_before[at];
        const double expected_variance =
            is_channel ? 0.9 * variance_before[at] + 0.1 * kUnbias * variance.get(i) : variance_before[at];
        CHECK(running_mean.get(i) == Approx(expected_mean).epsilon(tolerance).margin(tolerance));
        CHECK(running_variance.get(i) == Approx(expected_variance).epsilon(tolerance).margin(tolerance));
      }
      CHECK(batches.get(0) == 42);
    }
  }
}

}  // namespace

TEST_CASE("batch norm's statistics and outputs agree with their formulas", "[kernels][norm]") {
  for (const Case& shape : kCases) {
    for (const DType dtype : kFloatTypes) {
      CAPTURE(shape.sizes, shape.order, shape.gap, name_of(dtype));
      Data data(dtype, shape);
      KernelTensor mean(data.mean), variance(data.variance);
      statistics(data.x, mean, variance);
      const Moments expected = moments(shape.sizes, data.x.values());
      CHECK(difference(mean, expected.mean) == "");
      CHECK(difference(variance, expected.variance) == "");
      for (const Mode& mode : kModes) {
        CAPTURE(mode.relu, mode.affine);
        KernelTensor y(dtype, shape.sizes, shape.order, shape.gap);
        batch_norm_apply(kCpu, kEps, mode.relu, data.x, data.mean, data.variance,
                         mode.affine ? ConstView(data.weight) : ConstView(),
                         mode.affine ? ConstView(data.bias) : ConstView(), y);
        const Doubles ones(expected.mean.size(), 1), zeros(expected.mean.size(), 0);
        CHECK(difference(y, formula(shape.sizes, mode.relu, data.x.values(), expected,
                                    mode.affine ? data.weight.values() : ones,
                                    mode.affine ? data.bias.values() : zeros)) == "");
      }
    }
  }
}

TEST_CASE("batch norm's statistics do not cancel", "[kernels][norm]") {
  for (const Case& shape :
       {Case{{40, 16, 31, 33}, kChannelsLast}, Case{{3000, 100}, {}}, Case{{5, 20, 31, 33}, {}}}) {
    for (const DType dtype : {DType::float32, DType::float64}) {
      for (const double outlier : {0.0, 1e6}) {
        CAPTURE(shape.sizes, name_of(dtype), outlier);
        KernelTensor x =
            tensor_of(dtype, shape.sizes, random_values(numel(shape.sizes), 5, 1e4), shape.order);
        // The first value of each channel is the worst place for an outlier.
        if (outlier != 0) {
          for (std::int64_t c = 0; c < shape.sizes[1]; ++c)
            x.set(c * numel(shape.sizes) / shape.sizes[0] / shape.sizes[1], outlier);
        }
        KernelTensor mean(dtype, {shape.sizes[1]}), variance(mean);
        statistics(x, mean, variance);
        const Moments expected = moments(shape.sizes, x.values());
        const double rtol = (outlier == 0 ? 2048 : 8192) * unit_roundoff(dtype);
        CHECK(difference(mean.values(), expected.mean, 0, rtol) == "");
        CHECK(difference(variance.values(), expected.variance, 0, rtol) == "");
      }
    }
  }
}

TEST_CASE("gradients of batch norm", "[kernels][norm][gradcheck]") {
  for (const Case& shape : {Case{{7, 5}, {}}, Case{{2, 3, 3, 5}, kChannelsLast}, Case{{3, 2, 2, 3}, {}}}) {
    for (const Mode& mode : kModes) {
      CAPTURE(shape.sizes, mode.relu, mode.training, mode.affine);
      const Data data(DType::float64, shape);
      KernelTensor dx(data.x), dweight(data.weight), dbias(data.bias);
      CHECK(backward(mode, data, {dx, Write::overwrite}, {dweight, Write::overwrite},
                     {dbias, Write::overwrite}, data.dy));
      const Doubles x = data.x.values(), dy = data.dy.values(), ones(data.weight.values().size(), 1),
                    zeros(ones.size(), 0);
      const Doubles weight = mode.affine ? data.weight.values() : ones,
                    bias = mode.affine ? data.bias.values() : zeros;
      const Moments fixed = moments(shape.sizes, x);
      const auto loss = [&](const Doubles& v, const Doubles& w, const Doubles& b) {
        return dot(formula(shape.sizes, mode.relu, v, mode.training ? moments(shape.sizes, v) : fixed, w, b),
                   dy);
      };
      CHECK(gradient_difference(
                dx, central_differences([&](const Doubles& v) { return loss(v, weight, bias); }, x)) == "");
      CHECK(gradient_difference(
                dweight, central_differences([&](const Doubles& v) { return loss(x, v, bias); }, weight)) ==
            "");
      CHECK(gradient_difference(
                dbias, central_differences([&](const Doubles& v) { return loss(x, weight, v); }, bias)) ==
            "");
    }
  }
}

TEST_CASE("backward of batch norm in every type and layout: written, added, over dy", "[kernels][norm]") {
  for (const Case& shape : kCases) {
    for (const DType dtype : kFloatTypes) {
      for (const Mode& mode : kModes) {
        CAPTURE(shape.sizes, shape.order, shape.gap, name_of(dtype), mode.relu, mode.training, mode.affine);
        // The same numbers in float64 and row-major give what is expected.
        Data data(dtype, shape), wide(DType::float64, {shape.sizes, {}});
        wide.x.fill([&](std::int64_t i) { return data.x.get(i); });
        wide.dy.fill([&](std::int64_t i) { return data.dy.get(i); });
        wide.weight.fill([&](std::int64_t i) { return data.weight.get(i); });
        wide.bias.fill([&](std::int64_t i) { return data.bias.get(i); });
        wide.mean.fill([&](std::int64_t i) { return data.mean.get(i); });
        wide.variance.fill([&](std::int64_t i) { return data.variance.get(i); });
        KernelTensor wide_dx(wide.x), wide_dweight(wide.weight), wide_dbias(wide.bias);
        CHECK(backward(mode, wide, {wide_dx, Write::overwrite}, {wide_dweight, Write::overwrite},
                       {wide_dbias, Write::overwrite}, wide.dy));

        KernelTensor dx(dtype, shape.sizes, shape.order, shape.gap), dweight(dtype, {shape.sizes[1]}),
            dbias(dweight);
        CHECK(backward(mode, data, {dx, Write::overwrite}, {dweight, Write::overwrite},
                       {dbias, Write::overwrite}, data.dy));
        CHECK(difference(dx, wide_dx.values(), 8) == "");
        CHECK(difference(dweight, wide_dweight.values(), 4) == "");
        CHECK(difference(dbias, wide_dbias.values(), 4) == "");

        const auto start = [](std::int64_t i) { return static_cast<double>(i % 5) - 2; };
        KernelTensor more_dx(dx), more_dweight(dweight), more_dbias(dbias);
        more_dx.fill(start);
        more_dweight.fill(start);
        more_dbias.fill(start);
        const Doubles sum_dx = sum_of(more_dx.values(), wide_dx.values()),
                      sum_dweight = sum_of(more_dweight.values(), wide_dweight.values()),
                      sum_dbias = sum_of(more_dbias.values(), wide_dbias.values());
        CHECK(backward(mode, data, {more_dx, Write::accumulate}, {more_dweight, Write::accumulate},
                       {more_dbias, Write::accumulate}, data.dy));
        CHECK(difference(more_dx, sum_dx, 8) == "");
        CHECK(difference(more_dweight, sum_dweight, 4) == "");
        CHECK(difference(more_dbias, sum_dbias, 4) == "");

        const KernelTensor in_place(data.dy);
        CHECK(backward(mode, data, {in_place, Write::overwrite}, {}, {}, in_place));
        CHECK(in_place.same_bytes(dx));
        KernelTensor alone(dtype, {shape.sizes[1]});
        CHECK(backward(mode, data, {}, {alone, Write::overwrite}, {}, data.dy));
        CHECK(alone.same_bytes(dweight));
      }
    }
  }
}

TEST_CASE("batch norm of nothing", "[kernels][norm]") {
  for (const Sizes& sizes : {Sizes{0, 5}, Sizes{0, 5, 3, 3}, Sizes{4, 0}, Sizes{2, 5, 0, 3}}) {
    CAPTURE(sizes);
    const auto channels = sizes[1];
    const KernelTensor x(DType::float32, sizes),
        mean = tensor_of(DType::float32, {channels}, random_values(channels, 6));
    KernelTensor variance(mean), y(x), dweight(mean);
    variance.fill([](std::int64_t) { return 1; });
    Scratch scratch(batch_norm_workspace_bytes(DeviceKind::cpu, x));
    batch_norm_apply(kCpu, kEps, true, x, mean, variance, {}, {}, y);
    batch_norm_backward(kCpu, kEps, true, true, x, mean, variance, {}, {}, x, {y, Write::overwrite},
                        {dweight, Write::overwrite}, {}, scratch.get());
    CHECK(dweight.values() == Doubles(static_cast<std::size_t>(channels), 0));
    CHECK(scratch.guards_intact());
  }
}

TEST_CASE("batch norm gives the same bits on any number of threads", "[kernels][norm]") {
  for (const Case& shape :
       {Case{{20, 16, 31, 33}, kChannelsLast}, Case{{700, 600}, {}}, Case{{20, 16, 31, 33}, {}}}) {
    CAPTURE(shape.sizes);
    const auto results = [&](int threads) {
      const ThreadsScope scope(threads);
      Data data(DType::float32, shape);
      statistics(data.x, data.mean, data.variance);
      KernelTensor y(data.x), dx(y), dweight(data.weight), dbias(data.bias);
      batch_norm_apply(kCpu, kEps, true, data.x, data.mean, data.variance, data.weight, data.bias, y);
      CHECK(backward({true, true, true}, data, {dx, Write::overwrite}, {dweight, Write::overwrite},
                     {dbias, Write::overwrite}, data.dy));
      std::vector<Doubles> all;
      for (const KernelTensor& tensor : {data.mean, data.variance, y, dx, dweight, dbias})
        all.push_back(tensor.values());
      return all;
    };
    const auto expected = results(1);
    CHECK(results(2) == expected);
    CHECK(results(5) == expected);
  }
}
