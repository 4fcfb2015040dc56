// Layer norm and RMS norm on CUDA beside the CPU.
#include "reprise/kernels/norm.h"

#include "harness.h"
#include "reprise/error.h"

using namespace reprise;
using namespace reprise::kernels;
using namespace reprise::test;

namespace {

constexpr double kEps = 1e-5;

/// Both norms as one: RMS norm has no mean and no bias.
struct RowNorm {
  bool centred;

  void forward(const Queue& queue, const ConstView& x, const ConstView& weight, const ConstView& bias,
               const View& y, const View& mean, const View& rstd) const {
    const bool cuda = queue.device == DeviceKind::cuda;
    if (centred)
      (cuda ? cuda::layer_norm_forward : cpu::layer_norm_forward)(queue, kEps, x, weight, bias, y, mean,
                                                                  rstd);
    else
      (cuda ? cuda::rms_norm_forward : cpu::rms_norm_forward)(queue, kEps, x, weight, y, rstd);
  }
  void backward(const Queue& queue, const ConstView& x, const ConstView& weight, const ConstView& mean,
                const ConstView& rstd, const ConstView& dy, const Target& dx, const Target& dweight,
                const Target& dbias, const Workspace& workspace) const {
    const bool cuda = queue.device == DeviceKind::cuda;
    if (centred) {
      (cuda ? cuda::layer_norm_backward : cpu::layer_norm_backward)(queue, x, weight, mean, rstd, dy, dx,
                                                                    dweight, dbias, workspace);
    } else {
      (cuda ? cuda::rms_norm_backward : cpu::rms_norm_backward)(queue, x, weight, rstd, dy, dx, dweight,
                                                                workspace);
    }
  }
};

struct Case {
  std::int64_t rows, columns, offset = 0;
  Write write = Write::overwrite;
  bool parameters = true;
};

// Rows of a warp and of a block, held and too long for that, in packs and element by element.
const Case kCases[] = {{0, 5},
                       {4, 0},
                       {1, 1},
                       {3, 31},
                       {5, 32, 0, Write::accumulate},
                       {70, 33},
                       {9, 64, 0, Write::overwrite, false},
                       {9, 64, 1, Write::accumulate},
                       {6, 256},
                       {5, 257, 0, Write::accumulate, false},
                       {4, 776},
                       {4, 1024, 3},
                       {3, 2056, 0, Write::accumulate},
                       {2, 8192},
                       {2, 8200, 0, Write::accumulate},
                       {2, 4099, 0, Write::overwrite, false},
                       {700, 8},
                       // More rows than the device takes at once, of several warps each.
                       {61, 520, 0, Write::accumulate},
                       {99, 264},
                       {23, 2056},
                       {19, 1000, 1, Write::accumulate}};

/// Everything that a call reads and writes, on both devices.
struct NormData {
  Twin x, weight, bias, y, mean, rstd, dy, dx, dweight, dbias;
  Write write;

  NormData(DType dtype, const Case& c)
      : x(dtype, {c.rows, c.columns}, {}, c.offset),
        weight(dtype, {c.columns}, {}, c.offset),
        bias(dtype, {c.columns}, {}, c.offset),
        y(dtype, {c.rows, c.columns}, {}, c.offset),
        mean(DType::float32, {c.rows}),
        rstd(DType::float32, {c.rows}),
        dy(dtype, {c.rows, c.columns}, {}, c.offset),
        dx(dtype, {c.rows, c.columns}, {}, c.offset),
        dweight(dtype, {c.columns}),
        dbias(dtype, {c.columns}),
        write(c.write) {
    x.randomise(1, 2.0);
    x.assign(
        [&, values = x.cpu_values()](std::int64_t i) { return 0.5 + values[static_cast<std::size_t>(i)]; });
    weight.randomise(2);
    bias.randomise(3);
    dy.randomise(4);
    for (Twin* gradient : {&dx, &dweight, &dbias}) {
      if (write == Write::accumulate) gradient->randomise(5);
    }
  }
  ConstView parameter(bool wanted, const View& view) const { return wanted ? ConstView(view) : ConstView(); }
};

void check_norm(const Queues& queues, const RowNorm& norm, DType dtype, const Case& c) {
  CAPTURE(norm.centred, name_of(dtype), c.rows, c.columns, c.offset, c.parameters);
  NormData d(dtype, c);
  norm.forward(queues.cpu(), d.x.cpu(), d.parameter(c.parameters, d.weight.cpu()),
               d.parameter(c.parameters, d.bias.cpu()), d.y.cpu(), d.mean.cpu(), d.rstd.cpu());
  norm.forward(queues.cuda(), d.x.cuda(), d.parameter(c.parameters, d.weight.cuda()),
               d.parameter(c.parameters, d.bias.cuda()), d.y.cuda(), d.mean.cuda(), d.rstd.cuda());
  TwinWorkspace workspace(cpu::norm_backward_workspace_bytes(DeviceKind::cpu, d.x.cpu()),
                          cuda::norm_backward_workspace_bytes(DeviceKind::cuda, d.x.cuda()));
  const Target no_bias;
  norm.backward(queues.cpu(), d.x.cpu(), d.parameter(c.parameters, d.weight.cpu()), d.mean.cpu(),
                d.rstd.cpu(), d.dy.cpu(), d.dx.cpu(c.write), d.dweight.cpu(c.write),
                norm.centred ? d.dbias.cpu(c.write) : no_bias, workspace.cpu());
  norm.backward(queues.cuda(), d.x.cuda(), d.parameter(c.parameters, d.weight.cuda()), d.mean.cuda(),
                d.rstd.cuda(), d.dy.cuda(), d.dx.cuda(c.write), d.dweight.cuda(c.write),
                norm.centred ? d.dbias.cuda(c.write) : no_bias, workspace.cuda());
  queues.wait();
  for (const Twin* result : {&d.y, &d.mean, &d.rstd, &d.dx, &d.dweight, &d.dbias}) result->check_close();
}

}  // namespace

TEST_CASE("Layer and RMS norm agree with the CPU", "[simt][cuda]") {
  const Queues queues;
  for (const bool centred : {true, false}) {
    for (const DType dtype : kTrained) {
      for (const Case& c : kCases) check_norm(queues, {centred}, dtype, c);
    }
  }
}

TEST_CASE("A far mean does not spoil layer norm's variance", "[simt][cuda]") {
  const Queues queues;
  Twin x(DType::float32, {3, 300}), y(DType::float32, {3, 300}), mean(DType::float32, {3}),
      rstd(DType::float32, {3});
  x.randomise(1);
  x.assign([values = x.cpu_values()](std::int64_t i) { return 1e4 + values[static_cast<std::size_t>(i)]; });
  const RowNorm norm{true};
  norm.forward(queues.cuda(), x.cuda(), {}, {}, y.cuda(), mean.cuda(), rstd.cuda());
  queues.wait();
  const std::vector<double> values = x.cpu_values(), found = rstd.cuda_values();
  for (std::size_t row = 0; row < 3; ++row) {
    double sum = 0, squares = 0;
    for (std::size_t i = 0; i < 300; ++i) sum += values[row * 300 + i] / 300;
    for (std::size_t i = 0; i < 300; ++i) squares += std::pow(values[row * 300 + i] - sum, 2) / 300;
    CHECK(found[row] == Approx(1 / std::sqrt(squares + kEps)).epsilon(1e-5));
  }
}

TEST_CASE("Norms make only the gradients that are wanted", "[simt][cuda]") {
  const Queues queues;
  for (const std::int64_t columns : {64, 8200}) {
    for (int wanted = 1; wanted < 7; ++wanted) {
      CAPTURE(columns, wanted);
      NormData d(DType::float32, {5, columns});
      const RowNorm norm{true};
      norm.forward(queues.cpu(), d.x.cpu(), d.weight.cpu(), {}, d.y.cpu(), d.mean.cpu(), d.rstd.cpu());
      d.mean.upload();
      d.rstd.upload();
      TwinWorkspace workspace(cpu::norm_backward_workspace_bytes(DeviceKind::cpu, d.x.cpu()),
                              cuda::norm_backward_workspace_bytes(DeviceKind::cuda, d.x.cuda()));
      const auto pick = [&](int bit, const View& view) {
        return (wanted & bit) != 0 ? Target{view, Write::overwrite} : Target{};
      };
      norm.backward(queues.cpu(), d.x.cpu(), d.weight.cpu(), d.mean.cpu(), d.rstd.cpu(), d.dy.cpu(),
                    pick(1, d.dx.cpu()), pick(2, d.dweight.cpu()), pick(4, d.dbias.cpu()), workspace.cpu());
      norm.backward(queues.cuda(), d.x.cuda(), d.weight.cuda(), d.mean.cuda(), d.rstd.cuda(), d.dy.cuda(),
                    pick(1, d.dx.cuda()), pick(2, d.dweight.cuda()), pick(4, d.dbias.cuda()),
                    workspace.cuda());
      queues.wait();
      for (const Twin* result : {&d.dx, &d.dweight, &d.dbias}) result->check_close();
    }
  }
}

TEST_CASE("Norms refuse what CUDA does not train in", "[simt][cuda]") {
  const Queues queues;
  Twin x(DType::float64, {2, 3}), y(DType::float64, {2, 3}), mean(DType::float64, {2});
  const Queue queue = queues.cuda();
  CHECK_THROWS_AS(cuda::layer_norm_forward(queue, kEps, x.cuda(), {}, {}, y.cuda(), mean.cuda(), mean.cuda()),
                  TypeError);
  CHECK_THROWS_AS(cuda::rms_norm_forward(queue, kEps, x.cuda(), {}, y.cuda(), mean.cuda()), TypeError);
  CHECK_THROWS_AS(cuda::rms_norm_backward(queue, x.cuda(), {}, mean.cuda(), x.cuda(), {y.cuda()}, {}, {}),
                  TypeError);
  Twin few(DType::float32, {2, 3}), parameter(DType::float32, {3}), statistic(DType::float32, {2});
  CHECK_THROWS_WITH(cuda::rms_norm_backward(queue, few.cuda(), {}, statistic.cuda(), few.cuda(), {},
                                            {parameter.cuda()}, {}),
                    Catch::Contains("workspace of"));
}
