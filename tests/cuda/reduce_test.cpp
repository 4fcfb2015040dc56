// Reductions of CUDA beside the CPU's: over every set of axes, where the maxima are, norms and NaNs.
#include "reprise/kernels/reduce.h"

#include "harness.h"
#include "reprise/error.h"

using namespace reprise;
using namespace reprise::kernels;
using namespace reprise::test;

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity(),
                 kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr DType kFloating[] = {DType::float32, DType::bfloat16, DType::float16, DType::float64};
constexpr DType kIntegers[] = {DType::int32, DType::int64, DType::boolean};
constexpr DType kAll[] = {DType::float32, DType::bfloat16, DType::float16, DType::float64,
                          DType::int32,   DType::int64,    DType::boolean};
constexpr Write kWrites[] = {Write::overwrite, Write::accumulate};

struct Shape {
  Twin::Sizes sizes;
  Twin::Sizes strides = {};
  std::int64_t offset = 0;
};

const std::vector<Shape> kShapes = {
    {{}},
    {{1}},
    {{31}},
    {{33}, {}, 1},
    {{7, 65}},
    {{7, 64}, {72, 1}},   // slices
    {{40, 24}, {1, 40}},  // transposed
    {{300, 3}},
    {{2, 3, 5, 7}},
    {{4, 1, 6, 1}},
    {{2, 9, 4, 32}},
    {{2, 16, 5, 4}, {320, 1, 64, 16}},  // channels-last
    {{3, 700}},                         // a block for a row
    {{37, 264}},
};
/// Large enough for partial results: rows, columns, everything, with and without packs.
const std::vector<Shape> kLarge = {{{2, 40008}}, {{40003}}, {{40003}, {}, 1}, {{5000, 24}}, {{5000, 5}}};

Twin::Sizes reduced(Twin::Sizes sizes, unsigned mask) {
  for (std::size_t axis = 0; axis < sizes.size(); ++axis) {
    if (mask >> axis & 1u) sizes[axis] = 1;
  }
  return sizes;
}

void check_reduction(const Queues& queues, Reduce function, Twin& x, Twin& y, Write write) {
  TwinWorkspace workspace(cpu::reduce_workspace_bytes(DeviceKind::cpu, function, x.cpu(), y.cpu()),
                          cuda::reduce_workspace_bytes(DeviceKind::cuda, function, x.cuda(), y.cuda()));
  const bool floating = is_floating(x.cpu().dtype);
  Twin expected = floating ? y.widened() : Twin(DType::float64, {0});
  if (floating) {
    Twin wide = x.widened();
    TwinWorkspace scratch(cpu::reduce_workspace_bytes(DeviceKind::cpu, function, wide.cpu(), expected.cpu()),
                          0);
    cpu::reduce(queues.cpu(), function, wide.cpu(), expected.cpu(write), scratch.cpu());
  }
  cpu::reduce(queues.cpu(), function, x.cpu(), y.cpu(write), workspace.cpu());
  cuda::reduce(queues.cuda(), function, x.cuda(), y.cuda(write), workspace.cuda());
  y.check_close_to(floating ? expected : y);
}

void check_shapes(DType dtype, DType result, std::initializer_list<Reduce> functions,
                  const std::vector<Shape>& shapes) {
  Queues queues;
  for (const Shape& shape : shapes) {
    for (unsigned mask = 0; mask < 1u << shape.sizes.size(); ++mask) {
      for (const Reduce function : functions) {
        CAPTURE(static_cast<int>(function), name_of(dtype), shape.sizes, shape.strides, mask);
        Twin x(dtype, shape.sizes, shape.strides, shape.offset), y(result, reduced(shape.sizes, mask));
        x.randomise(mask + 1);
        y.randomise(2);
        for (const Write write : kWrites) check_reduction(queues, function, x, y, write);
      }
    }
  }
}

}  // namespace

TEST_CASE("cuda reductions over every set of axes", "[simt][cuda]") {
  for (const DType dtype : kFloating)
    check_shapes(dtype, dtype, {Reduce::sum, Reduce::mean, Reduce::max}, kShapes);
  for (const DType dtype : kIntegers) check_shapes(dtype, DType::int64, {Reduce::sum}, kShapes);
}

TEST_CASE("cuda reductions with partial results", "[simt][cuda]") {
  for (const DType dtype : {DType::float32, DType::bfloat16})
    check_shapes(dtype, DType::float32, {Reduce::mean}, kLarge);
  check_shapes(DType::float64, DType::float64, {Reduce::max}, kLarge);
  check_shapes(DType::boolean, DType::int64, {Reduce::sum}, kLarge);
}

TEST_CASE("cuda sums of integers wrap around", "[simt][cuda]") {
  Queues queues;
  Twin x(DType::int64, {301, 70}), rows(DType::int64, {301, 1}), columns(DType::int64, {1, 70}),
      whole(DType::int64, {1, 1});
  x.assign([](std::int64_t) { return 0x1p62; });
  for (Twin* y : {&rows, &columns, &whole}) {
    y->assign([](std::int64_t) { return -0x1p63; });
    for (const Write write : kWrites) check_reduction(queues, Reduce::sum, x, *y, write);
  }
}

TEST_CASE("cuda reductions into wider types, of nothing, and of NaN", "[simt][cuda]") {
  Queues queues;
  for (const Reduce function : {Reduce::sum, Reduce::mean, Reduce::max}) {
    for (const Write write : kWrites) {
      CAPTURE(static_cast<int>(function), static_cast<int>(write));
      Twin wide(DType::bfloat16, {5, 70}), result(DType::float32, {5, 1});
      wide.randomise(1);
      result.randomise(2);
      check_reduction(queues, function, wide, result, write);
      Twin empty(DType::float32, {3, 0, 4}), nothing(DType::float32, {3, 1, 4}),
          none(DType::float32, {3, 0, 1});
      nothing.randomise(3);
      check_reduction(queues, function, empty, nothing, write);
      check_reduction(queues, function, empty, none, write);
    }
    for (const DType dtype : kFloating) {
      Twin x(dtype, {300, 70}), rows(dtype, {300, 1}), columns(dtype, {1, 70}), whole(dtype, {1, 1});
      x.assign([](std::int64_t i) {
        return i == 70 * 150 + 68 ? kNaN : i % 1000 == 7 ? -kInfinity : static_cast<double>(i % 13);
      });
      for (Twin* y : {&rows, &columns, &whole}) check_reduction(queues, function, x, *y, Write::overwrite);
    }
  }
  Twin x(DType::int32, {4}), y(DType::int64, {1}), wrong(DType::float32, {1});
  CHECK_THROWS_AS(cuda::reduce(queues.cuda(), Reduce::max, x.cuda(), y.cuda(Write::overwrite), {}),
                  TypeError);
  CHECK_THROWS_AS(cuda::reduce(queues.cuda(), Reduce::sum, x.cuda(), wrong.cuda(Write::overwrite), {}),
                  TypeError);
}

TEST_CASE("cuda indices of maxima", "[simt][cuda]") {
  Queues queues;
  std::vector<Shape> shapes = kShapes;
  shapes.push_back({{600, 5}});
  for (const DType dtype : kAll) {
    for (const Shape& shape : shapes) {
      for (std::size_t axis = 0; axis < shape.sizes.size(); ++axis) {
        for (const int nan_every : {0, 17}) {
          CAPTURE(name_of(dtype), shape.sizes, shape.strides, axis, nan_every);
          Twin x(dtype, shape.sizes, shape.strides, shape.offset);
          Twin y(DType::int64, reduced(shape.sizes, 1u << axis));
          x.assign([&](std::int64_t i) {
            if (nan_every != 0 && is_floating(dtype) && i % nan_every == 5) return kNaN;
            return static_cast<double>(i * 31 % 23) - 11;
          });
          cpu::argmax(queues.cpu(), x.cpu(), static_cast<int>(axis), y.cpu());
          cuda::argmax(queues.cuda(), x.cuda(), static_cast<int>(axis), y.cuda());
          y.check_equal();
        }
      }
    }
  }
}

TEST_CASE("cuda gradients of maxima share among ties", "[simt][cuda]") {
  Queues queues;
  std::vector<Shape> shapes = kShapes;
  shapes.push_back({{600, 5}});
  for (const DType dtype : kFloating) {
    for (const Shape& shape : shapes) {
      for (unsigned mask = 0; mask < 1u << shape.sizes.size(); ++mask) {
        CAPTURE(name_of(dtype), shape.sizes, shape.strides, mask);
        Twin x(dtype, shape.sizes, shape.strides, shape.offset), dx(dtype, shape.sizes);
        Twin y(dtype, reduced(shape.sizes, mask)), dy(dtype, reduced(shape.sizes, mask));
        dy.randomise(2);
        for (const int nan_every : {0, 17}) {
          CAPTURE(nan_every);
          x.assign([&](std::int64_t i) {
            return nan_every != 0 && i % nan_every == 5 ? kNaN : static_cast<double>(i * 31 % 9);
          });
          dx.randomise(3);
          check_reduction(queues, Reduce::max, x, y, Write::overwrite);
          for (const Write write : kWrites) {
            cpu::max_backward(queues.cpu(), x.cpu(), y.cpu(), dy.cpu(), dx.cpu(write));
            cuda::max_backward(queues.cuda(), x.cuda(), y.cuda(), dy.cuda(), dx.cuda(write));
            dx.check_close();
          }
        }
      }
    }
  }
}

TEST_CASE("cuda norm over many tensors", "[simt][cuda]") {
  Queues queues;
  for (const int many : {0, 1, 9, 140}) {
    for (const double max_norm : {0.0, 1.0, 1e6}) {
      CAPTURE(many, max_norm);
      std::vector<Twin> twins;
      for (int i = 0; i < many; ++i) {
        const DType dtype = kFloating[i < 9 ? i % 4 : 0];
        const std::int64_t sizes[] = {1, 20001, 0, 1000, 33, 16384};
        const std::int64_t n = many > 100 ? i % 5 : sizes[i % 6];
        twins.emplace_back(dtype, Twin::Sizes{n}, Twin::Sizes{i % 7 == 5 ? 2 : 1}, i % 3 == 2 ? 1 : 0);
        twins.back().randomise(static_cast<unsigned>(i));
      }
      std::vector<ConstView> host, device;
      for (Twin& twin : twins) {
        host.push_back(twin.cpu());
        device.push_back(twin.cuda());
      }
      Twin norm(DType::float64, {}), scale(DType::float64, {});
      TwinWorkspace workspace(0, cuda::global_norm_workspace_bytes(DeviceKind::cuda, device));
      cpu::global_norm(queues.cpu(), host, max_norm, norm.cpu(), scale.cpu(), workspace.cpu());
      cuda::global_norm(queues.cuda(), device, max_norm, norm.cuda(), scale.cuda(), workspace.cuda());
      norm.check_close(1e-12);
      scale.check_close(1e-12);
      cuda::global_norm(queues.cuda(), device, max_norm, norm.cuda(), {}, workspace.cuda());
      norm.check_close(1e-12);
    }
  }
  Twin integers(DType::int32, {4}), norm(DType::float64, {});
  const std::vector<ConstView> wrong = {integers.cuda()};
  TwinWorkspace workspace(0, 64);
  CHECK_THROWS_AS(cuda::global_norm(queues.cuda(), wrong, 0, norm.cuda(), {}, workspace.cuda()), TypeError);
}

TEST_CASE("cuda finds NaNs", "[simt][cuda]") {
  Queues queues;
  const std::vector<Shape> shapes = {
      {{0}}, {{1}}, {{33}}, {{20001}}, {{300}, {}, 1}, {{9, 50}, {64, 1}}, {{40, 9}, {1, 40}}};
  for (const DType dtype : kFloating) {
    for (const Shape& shape : shapes) {
      CAPTURE(name_of(dtype), shape.sizes);
      Twin x(dtype, shape.sizes, shape.strides, shape.offset);
      const std::int64_t n = x.cuda().numel();
      x.assign([](std::int64_t i) { return i % 5 == 0 ? kInfinity : 1.0; });
      CHECK_FALSE(cuda::any_nan(queues.cuda(), x.cuda()));
      if (n == 0) continue;
      const std::int64_t last = shape.sizes.size() == 2 ? (shape.sizes[0] - 1) * shape.strides[0] +
                                                              (shape.sizes[1] - 1) * shape.strides[1]
                                                        : n - 1;
      x.assign([&](std::int64_t i) { return i == last ? kNaN : 1.0; });
      CHECK(cuda::any_nan(queues.cuda(), x.cuda()));
      x.assign([](std::int64_t) { return 1.0; });
      CHECK_FALSE(cuda::any_nan(queues.cuda(), x.cuda()));
    }
  }
  Twin integers(DType::int32, {4});
  CHECK_THROWS_AS(cuda::any_nan(queues.cuda(), integers.cuda()), TypeError);
}
