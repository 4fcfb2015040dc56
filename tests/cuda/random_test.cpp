// Random numbers of CUDA are the CPU's, bit for bit.
#include "reprise/kernels/random.h"

#include "harness.h"
#include "reprise/error.h"

using namespace reprise;
using namespace reprise::kernels;
using namespace reprise::test;

namespace {

constexpr DType kFloating[] = {DType::float32, DType::bfloat16, DType::float16, DType::float64};

struct Shape {
  Twin::Sizes sizes;
  Twin::Sizes y_strides = {};
  Twin::Sizes x_strides = {};
  std::int64_t offset = 0;
};

const std::vector<Shape> kShapes = {
    {{0}},
    {{1}},
    {{2}},
    {{3}},
    {{7}},
    {{33}},
    {{5003}},
    {{301}, {}, {}, 1},
    {{9, 31}, {40, 1}, {31, 1}},
    {{9, 31}, {1, 9}, {31, 1}},
    {{9, 32}, {}, {0, 1}},
    {{2, 6, 5, 4}, {120, 1, 24, 6}, {120, 1, 24, 6}},  // channels-last
    {{2, 6, 5, 4}, {120, 1, 24, 6}, {}},
    {{2, 6, 5, 4}, {}, {120, 1, 24, 6}},
};

constexpr RandomKey kKey{0x123456789abcdefu, (std::uint64_t{5} << 32) + 77};

}  // namespace

TEST_CASE("cuda fills with random numbers", "[simt][cuda]") {
  Queues queues;
  for (const DType dtype : kFloating) {
    for (const Shape& shape : kShapes) {
      CAPTURE(name_of(dtype), shape.sizes, shape.y_strides);
      Twin y(dtype, shape.sizes, shape.y_strides, shape.offset);
      for (const auto& [low, high] : {std::pair{0.0, 1.0}, std::pair{-0.3, 0.2}, std::pair{-2.0, 0.0}}) {
        cpu::fill_uniform(queues.cpu(), kKey, low, high, y.cpu());
        cuda::fill_uniform(queues.cuda(), kKey, low, high, y.cuda());
        y.check_equal();
      }
      cpu::fill_normal(queues.cpu(), kKey, 0.5, 2.0, y.cpu());
      cuda::fill_normal(queues.cuda(), kKey, 0.5, 2.0, y.cuda());
      y.check_equal();
    }
  }
  Twin integers(DType::int32, {4});
  CHECK_THROWS_AS(cuda::fill_uniform(queues.cuda(), kKey, 0, 1, integers.cuda()), TypeError);
  CHECK_THROWS_AS(cuda::fill_normal(queues.cuda(), kKey, 0, 1, integers.cuda()), TypeError);
}

TEST_CASE("cuda dropout", "[simt][cuda]") {
  Queues queues;
  for (const DType dtype : kFloating) {
    for (const Shape& shape : kShapes) {
      for (const double p : {0.0, 0.3, 1.0}) {
        CAPTURE(name_of(dtype), shape.sizes, shape.y_strides, shape.x_strides, p);
        Twin x(dtype, shape.sizes, shape.x_strides, shape.offset),
            y(dtype, shape.sizes, shape.y_strides, shape.offset);
        x.randomise(1);
        y.randomise(2);
        for (const Write write : {Write::accumulate, Write::overwrite}) {
          cpu::dropout(queues.cpu(), kKey, p, x.cpu(), y.cpu(write));
          cuda::dropout(queues.cuda(), kKey, p, x.cuda(), y.cuda(write));
          y.check_equal();
        }
      }
    }
  }
}

TEST_CASE("cuda draws with the queue's offset of the node", "[simt][cuda]") {
  Queues queues;
  Twin offset(DType::int64, {1}), y(DType::float32, {77}), gaps(DType::float32, {77}, {2});
  offset.assign([](std::int64_t) { return 12345; });
  Queue queue = queues.cuda();
  queue.node_offset = static_cast<const std::uint64_t*>(offset.cuda().data);
  const RandomKey moved{kKey.seed, kKey.node + 12345};
  for (Twin* twin : {&y, &gaps}) {
    cpu::fill_normal(queues.cpu(), moved, 0, 1, twin->cpu());
    cuda::fill_normal(queue, kKey, 0, 1, twin->cuda());
    twin->check_equal();
  }
}
