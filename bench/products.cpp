// Matrix products and convolutions through each library, in operations per second (one multiplication and
// addition are two).
#include <benchmark/benchmark.h>

#include <cstddef>
#include <string>
#include <vector>

#include "reprise/kernels/conv.h"
#include "reprise/kernels/matmul.h"

namespace {

using namespace reprise;
using namespace reprise::kernels;

/// Memory for a tensor of 32-bit or 16-bit floats, filled with numbers of both signs.
class Buffer {
 public:
  Buffer(DType dtype, std::int64_t count) : bytes_(static_cast<std::size_t>(count) * size_of(dtype)) {
    for (std::int64_t i = 0; i < count; ++i) {
      const float value = static_cast<float>(i * 37 % 101 - 50) / 64;
      if (dtype == DType::bfloat16)
        reinterpret_cast<bfloat16*>(bytes_.data())[i] = bfloat16(value);
      else
        reinterpret_cast<float*>(bytes_.data())[i] = value;
    }
  }
  void* data() { return bytes_.data(); }

 private:
  std::vector<std::byte> bytes_;
};

View view_of(Buffer& buffer, DType dtype, const std::vector<std::int64_t>& sizes,
             const std::vector<std::int64_t>& strides) {
  View view;
  view.data = buffer.data();
  view.dtype = dtype;
  view.rank = static_cast<int>(sizes.size());
  for (int axis = 0; axis < view.rank; ++axis) {
    view.sizes[axis] = sizes[static_cast<std::size_t>(axis)];
    view.strides[axis] = strides[static_cast<std::size_t>(axis)];
  }
  return view;
}

void report(benchmark::State& state, double multiplications) {
  state.counters["FLOP/s"] = benchmark::Counter(
      2 * multiplications, benchmark::Counter::kIsIterationInvariantRate, benchmark::Counter::kIs1000);
}

struct Shape {
  const char* name;
  std::int64_t batch, m, n, k;
  bool a_transposed, b_transposed;
};

constexpr Shape kShapes[] = {
    {"1024x768x768_NT", 1, 1024, 768, 768, false, true},
    {"1024x3072x768_NT", 1, 1024, 3072, 768, false, true},
    {"768x768x1024_TN", 1, 768, 768, 1024, true, false},
    {"1024x128x128_NT", 1, 1024, 128, 128, false, true},
    {"256x256x256_NN", 1, 256, 256, 256, false, false},
    {"12x256x256x64_NT", 12, 256, 256, 64, false, true},
    {"32x128x128x32_NT", 32, 128, 128, 32, false, true},
    {"64x64x64_NN", 1, 64, 64, 64, false, false},
    {"16x16x16_NN", 1, 16, 16, 16, false, false},
    {"4x4x4_NN", 1, 4, 4, 4, false, false},
    {"1x768x768_NT", 1, 1, 768, 768, false, true},
    {"1x768x768_NN", 1, 1, 768, 768, false, false},
    {"768x1x768_NN", 1, 768, 1, 768, false, false},
};

void run_product(benchmark::State& state, const Shape& s, CpuLibrary library, DType dtype) {
  use_cpu_library(library);
  Buffer a_buffer(dtype, s.batch * s.m * s.k), b_buffer(dtype, s.batch * s.k * s.n),
      c_buffer(dtype, s.batch * s.m * s.n);
  const auto matrix = [&](Buffer& buffer, std::int64_t rows, std::int64_t columns, bool transposed) {
    return view_of(buffer, dtype, {s.batch, rows, columns},
                   {rows * columns, transposed ? 1 : columns, transposed ? rows : 1});
  };
  const View a = matrix(a_buffer, s.m, s.k, s.a_transposed), b = matrix(b_buffer, s.k, s.n, s.b_transposed);
  const View c = matrix(c_buffer, s.m, s.n, false);
  std::vector<std::byte> scratch(matmul_workspace_bytes(DeviceKind::cpu, a, b, c));
  for (auto _ : state) {
    matmul({}, 1, a, b, {c}, {scratch.data(), scratch.size()});
    benchmark::ClobberMemory();
  }
  report(state, static_cast<double>(s.batch * s.m * s.n * s.k));
  use_cpu_library(CpuLibrary::automatic);
}

struct ConvShape {
  const char* name;
  std::int64_t n, in, out, size, kernel;
  Conv2dParams params;
};

const ConvShape kConvShapes[] = {
    {"64_channels_56x56_batch_8", 8, 64, 64, 56, 3, {.padding = {1, 1}}},
    {"16_channels_32x32_batch_64", 64, 16, 16, 32, 3, {.padding = {1, 1}}},
    {"64_channels_8x8_batch_64", 64, 64, 64, 8, 3, {.padding = {1, 1}}},
    {"16_to_32_channels_stride_2", 64, 16, 32, 32, 3, {.stride = {2, 2}, .padding = {1, 1}}},
    {"3_to_16_channels_32x32_batch_64", 64, 3, 16, 32, 3, {.padding = {1, 1}}},
    {"1x1_64_to_256_channels_56x56_batch_8", 8, 64, 256, 56, 1, {}},
    {"1x1_256_to_64_channels_56x56_batch_8", 8, 256, 64, 56, 1, {}},
    {"depthwise_64_channels_56x56_batch_8", 8, 64, 64, 56, 3, {.padding = {1, 1}, .groups = 64}},
};

void run_convolution(benchmark::State& state, const ConvShape& s, ConvPass pass, CpuLibrary library,
                     DType dtype) {
  use_cpu_library(library);
  const std::int64_t out_size = (s.size + 2 * s.params.padding[0] - s.kernel) / s.params.stride[0] + 1;
  const std::int64_t taps = s.kernel * s.kernel, group_in = s.in / s.params.groups;
  Buffer x_buffer(dtype, s.n * s.in * s.size * s.size), y_buffer(dtype, s.n * s.out * out_size * out_size);
  Buffer w_buffer(dtype, s.out * group_in * taps);
  const auto image = [&](Buffer& buffer, std::int64_t channels, std::int64_t size) {
    return view_of(buffer, dtype, {s.n, channels, size, size},
                   {size * size * channels, 1, size * channels, channels});
  };
  const View x = image(x_buffer, s.in, s.size), y = image(y_buffer, s.out, out_size);
  const View w =
      view_of(w_buffer, dtype, {s.out, group_in, s.kernel, s.kernel}, {group_in * taps, taps, s.kernel, 1});
  std::vector<std::byte> scratch(
      conv2d_workspace_bytes(DeviceKind::cpu, pass, s.params, x, w, y, Write::overwrite));
  const Workspace workspace{scratch.data(), scratch.size()};
  for (auto _ : state) {
    if (pass == ConvPass::forward) conv2d_forward({}, s.params, x, w, {}, y, workspace);
    if (pass == ConvPass::backward_data) conv2d_backward_data({}, s.params, y, w, {x}, workspace);
    if (pass == ConvPass::backward_weight) conv2d_backward_weight({}, s.params, x, y, {w}, workspace);
    benchmark::ClobberMemory();
  }
  report(state, static_cast<double>(s.n * out_size * out_size * s.out * group_in * taps));
  use_cpu_library(CpuLibrary::automatic);
}

void run_bias(benchmark::State& state, std::int64_t rows, std::int64_t columns) {
  Buffer dy(DType::float32, rows * columns), dbias(DType::float32, columns);
  const View from = view_of(dy, DType::float32, {rows, columns}, {columns, 1});
  const View to = view_of(dbias, DType::float32, {columns}, {1});
  for (auto _ : state) {
    bias_backward({}, from, {to}, {});
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * rows * columns * 4);
}

const bool kRegistered = [] {
  struct Way {
    const char* name;
    CpuLibrary library;
    DType dtype;
  };
  constexpr Way kWays[] = {{"oneDNN", CpuLibrary::onednn, DType::float32},
                           {"Eigen", CpuLibrary::eigen, DType::float32},
                           {"automatic", CpuLibrary::automatic, DType::float32},
                           {"automatic_bfloat16", CpuLibrary::automatic, DType::bfloat16}};
  const auto add = [](const std::string& name, auto run) {
    benchmark::RegisterBenchmark(name.c_str(), run)->UseRealTime();
  };
  for (const Shape& shape : kShapes) {
    for (const Way& way : kWays) {
      add(std::string("matmul/") + shape.name + '/' + way.name,
          [&shape, way](benchmark::State& state) { run_product(state, shape, way.library, way.dtype); });
    }
  }
  constexpr const char* kPasses[] = {"forward", "backward_data", "backward_weight"};
  for (const ConvShape& shape : kConvShapes) {
    for (const ConvPass pass : {ConvPass::forward, ConvPass::backward_data, ConvPass::backward_weight}) {
      for (const Way& way : kWays) {
        const std::string pass_name = kPasses[static_cast<std::size_t>(pass)];
        add(std::string("conv2d/") + shape.name + '/' + pass_name + '/' + way.name,
            [&shape, pass, way](benchmark::State& state) {
              run_convolution(state, shape, pass, way.library, way.dtype);
            });
      }
    }
  }
  for (const std::int64_t columns : {128, 512, 3072, 50304}) {
    add("bias_backward/1024x" + std::to_string(columns),
        [columns](benchmark::State& state) { run_bias(state, 1024, columns); });
  }
  return true;
}();

}  // namespace
