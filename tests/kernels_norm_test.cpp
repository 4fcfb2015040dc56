// Layer norm, RMS norm and batch norm against formulas in double.
#include <catch2/catch.hpp>

#include "kernel_checks.h"
#include "reprise/kernels/norm.h"

using namespace reprise;
using namespace reprise::kernels;

namespace {

constexpr double kEps = 1e-5;

Doubles ones(std::int64_t n) { return Doubles(static_cast<std::size_t>(n), 1.0); }
Doubles zeros(std::int64_t n) { return Doubles(static_cast<std::size_t>(n), 0.0); }
double& at(Doubles& x, std::int64_t i) { return x[static_cast<std::size_t>(i)]; }
double at(const Doubles& x, std::int64_t i) { return x[static_cast<std::size_t>(i)]; }

// Layer and RMS norm.

struct Rows {
  std::int64_t rows, columns;
};
const Rows kShapes[] = {{1, 1},  {3, 31},   {5, 32},   {2, 33}, {7, 1000},
                        {33, 9}, {2, 2500}, {1100, 6}, {0, 5},  {4, 0}};

/// Both norms as one: RMS norm has no mean and no bias.
struct RowNorm {
  bool centred;

  struct Forward {
    Doubles y, mean, rstd;
  };
  Forward formula(const Doubles& x, const Doubles& weight, const Doubles& bias) const {
    const auto columns = static_cast<std::int64_t>(weight.size());
    Forward result{x, {}, {}};
    for (std::int64_t row = 0; columns > 0 && row < static_cast<std::int64_t>(x.size()) / columns; ++row) {
      const auto n = static_cast<long double>(columns);
      long double mean = 0, variance = 0;
      for (std::int64_t c = 0; centred && c < columns; ++c) mean += at(x, row * columns + c) / n;
      for (std::int64_t c = 0; c < columns; ++c) variance += std::pow(at(x, row * columns + c) - mean, 2) / n;
      const long double rstd = 1 / std::sqrt(variance + kEps);
      result.mean.push_back(static_cast<double>(mean));
      result.rstd.push_back(static_cast<double>(rstd));
      for (std::int64_t c = 0; c < columns; ++c) {
        const long double normal = (at(x, row * columns + c) - mean) * rstd;
        at(result.y, row * columns + c) =
            static_cast<double>(normal * at(weight, c) + (centred ? at(bias, c) : 0));
      }
    }
    return result;
  }
  void forward(const ConstView& x, const ConstView& weight, const ConstView& bias, const View& y,
               const View& mean, const View& rstd) const {
    if (centred)
      layer_norm_forward(kCpu, kEps, x, weight, bias, y, mean, rstd);
    else
      rms_norm_forward(kCpu, kEps, x, weight, y, rstd);
  }
  /// True when the workspace's guard bytes are intact.
  bool backward(const ConstView& x, const ConstView& weight, const ConstView& mean, const ConstView& rstd,
                const ConstView& dy, const Target& dx, const Target& dweight, const Target& dbias) const {
    Scratch scratch(norm_backward_workspace_bytes(DeviceKind::cpu, x));
    if (centred)
      layer_norm_backward(kCpu, x, weight, mean, rstd, dy, dx, dweight, dbias, scratch.get());
    else
      rms_norm_backward(kCpu, x, weight, rstd, dy, dx, dweight, scratch.get());
    return scratch.guards_intact();
  }
};
const RowNorm kRowNorms[] = {{true}, {false}};

/// x, parameters, statistics and dy of a row norm in one type.
struct RowData {
  KernelTensor x, weight, bias, dy, mean, rstd;

  RowData(DType dtype, Rows shape)
      : x(tensor_of(dtype, {shape.rows, shape.columns},
                    random_values(shape.rows * shape.columns, 1, 0.5, 2))),
        weight(tensor_of(dtype, {shape.columns}, random_values(shape.columns, 2, 1))),
        bias(tensor_of(dtype, {shape.columns}, random_values(shape.columns, 3))),
        dy(tensor_of(dtype, {shape.rows, shape.columns}, random_values(shape.rows * shape.columns, 4))),
        mean(compute_dtype(dtype), {shape.rows}),
        rstd(mean) {}
  void set_statistics(const RowNorm::Forward& forward) {
    if (x.numel() == 0) return;
    mean.fill([&](std::int64_t i) { return at(forward.mean, i); });
    rstd.fill([&](std::int64_t i) { return at(forward.rstd, i); });
  }
};

}  // namespace

TEST_CASE("layer norm and RMS norm agree with their formulas", "[kernels][norm]") {
  for (const RowNorm& norm : kRowNorms) {
    for (const Rows shape : kShapes) {
      for (const DType dtype : kFloatTypes) {
        for (const bool affine : {true, false}) {
          CAPTURE(norm.centred, shape.rows, shape.columns, name_of(dtype), affine);
          RowData data(dtype, shape);
          KernelTensor y(dtype, {shape.rows, shape.columns});
          norm.forward(data.x, affine ? ConstView(data.weight) : ConstView(),
                       affine ? ConstView(data.bias) : ConstView(), y, data.mean, data.rstd);
          const RowNorm::Forward expected =
              norm.formula(data.x.values(), affine ? data.weight.values() : ones(shape.columns),
                           affine ? data.bias.values() : zeros(shape.columns));
          CHECK(difference(y, expected.y) == "");
          if (shape.columns == 0) continue;
          CHECK(difference(data.rstd, expected.rstd) == "");
          if (norm.centred) CHECK(difference(data.mean, expected.mean) == "");
        }
      }
    }
  }
}

TEST_CASE("layer norm does not cancel far from zero", "[kernels][norm]") {
  const KernelTensor x = tensor_of(DType::float32, {3, 1000}, random_values(3000, 5, 1e4));
  KernelTensor y(DType::float32, {3, 1000}), mean(DType::float32, {3}), rstd(mean);
  layer_norm_forward(kCpu, kEps, x, {}, {}, y, mean, rstd);
  const RowNorm::Forward expected = RowNorm{true}.formula(x.values(), ones(1000), zeros(1000));
  CHECK(difference(rstd.values(), expected.rstd, 0, 1e-5) == "");
  CHECK(difference(y.values(), expected.y, 2e-3, 0) == "");
}

TEST_CASE("gradients of layer norm and RMS norm", "[kernels][norm][gradcheck]") {
  for (const RowNorm& norm : kRowNorms) {
    for (const Rows shape : {Rows{1, 2}, {3, 31}, {2, 33}, {18, 5}}) {
      CAPTURE(norm.centred, shape.rows, shape.columns);
      RowData data(DType::float64, shape);
      KernelTensor y(data.x), dx(y), dweight(data.weight), dbias(data.bias);
      norm.forward(data.x, data.weight, data.bias, y, data.mean, data.rstd);
      CHECK(norm.backward(data.x, data.weight, data.mean, data.rstd, data.dy, {dx, Write::overwrite},
                          {dweight, Write::overwrite}, {dbias, Write::overwrite}));
      const Doubles x = data.x.values(), weight = data.weight.values(), bias = data.bias.values(),
                    dy = data.dy.values();
      CHECK(gradient_difference(
                dx, central_differences(
                        [&](const Doubles& v) { return dot(norm.formula(v, weight, bias).y, dy); }, x)) ==
            "");
      CHECK(gradient_difference(
                dweight,
                central_differences([&](const Doubles& v) { return dot(norm.formula(x, v, bias).y, dy); },
                                    weight)) == "");
      if (!norm.centred) continue;
      CHECK(gradient_difference(
                dbias, central_differences(
                           [&](const Doubles& v) { return dot(norm.formula(x, weight, v).y, dy); }, bias)) ==
            "");
    }
  }
}

TEST_CASE("backward of layer norm and RMS norm in every type, written and added", "[kernels][norm]") {
  for (const RowNorm& norm : kRowNorms) {
    for (const Rows shape : kShapes) {
      for (const DType dtype : kFloatTypes) {
        for (const bool affine : {true, false}) {
          CAPTURE(norm.centred, shape.rows, shape.columns, name_of(dtype), affine);
          // The same numbers in float64 give what is expected.
          RowData data(dtype, shape), wide(DType::float64, shape);
          wide.x.fill([&](std::int64_t i) { return data.x.get(i); });
          wide.dy.fill([&](std::int64_t i) { return data.dy.get(i); });
          wide.weight.fill([&](std::int64_t i) { return affine ? data.weight.get(i) : 1; });
          data.set_statistics(norm.formula(data.x.values(), wide.weight.values(), zeros(shape.columns)));
          wide.set_statistics(norm.formula(data.x.values(), wide.weight.values(), zeros(shape.columns)));
          KernelTensor wide_dx(wide.x), wide_dweight(wide.weight), wide_dbias(wide.bias);
          CHECK(norm.backward(wide.x, wide.weight, wide.mean, wide.rstd, wide.dy, {wide_dx, Write::overwrite},
                              {wide_dweight, Write::overwrite}, {wide_dbias, Write::overwrite}));
          if (!norm.centred) wide_dbias.fill([](std::int64_t) { return 0; });

          for (const Write write : {Write::overwrite, Write::accumulate}) {
            const auto start = [&](const KernelTensor& like) {
              KernelTensor target(dtype, like.view().rank == 2 ? std::vector{shape.rows, shape.columns}
                                                               : std::vector{shape.columns});
              const bool add =
                  write == Write::accumulate || (!norm.centred && like.view().data == data.bias.view().data);
              return add ? target.fill([](std::int64_t i) { return static_cast<double>(i % 7) - 3; })
                         : target;
            };
            KernelTensor dx = start(data.x), dweight = start(data.weight), dbias = start(data.bias);
            const auto expected = [&](const KernelTensor& before, const KernelTensor& gradient) {
              return write == Write::accumulate ? sum_of(before.values(), gradient.values())
                                                : gradient.values();
            };
            const Doubles expected_dx = expected(dx, wide_dx),
                          expected_dweight = expected(dweight, wide_dweight),
                          expected_dbias = expected(dbias, wide_dbias);
            CHECK(norm.backward(data.x, affine ? ConstView(data.weight) : ConstView(), data.mean, data.rstd,
                                data.dy, {dx, write}, {dweight, write}, {dbias, write}));
            const double rows = 1 + static_cast<double>(shape.rows) / 50;
            CHECK(difference(dx, expected_dx, 4) == "");
            CHECK(difference(dweight, expected_dweight, rows) == "");
            if (norm.centred) CHECK(difference(dbias, expected_dbias, rows) == "");

            KernelTensor alone = start(data.x);
            CHECK(norm.backward(data.x, affine ? ConstView(data.weight) : ConstView(), data.mean, data.rstd,
                                data.dy, {alone, write}, {}, {}));
            CHECK(alone.same_bytes(dx));
            KernelTensor weight_alone = start(data.weight);
            CHECK(norm.backward(data.x, affine ? ConstView(data.weight) : ConstView(), data.mean, data.rstd,
                                data.dy, {}, {weight_alone, write}, {}));
            CHECK(weight_alone.same_bytes(dweight));
          }
        }
      }
    }
  }
}

TEST_CASE("layer norm gives the same bits on any number of threads and at any alignment", "[kernels][norm]") {
  constexpr Rows shape{1500, 131};
  const auto results = [&](int threads, std::int64_t shift) {
    const ThreadsScope scope(threads);
    const Doubles values = random_values(shape.rows * shape.columns, 6);
    KernelTensor memory(DType::float32, {shape.rows * shape.columns + shift});
    memory.fill([&](std::int64_t i) { return i < shift ? 0 : at(values, i - shift); });
    ConstView x = memory;
    x.data = memory.view().as<float>() + shift;
    x.rank = 2;
    x.sizes[0] = shape.rows;
    x.sizes[1] = x.strides[0] = shape.columns;
    x.strides[1] = 1;
    KernelTensor y(DType::float32, {shape.rows, shape.columns}), dx(y), mean(DType::float32, {shape.rows}),
        rstd(mean), dweight(DType::float32, {shape.columns}), dbias(dweight);
    const RowNorm norm{true};
    norm.forward(x, {}, {}, y, mean, rstd);
    CHECK(norm.backward(x, {}, mean, rstd, y, {dx, Write::overwrite}, {dweight, Write::overwrite},
                        {dbias, Write::overwrite}));
    std::vector<Doubles> all;
    for (const KernelTensor& tensor : {y, mean, rstd, dx, dweight, dbias}) all.push_back(tensor.values());
    return all;
  };
  const auto expected = results(1, 0);
  CHECK(results(2, 0) == expected);
  CHECK(results(5, 0) == expected);
  CHECK(results(1, 1) == expected);
  CHECK(results(2, 3) == expected);
}
