// Batch norm on CUDA beside the CPU.
#include "harness.h"
#include "reprise/error.h"
#include "reprise/kernels/norm.h"

using namespace reprise;
using namespace reprise::kernels;
using namespace reprise::test;

namespace {

constexpr double kEps = 1e-5;

struct Case {
  std::vector<std::int64_t> sizes;
  std::int64_t offset = 0;
  Write write = Write::overwrite;
  bool parameters = true;
  bool relu = false, training = true, in_place = false;
};

const Case kCases[] = {
    {{0, 3}},
    {{4, 0}},
    {{2, 1}},
    {{300, 1}, 0, Write::accumulate},
    {{33, 3}, 0, Write::overwrite, true, true},
    {{3, 3, 7, 5}, 0, Write::overwrite, false},
    {{4, 32, 3, 3}, 0, Write::accumulate, true, true, false},
    {{4, 32, 3, 3}, 1, Write::overwrite, true, true},
    {{2, 64, 9, 8}, 0, Write::overwrite, true, true, true, true},
    {{2, 33, 9, 8}, 0, Write::overwrite, true, false, true, true},
    {{5, 40}, 0, Write::overwrite, false, true, false},
    {{6, 2048, 1, 1}, 0, Write::accumulate},
    {{3000, 8}, 0, Write::overwrite, true, true},
};

/// Strides of channels-last memory, or of rows.
std::vector<std::int64_t> strides_of(const std::vector<std::int64_t>& sizes) {
  if (sizes.size() == 2) return {};
  return {sizes[1] * sizes[2] * sizes[3], 1, sizes[3] * sizes[1], sizes[1]};
}

struct BatchNormData {
  Twin x, mean, variance, weight, bias, y, dy, dx, dweight, dbias;
  bool parameters;

  BatchNormData(DType dtype, const Case& c)
      : x(dtype, c.sizes, strides_of(c.sizes), c.offset),
        mean(DType::float32, {c.sizes[1]}),
        variance(DType::float32, {c.sizes[1]}),
        weight(dtype, {c.sizes[1]}, {}, c.offset),
        bias(dtype, {c.sizes[1]}, {}, c.offset),
        y(dtype, c.sizes, strides_of(c.sizes), c.offset),
        dy(dtype, c.sizes, strides_of(c.sizes), c.offset),
        dx(dtype, c.sizes, strides_of(c.sizes), c.offset),
        dweight(dtype, {c.sizes[1]}),
        dbias(dtype, {c.sizes[1]}),
        parameters(c.parameters) {
    // Multiples of 1/8 around 4: no output is so close to 0 that its sign depends on rounding.
    x.randomise(1, 8.0);
    x.assign([values = x.cpu_values()](std::int64_t i) {
      return 4 + std::round(values[static_cast<std::size_t>(i)]) / 8;
    });
    weight.randomise(2);
    bias.randomise(3);
    dy.randomise(4);
    for (Twin* gradient : {&dx, &dweight, &dbias}) {
      if (c.write == Write::accumulate) gradient->randomise(5);
    }
  }
  ConstView parameter(const View& view) const { return parameters ? ConstView(view) : ConstView(); }
};

void check_batch_norm(const Queues& queues, DType dtype, const Case& c) {
  CAPTURE(name_of(dtype), c.sizes, c.offset, c.parameters, c.relu, c.training, c.in_place);
  BatchNormData d(dtype, c);
  TwinWorkspace workspace(cpu::batch_norm_workspace_bytes(DeviceKind::cpu, d.x.cpu()),
                          cuda::batch_norm_workspace_bytes(DeviceKind::cuda, d.x.cuda()));
  cpu::batch_norm_statistics(queues.cpu(), d.x.cpu(), d.mean.cpu(), d.variance.cpu(), workspace.cpu());
  cuda::batch_norm_statistics(queues.cuda(), d.x.cuda(), d.mean.cuda(), d.variance.cuda(), workspace.cuda());
  queues.wait();
  d.mean.check_close();
  d.variance.check_close();
  // The rest starts from the same statistics, as relu's mask is a jump.
  d.mean.upload();
  d.variance.upload();
  cpu::batch_norm_apply(queues.cpu(), kEps, c.relu, d.x.cpu(), d.mean.cpu(), d.variance.cpu(),
                        d.parameter(d.weight.cpu()), d.parameter(d.bias.cpu()), d.y.cpu());
  cuda::batch_norm_apply(queues.cuda(), kEps, c.relu, d.x.cuda(), d.mean.cuda(), d.variance.cuda(),
                         d.parameter(d.weight.cuda()), d.parameter(d.bias.cuda()), d.y.cuda());
  Twin& dx = c.in_place ? d.dy : d.dx;
  cpu::batch_norm_backward(queues.cpu(), kEps, c.relu, c.training, d.x.cpu(), d.mean.cpu(), d.variance.cpu(),
                           d.parameter(d.weight.cpu()), d.parameter(d.bias.cpu()), d.dy.cpu(),
                           dx.cpu(c.write), d.dweight.cpu(c.write), d.dbias.cpu(c.write), workspace.cpu());
  cuda::batch_norm_backward(queues.cuda(), kEps, c.relu, c.training, d.x.cuda(), d.mean.cuda(),
                            d.variance.cuda(), d.parameter(d.weight.cuda()), d.parameter(d.bias.cuda()),
                            d.dy.cuda(), dx.cuda(c.write), d.dweight.cuda(c.write), d.dbias.cuda(c.write),
                            workspace.cuda());
  queues.wait();
  for (const Twin* result : {&d.y, &d.dy, &d.dx, &d.dweight, &d.dbias}) result->check_close();
}

TEST_CASE("running statistics have the CPU's bits on CUDA", "[simt][cuda]") {
  const Queues queues;
  for (const DType dtype : {DType::float64, DType::float32, DType::bfloat16, DType::float16}) {
    for (const std::int64_t channels : {0, 1, 127, 128, 300}) {
      CAPTURE(name_of(dtype), channels);
      Twin mean(dtype, {channels}, {2}), variance(dtype, {channels}), running_mean(dtype, {channels}),
          running_variance(dtype, {channels}, {3}, 1), batches(DType::int64, {});
      unsigned seed = 0;
      for (Twin* twin : {&mean, &variance, &running_mean, &running_variance}) twin->randomise(++seed, 4.0);
      batches.assign([](std::int64_t) { return 6; });
      for (int round = 0; round < 3; ++round) {
        cpu::batch_norm_running(queues.cpu(), 0.1, 24.0 / 23, mean.cpu(), variance.cpu(), running_mean.cpu(),
                                running_variance.cpu(), batches.cpu());
        cuda::batch_norm_running(queues.cuda(), 0.1, 24.0 / 23, mean.cuda(), variance.cuda(),
                                 running_mean.cuda(), running_variance.cuda(), batches.cuda());
      }
      queues.wait();
      running_mean.check_equal();
      running_variance.check_equal();
      batches.check_equal();
      CHECK(batches.cuda_values() == std::vector<double>{9});
    }
  }
}

}  // namespace

TEST_CASE("Batch norm agrees with the CPU", "[simt][cuda]") {
  const Queues queues;
  for (const DType dtype : kTrained) {
    for (const Case& c : kCases) check_batch_norm(queues, dtype, c);
  }
}

TEST_CASE("A far mean does not spoil batch norm's variance", "[simt][cuda]") {
  const Queues queues;
  Twin x(DType::float32, {700, 5}), mean(DType::float32, {5}), variance(DType::float32, {5});
  x.assign([](std::int64_t i) { return i < 5 ? -1e4 : 4096 + static_cast<double>(i * 7919 % 64) / 64; });
  TwinWorkspace workspace(cpu::batch_norm_workspace_bytes(DeviceKind::cpu, x.cpu()),
                          cuda::batch_norm_workspace_bytes(DeviceKind::cuda, x.cuda()));
  cpu::batch_norm_statistics(queues.cpu(), x.cpu(), mean.cpu(), variance.cpu(), workspace.cpu());
  cuda::batch_norm_statistics(queues.cuda(), x.cuda(), mean.cuda(), variance.cuda(), workspace.cuda());
  queues.wait();
  mean.check_close();
  variance.check_close();
}

TEST_CASE("Batch norm makes only the gradients that are wanted", "[simt][cuda]") {
  const Queues queues;
  for (int wanted = 1; wanted < 7; ++wanted) {
    const Case c{{40, 16}};
    CAPTURE(wanted);
    BatchNormData d(DType::float32, c);
    for (Twin* statistic : {&d.mean, &d.variance}) statistic->assign([](std::int64_t) { return 1.5; });
    TwinWorkspace workspace(cpu::batch_norm_workspace_bytes(DeviceKind::cpu, d.x.cpu()),
                            cuda::batch_norm_workspace_bytes(DeviceKind::cuda, d.x.cuda()));
    const auto pick = [&](int bit, const View& view) {
      return (wanted & bit) != 0 ? Target{view, Write::overwrite} : Target{};
    };
    cpu::batch_norm_backward(queues.cpu(), kEps, false, false, d.x.cpu(), d.mean.cpu(), d.variance.cpu(),
                             d.weight.cpu(), d.bias.cpu(), d.dy.cpu(), pick(1, d.dx.cpu()),
                             pick(2, d.dweight.cpu()), pick(4, d.dbias.cpu()), workspace.cpu());
    cuda::batch_norm_backward(queues.cuda(), kEps, false, false, d.x.cuda(), d.mean.cuda(), d.variance.cuda(),
                              d.weight.cuda(), d.bias.cuda(), d.dy.cuda(), pick(1, d.dx.cuda()),
                              pick(2, d.dweight.cuda()), pick(4, d.dbias.cuda()), workspace.cuda());
    queues.wait();
    for (const Twin* result : {&d.dx, &d.dweight, &d.dbias}) result->check_close();
  }
}

TEST_CASE("Batch norm refuses what CUDA does not train in", "[simt][cuda]") {
  const Queues queues;
  const Queue queue = queues.cuda();
  Twin x(DType::float64, {2, 3}), c(DType::float64, {3}), few(DType::float32, {2, 3}), s(DType::float32, {3});
  CHECK_THROWS_AS(cuda::batch_norm_statistics(queue, x.cuda(), c.cuda(), c.cuda(), {}), TypeError);
  CHECK_THROWS_AS(cuda::batch_norm_apply(queue, kEps, false, x.cuda(), c.cuda(), c.cuda(), {}, {}, x.cuda()),
                  TypeError);
  CHECK_THROWS_AS(cuda::batch_norm_backward(queue, kEps, false, true, x.cuda(), c.cuda(), c.cuda(), {}, {},
                                            x.cuda(), {x.cuda()}, {}, {}, {}),
                  TypeError);
  CHECK_THROWS_WITH(cuda::batch_norm_statistics(queue, few.cuda(), s.cuda(), s.cuda(), {}),
                    Catch::Contains("workspace of"));
}

TEST_CASE("Relu inside batch norm passes NaN's gradient on", "[simt][cuda]") {
  const Queues queues;
  for (const DType dtype : kTrained) {
    const Case c{{40, 16}, 0, Write::overwrite, true, true, false};
    CAPTURE(name_of(dtype));
    BatchNormData d(dtype, c);
    d.x.assign([](std::int64_t i) {
      return i % 5 == 0 ? std::nan("") : i % 11 == 3 ? INFINITY : static_cast<double>(i % 7) - 3.25;
    });
    for (Twin* statistic : {&d.mean, &d.variance}) statistic->assign([](std::int64_t) { return 0.5; });
    TwinWorkspace workspace(cpu::batch_norm_workspace_bytes(DeviceKind::cpu, d.x.cpu()),
                            cuda::batch_norm_workspace_bytes(DeviceKind::cuda, d.x.cuda()));
    cpu::batch_norm_backward(queues.cpu(), kEps, true, false, d.x.cpu(), d.mean.cpu(), d.variance.cpu(),
                             d.weight.cpu(), d.bias.cpu(), d.dy.cpu(), d.dx.cpu(c.write), {},
                             d.dbias.cpu(c.write), workspace.cpu());
    cuda::batch_norm_backward(queues.cuda(), kEps, true, false, d.x.cuda(), d.mean.cuda(), d.variance.cuda(),
                              d.weight.cuda(), d.bias.cuda(), d.dy.cuda(), d.dx.cuda(c.write), {},
                              d.dbias.cuda(c.write), workspace.cuda());
    queues.wait();
    for (const Twin* result : {&d.dx, &d.dbias}) result->check_close();
    CHECK(d.dx.cuda_values()[0] != 0);
  }
}
