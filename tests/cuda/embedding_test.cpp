// Table look-up on CUDA beside the CPU.
#include "reprise/kernels/embedding.h"

#include "harness.h"
#include "reprise/error.h"

using namespace reprise;
using namespace reprise::kernels;
using namespace reprise::test;

namespace {

struct Case {
  std::int64_t entries, columns, count;
  DType ids = DType::int64;
  std::int64_t stride = 0, offset = 0;  // of the rows; 0: without gaps
  Write write = Write::overwrite;
  std::int64_t distinct = 0;  // ids are below it; 0: any

  std::int64_t id(std::int64_t i) const { return i * i * 7919 % (distinct == 0 ? entries : distinct); }
  Twin rows(DType dtype, std::int64_t n) const {
    return Twin(dtype, {n, columns}, {stride == 0 ? columns : stride, 1}, offset);
  }
};

// One pass of the sort and several, runs within a chunk, across two, and across many.
const Case kCases[] = {{5, 3, 0},
                       {5, 0, 4},
                       {1, 1, 1, DType::int32},
                       {1, 8, 300, DType::int32},
                       {7, 31, 33},
                       {7, 32, 31, DType::int32, 40, 0, Write::accumulate},
                       {300, 24, 200, DType::int64, 0, 1},
                       {300, 64, 1500, DType::int32, 0, 0, Write::accumulate, 3},
                       {70000, 8, 1100},
                       {1000, 1100, 70, DType::int64, 0, 0, Write::accumulate, 40},
                       {256, 5, 90, DType::int32, 7, 2}};

}  // namespace

TEST_CASE("Embedding agrees with the CPU", "[simt][cuda]") {
  const Queues queues;
  for (const DType dtype : {DType::float32, DType::bfloat16, DType::float16, DType::float64}) {
    for (const Case& c : kCases) {
      CAPTURE(name_of(dtype), c.entries, c.columns, c.count, c.stride, c.offset);
      Twin weight = c.rows(dtype, c.entries), ids(c.ids, {c.count}), y = c.rows(dtype, c.count);
      weight.randomise(1);
      ids.assign([&](std::int64_t i) { return static_cast<double>(c.id(i)); });
      CHECK_FALSE(cpu::embedding_forward(queues.cpu(), weight.cpu(), ids.cpu(), y.cpu()));
      CHECK_FALSE(cuda::embedding_forward(queues.cuda(), weight.cuda(), ids.cuda(), y.cuda()));
      queues.wait();
      y.check_equal();
      CHECK(queues.report().fault == DeviceFault::none);
    }
  }
}

TEST_CASE("Embedding's gradient agrees with sums in order", "[simt][cuda]") {
  const Queues queues;
  for (const DType dtype : kTrained) {
    for (const Case& c : kCases) {
      CAPTURE(name_of(dtype), c.entries, c.columns, c.count, c.stride, c.offset);
      Twin dweight = c.rows(dtype, c.entries), ids(c.ids, {c.count}), dy = c.rows(dtype, c.count);
      dy.randomise(1);
      if (c.write == Write::accumulate) dweight.randomise(2);
      ids.assign([&](std::int64_t i) { return static_cast<double>(c.id(i)); });
      TwinWorkspace workspace(
          0, cuda::embedding_backward_workspace_bytes(DeviceKind::cuda, ids.cuda(), dweight.cuda()));
      Twin wide = dy.widened(), expected = dweight.widened();
      cpu::embedding_backward(queues.cpu(), ids.cpu(), wide.cpu(), expected.cpu(c.write), {});
      cuda::embedding_backward(queues.cuda(), ids.cuda(), dy.cuda(), dweight.cuda(c.write), workspace.cuda());
      queues.wait();
      dweight.check_close_to(expected);
    }
  }
}

TEST_CASE("An id outside the table gives zeros, a report and no gradient", "[simt][cuda]") {
  const Queues queues;
  for (const std::int64_t bad : {std::int64_t{-1}, std::int64_t{7}, std::int64_t{1} << 40}) {
    CAPTURE(bad);
    Twin weight(DType::float32, {7, 6}), ids(DType::int64, {5}), y(DType::float32, {5, 6}),
        dy(DType::float32, {5, 6}), dweight(DType::float32, {7, 6});
    weight.randomise(1);
    dy.randomise(2);
    ids.assign([](std::int64_t i) { return static_cast<double>(i % 3); });
    cpu::embedding_forward(queues.cpu(), weight.cpu(), ids.cpu(), y.cpu());
    std::vector<double> expected = y.cpu_values();
    std::fill_n(expected.begin() + 3 * 6, 6, 0.0);
    dy.assign([values = dy.cpu_values()](std::int64_t i) {
      return i / 6 == 3 ? 0.0 : values[static_cast<std::size_t>(i)];
    });
    cpu::embedding_backward(queues.cpu(), ids.cpu(), dy.cpu(), dweight.cpu(Write::overwrite), {});

    ids.assign([=](std::int64_t i) { return static_cast<double>(i == 3 ? bad : i % 3); });
    dy.assign([values = dy.cpu_values()](std::int64_t i) {
      return i / 6 == 3 ? 99.0 : values[static_cast<std::size_t>(i)];
    });
    CHECK_FALSE(cuda::embedding_forward(queues.cuda(), weight.cuda(), ids.cuda(), y.cuda()));
    TwinWorkspace workspace(
        0, cuda::embedding_backward_workspace_bytes(DeviceKind::cuda, ids.cuda(), dweight.cuda()));
    cuda::embedding_backward(queues.cuda(), ids.cuda(), dy.cuda(), dweight.cuda(Write::overwrite),
                             workspace.cuda());
    const DeviceReport report = queues.report();
    CHECK(report.fault == DeviceFault::embedding_id);
    CHECK(report.value == bad);
    CHECK(report.bound == 7);
    CHECK(y.cuda_values() == expected);
    dweight.check_close();
  }
}

TEST_CASE("Embedding refuses what CUDA does not take", "[simt][cuda]") {
  const Queues queues;
  Twin weight(DType::float64, {3, 2}), ids(DType::int64, {4}), dy(DType::float64, {4, 2}),
      numbers(DType::int32, {3, 2}), few(DType::float32, {3, 2}), rows(DType::float32, {4, 2});
  CHECK_THROWS_AS(cuda::embedding_forward(queues.cuda(), numbers.cuda(), ids.cuda(), numbers.cuda()),
                  TypeError);
  CHECK_THROWS_AS(cuda::embedding_backward(queues.cuda(), ids.cuda(), dy.cuda(), {weight.cuda()}, {}),
                  TypeError);
  CHECK_THROWS_WITH(cuda::embedding_backward(queues.cuda(), ids.cuda(), rows.cuda(), {few.cuda()}, {}),
                    Catch::Contains("workspace of"));
}
