// Copies, conversions, transposes and fills of CUDA beside the CPU's.
#include "harness.h"
#include "reprise/kernels/elementwise.h"

using namespace reprise;
using namespace reprise::kernels;
using namespace reprise::test;

namespace {

constexpr DType kAll[] = {DType::float32, DType::bfloat16, DType::float16, DType::float64,
                          DType::int32,   DType::int64,    DType::boolean};

struct Shape {
  Twin::Sizes sizes, x_strides, y_strides;
  std::int64_t offset = 0;
};

const std::vector<Shape> kShapes = {
    {{0}, {}, {}},
    {{1}, {}, {}},
    {{31}, {}, {}},
    {{33}, {}, {}},
    {{9001}, {}, {}},         // words and a rest
    {{100}, {}, {}, 1},       // misaligned
    {{12, 48}, {64, 1}, {}},  // rows of wide words
    {{12, 6}, {9, 1}, {}},    // of narrow ones
    {{5, 40}, {0, 1}, {}},    // broadcast rows
    {{40, 5}, {1, 0}, {}},    // broadcast columns
    {{70, 41}, {1, 70}, {}},  // transposes, with tiles that are not full
    {{33, 128}, {1, 33}, {130, 1}},
    {{2, 20, 9, 11}, {1980, 1, 220, 20}, {}},  // channels-last and back
    {{2, 20, 9, 11}, {}, {1980, 1, 220, 20}},
    {{3, 65, 2, 16}, {2080, 16, 1040, 1}, {}},   // heads to the front: the last axis stays
    {{4, 3, 70}, {1, 280, 4}, {}},               // too narrow for tiles
    {{3, 40, 35}, {1400, 1, 40}, {35, 105, 1}},  // a batch of transposes that are interleaved
};

}  // namespace

TEST_CASE("cuda copies between all types and layouts", "[simt][cuda]") {
  Queues queues;
  for (const DType from : kAll) {
    for (const DType to : kAll) {
      for (const Shape& shape : kShapes) {
        for (const Write write : {Write::overwrite, Write::accumulate}) {
          CAPTURE(name_of(from), name_of(to), shape.sizes, shape.x_strides, static_cast<int>(write));
          Twin x(from, shape.sizes, shape.x_strides, shape.offset),
              y(to, shape.sizes, shape.y_strides, shape.offset);
          x.assign([](std::int64_t i) { return static_cast<double>(i % 251) / 4 - 20; });
          y.assign([](std::int64_t i) { return static_cast<double>(i % 5); });
          cpu::copy(queues.cpu(), x.cpu(), y.cpu(write));
          cuda::copy(queues.cuda(), x.cuda(), y.cuda(write));
          y.check_equal();
        }
      }
    }
  }
}

TEST_CASE("cuda copies round and keep special values as the CPU does", "[simt][cuda]") {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const std::vector<double> special = {
      0.0,  -0.0,       kInfinity,  -kInfinity,    65504.0,       65520.0, 3.4e38, 1e-40,
      6e-8, 1.00390625, 1.01171875, 1.00048828125, 1.00146484375, -2.5e-8, 0.1,    7e4};
  Queues queues;
  for (const DType from : {DType::float32, DType::float64}) {
    for (const DType to : {DType::float32, DType::bfloat16, DType::float16, DType::float64, DType::boolean}) {
      CAPTURE(name_of(from), name_of(to));
      Twin x(from, {16}), y(to, {16});
      x.assign([&](std::int64_t i) { return special[static_cast<std::size_t>(i)]; });
      cpu::copy(queues.cpu(), x.cpu(), y.cpu(Write::overwrite));
      cuda::copy(queues.cuda(), x.cuda(), y.cuda(Write::overwrite));
      y.check_equal();
    }
  }
}

TEST_CASE("cuda fills", "[simt][cuda]") {
  Queues queues;
  for (const DType dtype : kAll) {
    for (const Shape& shape : kShapes) {
      for (const double value : {0.0, 1.0, -0.0, 3.7}) {
        CAPTURE(name_of(dtype), shape.sizes, shape.y_strides, value);
        Twin y(dtype, shape.sizes, shape.y_strides, shape.offset);
        cpu::fill(queues.cpu(), value, y.cpu());
        cuda::fill(queues.cuda(), value, y.cuda());
        y.check_equal();
      }
    }
  }
}
