// The gradient of a bias on CUDA beside the CPU.
#include "harness.h"
#include "reprise/error.h"
#include "reprise/kernels/matmul.h"

using namespace reprise;
using namespace reprise::kernels;
using namespace reprise::test;

namespace {

struct Case {
  std::int64_t rows, columns;
  std::vector<std::int64_t> strides = {};
  std::int64_t offset = 0;
  Write write = Write::overwrite;
  std::int64_t step = 1;  // of dbias
};

const Case kCases[] = {{0, 3},
                       {0, 3, {}, 0, Write::accumulate},
                       {5, 0},
                       {1, 1},
                       {300, 1},
                       {33, 3, {}, 0, Write::accumulate},
                       {40, 31},
                       {257, 32},
                       {600, 33, {}, 1},
                       {100, 264, {}, 0, Write::accumulate},
                       {100, 264, {}, 4},
                       {70, 24, {32, 1}},
                       {70, 24, {1, 70}},
                       {30, 7, {29, 3}, 2, Write::accumulate, 2}};

}  // namespace

TEST_CASE("bias_backward agrees with the CPU", "[simt][cuda]") {
  const Queues queues;
  for (const DType dtype : kTrained) {
    for (const Case& c : kCases) {
      CAPTURE(name_of(dtype), c.rows, c.columns, c.offset, c.strides);
      Twin dy(dtype, {c.rows, c.columns}, c.strides, c.offset), dbias(dtype, {c.columns}, {c.step});
      dy.randomise(1);
      dbias.randomise(2);
      Twin wide = dy.widened(), expected = dbias.widened();
      TwinWorkspace workspace(cpu::bias_backward_workspace_bytes(DeviceKind::cpu, wide.cpu()),
                              cuda::bias_backward_workspace_bytes(DeviceKind::cuda, dy.cuda()));
      cpu::bias_backward(queues.cpu(), wide.cpu(), expected.cpu(c.write), workspace.cpu());
      cuda::bias_backward(queues.cuda(), dy.cuda(), dbias.cuda(c.write), workspace.cuda());
      queues.wait();
      dbias.check_close_to(expected);
    }
  }
}

TEST_CASE("bias_backward refuses what CUDA does not train in", "[simt][cuda]") {
  const Queues queues;
  Twin dy(DType::float64, {2, 3}), dbias(DType::float64, {3}), few(DType::float32, {2, 3}),
      sums(DType::float32, {3});
  CHECK_THROWS_AS(cuda::bias_backward(queues.cuda(), dy.cuda(), {dbias.cuda()}, {}), TypeError);
  CHECK_THROWS_WITH(cuda::bias_backward(queues.cuda(), few.cuda(), {sums.cuda()}, {}),
                    Catch::Contains("workspace of"));
}
