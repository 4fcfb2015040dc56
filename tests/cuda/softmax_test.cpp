// Softmax, log-softmax and cross entropy on CUDA beside the CPU.
#include "reprise/kernels/softmax.h"

#include <limits>

#include "harness.h"
#include "reprise/error.h"

using namespace reprise;
using namespace reprise::kernels;
using namespace reprise::test;

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct Softmax {
  bool log;

  void forward(const Queue& queue, const ConstView& x, const View& y) const {
    if (queue.device == DeviceKind::cuda)
      (log ? cuda::log_softmax_forward : cuda::softmax_forward)(queue, x, y);
    else
      (log ? cpu::log_softmax_forward : cpu::softmax_forward)(queue, x, y);
  }
  void backward(const Queue& queue, const ConstView& y, const ConstView& dy, const Target& dx) const {
    if (queue.device == DeviceKind::cuda)
      (log ? cuda::log_softmax_backward : cuda::softmax_backward)(queue, y, dy, dx);
    else
      (log ? cpu::log_softmax_backward : cpu::softmax_backward)(queue, y, dy, dx);
  }
};

struct Case {
  std::int64_t rows, columns, stride = 0;     // 0: without gaps
  std::int64_t offset = 0, other_offset = 0;  // of x and y, and of the gradients
  Write write = Write::overwrite;

  Twin twin(DType dtype, std::int64_t at) const {
    return Twin(dtype, {rows, columns}, {stride == 0 ? columns : stride, 1}, at);
  }
};

const Case kCases[] = {{0, 5},
                       {4, 0},
                       {1, 1},
                       {6, 31, 0, 0, 0, Write::accumulate},
                       {5, 32},
                       {7, 33, 0, 1, 1},
                       {7, 33, 0, 1, 2, Write::accumulate},
                       {5, 64, 72, 0, 0},
                       {5, 63, 64, 3, 3, Write::accumulate},
                       {3, 256},
                       {3, 257},
                       {3, 1023, 0, 5, 5, Write::accumulate},
                       {2, 3001},
                       {1, 8300, 0, 1, 1},
                       {2, 4200, 0, 0, 1, Write::accumulate},
                       {1, 9001, 0, 2, 2, Write::accumulate}};

void check_softmax(const Queues& queues, const Softmax& softmax, DType dtype, const Case& c) {
  CAPTURE(softmax.log, name_of(dtype), c.rows, c.columns, c.stride, c.offset, c.other_offset);
  Twin x = c.twin(dtype, c.offset), y = c.twin(dtype, c.offset), dy = c.twin(dtype, c.other_offset),
       dx = c.twin(dtype, c.other_offset);
  x.randomise(1, 2.0);
  dy.randomise(2);
  if (c.write == Write::accumulate) dx.randomise(3);
  softmax.forward(queues.cpu(), x.cpu(), y.cpu());
  softmax.forward(queues.cuda(), x.cuda(), y.cuda());
  queues.wait();
  y.check_close();
  y.upload();  // the gradient from the same results
  softmax.backward(queues.cpu(), y.cpu(), dy.cpu(), dx.cpu(c.write));
  softmax.backward(queues.cuda(), y.cuda(), dy.cuda(), dx.cuda(c.write));
  queues.wait();
  dx.check_close();
}

/// Row by row: only -inf, one NaN, one +inf, one -inf, the largest and the smallest numbers.
double extreme_value(std::int64_t row, std::int64_t column) {
  const double plain = static_cast<double>(column % 5) - 2;
  switch (row) {
    case 0:
      return -kInfinity;
    case 1:
      return column == 3 ? std::numeric_limits<double>::quiet_NaN() : plain;
    case 2:
      return column == 1 ? kInfinity : plain;
    case 3:
      return column == 0 ? -kInfinity : plain;
    default:
      return column % 2 == 0 ? 6e4 : -6e4;
  }
}

struct EntropyCase {
  std::int64_t rows, classes, offset = 0, other_offset = 0;
  DType targets = DType::int64;
  Reduction reduction = Reduction::mean;
  Write write = Write::overwrite;
};

const EntropyCase kEntropyCases[] = {
    {0, 5, 0, 0, DType::int64, Reduction::mean},
    {0, 5, 0, 0, DType::int32, Reduction::sum},
    {3, 1, 0, 0, DType::int32, Reduction::sum},
    {40, 10, 0, 0, DType::int64, Reduction::mean, Write::accumulate},
    {9, 33, 1, 1, DType::int32, Reduction::none},
    {5, 64, 0, 3, DType::int64, Reduction::mean},
    {6, 1000, 0, 0, DType::int32, Reduction::none, Write::accumulate},
    {3, 5025, 0, 0, DType::int64, Reduction::mean},
    {3, 5025, 3, 3, DType::int64, Reduction::sum, Write::accumulate},
    {2, 2051, 0, 1, DType::int32, Reduction::mean},
    {1500, 2, 0, 0, DType::int64, Reduction::mean},
};
constexpr std::int64_t kIgnored = -100;

/// Everything that cross entropy reads and writes.
struct EntropyData {
  Twin logits, targets, row_loss, statistics, total, count, dloss, dlogits;
  const EntropyCase& c;

  EntropyData(DType dtype, const EntropyCase& entropy)
      : logits(dtype, {entropy.rows, entropy.classes}, {}, entropy.offset),
        targets(entropy.targets, {entropy.rows}),
        row_loss(DType::float32, {entropy.rows}),
        statistics(DType::float32, {entropy.rows, 2}),
        total(DType::float32, {}),
        count(DType::float32, {}),
        dloss(DType::float32, {entropy.reduction == Reduction::none ? entropy.rows : 1}),
        dlogits(dtype, {entropy.rows, entropy.classes}, {}, entropy.other_offset),
        c(entropy) {
    logits.randomise(1, 2.0);
    targets.assign([&](std::int64_t i) {
      return static_cast<double>(i % 3 == 1 ? kIgnored : i * 7919 % entropy.classes);
    });
    dloss.randomise(2);
    if (entropy.write == Write::accumulate) dlogits.randomise(3);
  }
  View wanted_total(const View& view) const { return c.reduction == Reduction::none ? View() : view; }
  void forward_on_cpu(const Queue& queue) {
    CHECK(cpu::cross_entropy_forward(queue, c.reduction, kIgnored, logits.cpu(), targets.cpu(),
                                     row_loss.cpu(), statistics.cpu(), wanted_total(total.cpu()),
                                     count.cpu()) == kIgnored);
  }
  void forward_on_cuda(const Queue& queue) {
    CHECK(cuda::cross_entropy_forward(queue, c.reduction, kIgnored, logits.cuda(), targets.cuda(),
                                      row_loss.cuda(), statistics.cuda(), wanted_total(total.cuda()),
                                      count.cuda()) == kIgnored);
  }
};

}  // namespace

TEST_CASE("Softmax agrees with the CPU", "[simt][cuda]") {
  const Queues queues;
  for (const bool log : {false, true}) {
    for (const DType dtype : kTrained) {
      for (const Case& c : kCases) check_softmax(queues, {log}, dtype, c);
    }
  }
}

TEST_CASE("Softmax of infinities and NaN", "[simt][cuda]") {
  const Queues queues;
  for (const bool log : {false, true}) {
    for (const DType dtype : kTrained) {
      for (const std::int64_t columns : {7, 300, 8500}) {
        CAPTURE(log, name_of(dtype), columns);
        Twin x(dtype, {5, columns}), y(dtype, {5, columns});
        x.assign([&](std::int64_t i) { return extreme_value(i / columns, i % columns); });
        Softmax{log}.forward(queues.cpu(), x.cpu(), y.cpu());
        Softmax{log}.forward(queues.cuda(), x.cuda(), y.cuda());
        queues.wait();
        y.check_close();
      }
    }
  }
}

TEST_CASE("Softmax's gradient may replace what it is made from", "[simt][cuda]") {
  const Queues queues;
  Twin y(DType::bfloat16, {3, 9000}), dy(DType::bfloat16, {3, 9000}), dx(DType::bfloat16, {3, 9000});
  y.randomise(1, 0.01);
  dy.randomise(2);
  cuda::softmax_backward(queues.cuda(), y.cuda(), dy.cuda(), dx.cuda(Write::overwrite));
  cuda::softmax_backward(queues.cuda(), y.cuda(), dy.cuda(), dy.cuda(Write::overwrite));
  queues.wait();
  CHECK(dx.cuda_values() == dy.cuda_values());
}

TEST_CASE("Cross entropy agrees with the CPU", "[simt][cuda]") {
  const Queues queues;
  for (const DType dtype : kTrained) {
    for (const EntropyCase& c : kEntropyCases) {
      CAPTURE(name_of(dtype), c.rows, c.classes, c.offset, static_cast<int>(c.reduction));
      EntropyData d(dtype, c);
      d.forward_on_cpu(queues.cpu());
      d.forward_on_cuda(queues.cuda());
      queues.wait();
      for (const Twin* result : {&d.row_loss, &d.statistics, &d.total, &d.count}) result->check_close();
      cpu::cross_entropy_backward(queues.cpu(), c.reduction, kIgnored, d.logits.cpu(), d.targets.cpu(),
                                  d.statistics.cpu(), d.count.cpu(), d.dloss.cpu(), d.dlogits.cpu(c.write));
      cuda::cross_entropy_backward(queues.cuda(), c.reduction, kIgnored, d.logits.cuda(), d.targets.cuda(),
                                   d.statistics.cuda(), d.count.cuda(), d.dloss.cuda(),
                                   d.dlogits.cuda(c.write));
      queues.wait();
      d.dlogits.check_close();
      CHECK(queues.report().fault == DeviceFault::none);
    }
  }
}

TEST_CASE("Cross entropy's gradient does not depend on how large its logits are", "[simt][cuda]") {
  const Queues queues;
  for (const double offset : {1e4, 1e8}) {
    for (const std::int64_t classes : {3, 300, 5025}) {
      CAPTURE(offset, classes);
      const EntropyCase c{4, classes, 0, 0, DType::int64, Reduction::sum};
      EntropyData d(DType::float32, c), near(DType::float32, c);
      // Multiples of 8 are exact even beside 1e8.
      const auto logit = [](std::int64_t i) { return 8 * static_cast<double>(i * 7 % 3); };
      near.logits.assign(logit);
      d.logits.assign([&](std::int64_t i) { return offset + logit(i); });
      for (EntropyData* data : {&near, &d}) {
        data->dloss.assign([](std::int64_t) { return 1; });
        data->forward_on_cuda(queues.cuda());
        cuda::cross_entropy_backward(queues.cuda(), c.reduction, kIgnored, data->logits.cuda(),
                                     data->targets.cuda(), data->statistics.cuda(), data->count.cuda(),
                                     data->dloss.cuda(), data->dlogits.cuda(Write::overwrite));
      }
      queues.wait();
      CHECK(d.row_loss.cuda_values() == near.row_loss.cuda_values());
      CHECK(d.dlogits.cuda_values() == near.dlogits.cuda_values());
    }
  }
}

TEST_CASE("Cross entropy's gradient may be the logits' memory", "[simt][cuda]") {
  const Queues queues;
  for (const DType dtype : kTrained) {
    for (const std::int64_t classes : {33, 5025}) {
      const EntropyCase c{4, classes};
      EntropyData d(dtype, c);
      d.forward_on_cuda(queues.cuda());
      for (const View& to : {d.dlogits.cuda(), d.logits.cuda()}) {
        cuda::cross_entropy_backward(queues.cuda(), c.reduction, kIgnored, d.logits.cuda(), d.targets.cuda(),
                                     d.statistics.cuda(), d.count.cuda(), d.dloss.cuda(),
                                     {to, Write::overwrite});
      }
      queues.wait();
      CHECK(d.logits.cuda_values() == d.dlogits.cuda_values());
    }
  }
}

TEST_CASE("Cross entropy ignores and reports a bad target", "[simt][cuda]") {
  const Queues queues;
  const EntropyCase c{4, 10};
  EntropyData d(DType::float32, c);
  for (const double bad : {-3.0, 10.0}) {
    CAPTURE(bad);
    d.targets.assign([&](std::int64_t i) { return i == 2 ? bad : i == 3 ? double(kIgnored) : double(i); });
    d.forward_on_cuda(queues.cuda());
    const DeviceReport report = queues.report();
    CHECK(report.fault == DeviceFault::cross_entropy_target);
    CHECK(double(report.value) == bad);
    CHECK(report.bound == 10);
    d.targets.assign([](std::int64_t i) { return i >= 2 ? double(kIgnored) : double(i); });
    d.forward_on_cpu(queues.cpu());
    for (const Twin* result : {&d.row_loss, &d.statistics, &d.total, &d.count}) result->check_close();
  }
}

TEST_CASE("The mean loss of ignored targets is NaN, their sum 0", "[simt][cuda]") {
  const Queues queues;
  for (const Reduction reduction : {Reduction::mean, Reduction::sum}) {
    const EntropyCase c{3, 4, 0, 0, DType::int64, reduction};
    EntropyData d(DType::float32, c);
    d.targets.assign([](std::int64_t) { return kIgnored; });
    d.forward_on_cuda(queues.cuda());
    queues.wait();
    CHECK(d.count.cuda_values()[0] == 0);
    if (reduction == Reduction::sum)
      CHECK(d.total.cuda_values()[0] == 0);
    else
      CHECK(std::isnan(d.total.cuda_values()[0]));
  }
}

TEST_CASE("Softmax and cross entropy refuse what CUDA does not train in", "[simt][cuda]") {
  const Queues queues;
  const Queue queue = queues.cuda();
  Twin x(DType::float64, {2, 3}), row(DType::float64, {2}), target(DType::int64, {2});
  CHECK_THROWS_AS(cuda::softmax_forward(queue, x.cuda(), x.cuda()), TypeError);
  CHECK_THROWS_AS(cuda::log_softmax_backward(queue, x.cuda(), x.cuda(), {x.cuda()}), TypeError);
  CHECK_THROWS_AS(cuda::cross_entropy_forward(queue, Reduction::sum, kIgnored, x.cuda(), target.cuda(),
                                              row.cuda(), row.cuda(), row.cuda(), row.cuda()),
                  TypeError);
  CHECK_THROWS_AS(cuda::cross_entropy_backward(queue, Reduction::sum, kIgnored, x.cuda(), target.cuda(),
                                               row.cuda(), row.cuda(), row.cuda(), {x.cuda()}),
                  TypeError);
}
