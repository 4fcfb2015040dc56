// Pooling on CUDA beside the CPU.
#include <limits>

#include "harness.h"
#include "reprise/error.h"
#include "reprise/kernels/conv.h"

using namespace reprise;
using namespace reprise::kernels;
using namespace reprise::test;

namespace {

struct Case {
  std::vector<std::int64_t> sizes;
  Pool2dParams pool;
  std::int64_t offset = 0;
  Write write = Write::overwrite;

  Twin image(DType dtype, std::int64_t height, std::int64_t width) const {
    const std::int64_t channels = sizes[1];
    return Twin(dtype, {sizes[0], channels, height, width},
                {height * width * channels, 1, width * channels, channels}, offset);
  }
  Twin x(DType dtype) const { return image(dtype, sizes[2], sizes[3]); }
  Twin y(DType dtype) const { return image(dtype, positions(0), positions(1)); }

 private:
  std::int64_t positions(std::size_t i) const {
    return (sizes[2 + i] + 2 * pool.padding[i] - pool.kernel[i]) / pool.stride[i] + 1;
  }
};

const Case kCases[] = {
    {{0, 3, 4, 4}, {}},
    {{2, 0, 4, 4}, {}},
    {{1, 1, 1, 1}, {{1, 1}, {1, 1}}},
    {{3, 8, 9, 7}, {}},
    {{2, 33, 9, 8}, {{3, 3}, {2, 2}, {1, 1}}},
    {{2, 64, 9, 8}, {{3, 3}, {2, 2}, {1, 1}, false}, 0, Write::accumulate},
    {{2, 16, 10, 11}, {{3, 2}, {1, 3}, {1, 0}}, 1},
    {{2, 16, 10, 11}, {{2, 3}, {3, 4}, {0, 1}, false}},
    {{3, 264, 7, 7}, {{7, 7}, {1, 1}}, 0, Write::accumulate},
    {{40, 3, 5, 5}, {{5, 5}, {5, 5}, {2, 2}, false}},
};

/// Gradients of y; the padding's share included.
Twin gradients(const Case& c, DType dtype) {
  Twin dy = c.y(dtype);
  dy.randomise(2);
  return dy;
}

}  // namespace

TEST_CASE("Max pooling agrees with the CPU", "[simt][cuda]") {
  const Queues queues;
  for (const DType dtype : kTrained) {
    for (const Case& c : kCases) {
      CAPTURE(name_of(dtype), c.sizes, c.pool.kernel, c.offset);
      Twin x = c.x(dtype), y = c.y(dtype), index = c.y(DType::int32), dx = c.x(dtype);
      // Few values, so that many maxima are shared; some are NaN or -inf.
      x.assign([](std::int64_t i) {
        if (i % 97 == 5) return std::numeric_limits<double>::quiet_NaN();
        return i % 3 == 0 ? -std::numeric_limits<double>::infinity() : static_cast<double>(i * 7919 % 11);
      });
      if (c.write == Write::accumulate) dx.randomise(3);
      cpu::max_pool2d_forward(queues.cpu(), c.pool, x.cpu(), y.cpu(), index.cpu());
      cuda::max_pool2d_forward(queues.cuda(), c.pool, x.cuda(), y.cuda(), index.cuda());
      queues.wait();
      y.check_close();
      index.check_equal();
      Twin dy = gradients(c, dtype);
      cpu::max_pool2d_backward(queues.cpu(), c.pool, index.cpu(), dy.cpu(), dx.cpu(c.write));
      cuda::max_pool2d_backward(queues.cuda(), c.pool, index.cuda(), dy.cuda(), dx.cuda(c.write));
      queues.wait();
      dx.check_close();
    }
  }
}

TEST_CASE("Average pooling agrees with the CPU", "[simt][cuda]") {
  const Queues queues;
  for (const DType dtype : kTrained) {
    for (const Case& c : kCases) {
      CAPTURE(name_of(dtype), c.sizes, c.pool.kernel, c.pool.count_padding, c.offset);
      Twin x = c.x(dtype), y = c.y(dtype), dx = c.x(dtype), dy = gradients(c, dtype);
      x.randomise(1);
      if (c.write == Write::accumulate) dx.randomise(3);
      cpu::avg_pool2d_forward(queues.cpu(), c.pool, x.cpu(), y.cpu());
      cuda::avg_pool2d_forward(queues.cuda(), c.pool, x.cuda(), y.cuda());
      cpu::avg_pool2d_backward(queues.cpu(), c.pool, dy.cpu(), dx.cpu(c.write));
      cuda::avg_pool2d_backward(queues.cuda(), c.pool, dy.cuda(), dx.cuda(c.write));
      queues.wait();
      y.check_close();
      dx.check_close();
    }
  }
}

TEST_CASE("Pooling refuses what CUDA does not train in", "[simt][cuda]") {
  const Queues queues;
  const Case c{{1, 2, 4, 4}, {}};
  Twin x = c.x(DType::float64), y = c.y(DType::float64), index = c.y(DType::int32);
  CHECK_THROWS_AS(cuda::max_pool2d_forward(queues.cuda(), c.pool, x.cuda(), y.cuda(), index.cuda()),
                  TypeError);
  CHECK_THROWS_AS(cuda::max_pool2d_backward(queues.cuda(), c.pool, index.cuda(), y.cuda(), {x.cuda()}),
                  TypeError);
  CHECK_THROWS_AS(cuda::avg_pool2d_forward(queues.cuda(), c.pool, x.cuda(), y.cuda()), TypeError);
  CHECK_THROWS_AS(cuda::avg_pool2d_backward(queues.cuda(), c.pool, y.cuda(), {x.cuda()}), TypeError);
}
