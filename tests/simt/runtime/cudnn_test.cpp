// The stand-in cuDNN: convolutions against a formula in double, its algorithms, and misuse by name.
#include <cudnn.h>

#include <catch2/catch.hpp>

#include <cmath>
#include <set>

#include "device_array.h"

using namespace runtime_test;
using Catch::Contains;
using simt::runtime::control;

namespace {

constexpr auto kOk = CUDNN_STATUS_SUCCESS;

struct Shape {
  int n, c, h, w, k, r, s, pad, stride, dilation, groups;
};

/// Values of four axes in one of the two formats, on the device and in double.
struct Tensor {
  std::array<int, 4> sizes;
  cudnnTensorFormat_t format;
  std::vector<double> host;
  DeviceArray device;

  Tensor(std::array<int, 4> of, cudnnTensorFormat_t in, cudaDataType type, unsigned seed)
      : sizes(of),
        format(in),
        host(random_values(static_cast<std::size_t>(of[0] * of[1] * of[2] * of[3]), type, seed)),
        device(host, type) {}

  std::size_t at(int a, int b, int c, int d) const {
    const int index = format == CUDNN_TENSOR_NCHW ? ((a * sizes[1] + b) * sizes[2] + c) * sizes[3] + d
                                                  : ((a * sizes[2] + c) * sizes[3] + d) * sizes[1] + b;
    return static_cast<std::size_t>(index);
  }
};

struct Library {
  cudnnHandle_t handle = nullptr;
  cudnnTensorDescriptor_t x = nullptr, y = nullptr;
  cudnnFilterDescriptor_t w = nullptr;
  cudnnConvolutionDescriptor_t convolution = nullptr;

  Library(const Shape& p, cudnnTensorFormat_t format, cudnnDataType_t type) {
    REQUIRE(cudnnCreate(&handle) == kOk);
    REQUIRE(cudnnCreateTensorDescriptor(&x) == kOk);
    REQUIRE(cudnnCreateTensorDescriptor(&y) == kOk);
    REQUIRE(cudnnCreateFilterDescriptor(&w) == kOk);
    REQUIRE(cudnnCreateConvolutionDescriptor(&convolution) == kOk);
    REQUIRE(cudnnSetTensor4dDescriptor(x, format, type, p.n, p.c, p.h, p.w) == kOk);
    REQUIRE(cudnnSetFilter4dDescriptor(w, type, format, p.k, p.c / p.groups, p.r, p.s) == kOk);
    REQUIRE(cudnnSetConvolution2dDescriptor(convolution, p.pad, p.pad, p.stride, p.stride, p.dilation,
                                            p.dilation, CUDNN_CROSS_CORRELATION, CUDNN_DATA_FLOAT) == kOk);
    REQUIRE(cudnnSetConvolutionGroupCount(convolution, p.groups) == kOk);
    REQUIRE(cudnnSetConvolutionMathType(convolution, CUDNN_FMA_MATH) == kOk);
    std::array<int, 4> out = output();
    REQUIRE(cudnnSetTensor4dDescriptor(y, format, type, out[0], out[1], out[2], out[3]) == kOk);
  }
  ~Library() {
    cudnnDestroyConvolutionDescriptor(convolution);
    cudnnDestroyFilterDescriptor(w);
    cudnnDestroyTensorDescriptor(y);
    cudnnDestroyTensorDescriptor(x);
    cudnnDestroy(handle);
  }
  std::array<int, 4> output() const {
    std::array<int, 4> out{};
    REQUIRE(cudnnGetConvolution2dForwardOutputDim(convolution, x, w, &out[0], &out[1], &out[2], &out[3]) ==
            kOk);
    return out;
  }
  std::vector<cudnnConvolutionFwdAlgoPerf_t> forward_algorithms() {
    std::vector<cudnnConvolutionFwdAlgoPerf_t> list(8);
    int count = 0;
    REQUIRE(cudnnGetConvolutionForwardAlgorithm_v7(handle, x, w, convolution, y, 8, &count, list.data()) ==
            kOk);
    list.resize(static_cast<std::size_t>(count));
    return list;
  }
  std::vector<cudnnConvolutionBwdDataAlgoPerf_t> data_algorithms() {
    std::vector<cudnnConvolutionBwdDataAlgoPerf_t> list(8);
    int count = 0;
    REQUIRE(cudnnGetConvolutionBackwardDataAlgorithm_v7(handle, w, y, convolution, x, 8, &count,
                                                        list.data()) == kOk);
    list.resize(static_cast<std::size_t>(count));
    return list;
  }
  std::vector<cudnnConvolutionBwdFilterAlgoPerf_t> filter_algorithms() {
    std::vector<cudnnConvolutionBwdFilterAlgoPerf_t> list(8);
    int count = 0;
    REQUIRE(cudnnGetConvolutionBackwardFilterAlgorithm_v7(handle, x, y, convolution, w, 8, &count,
                                                          list.data()) == kOk);
    list.resize(static_cast<std::size_t>(count));
    return list;
  }
};

// Calls body(y index, x index, w index) for every product of the convolution.
template <class Body>
void for_each_product(const Shape& p, const Tensor& x, const Tensor& w, const Tensor& y, Body body) {
  const int channels = p.c / p.groups, filters = p.k / p.groups;
  for (int n = 0; n < p.n; ++n) {
    for (int k = 0; k < p.k; ++k) {
      for (int i = 0; i < y.sizes[2]; ++i) {
        for (int j = 0; j < y.sizes[3]; ++j) {
          for (int c = 0; c < channels; ++c) {
            for (int r = 0; r < p.r; ++r) {
              for (int s = 0; s < p.s; ++s) {
                const int h = i * p.stride - p.pad + r * p.dilation,
                          v = j * p.stride - p.pad + s * p.dilation;
                if (h < 0 || h >= p.h || v < 0 || v >= p.w) continue;
                body(y.at(n, k, i, j), x.at(n, k / filters * channels + c, h, v), w.at(k, c, r, s));
              }
            }
          }
        }
      }
    }
  }
}

double worst_error(const std::vector<double>& values, const std::vector<double>& expected) {
  double worst = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    worst = std::max(worst, std::abs(values[i] - expected[i]) / (1 + std::abs(expected[i])));
  }
  return worst;
}

std::vector<double> scaled(std::vector<double> values, double factor) {
  for (double& value : values) value *= factor;
  return values;
}

}  // namespace

TEST_CASE("convolutions of every algorithm agree with double", "[simt]") {
  Runtime runtime;
  const Shape p = GENERATE(Shape{2, 4, 7, 6, 6, 3, 3, 1, 1, 1, 1}, Shape{1, 4, 8, 9, 6, 3, 2, 2, 2, 2, 2},
                           Shape{3, 6, 5, 5, 6, 3, 3, 1, 1, 1, 6}, Shape{2, 3, 4, 4, 5, 1, 1, 0, 2, 1, 1});
  const auto format = GENERATE(CUDNN_TENSOR_NCHW, CUDNN_TENSOR_NHWC);
  const auto type = GENERATE(CUDNN_DATA_FLOAT, CUDNN_DATA_BFLOAT16, CUDNN_DATA_HALF);
  const cudaDataType element = type == CUDNN_DATA_FLOAT  ? CUDA_R_32F
                               : type == CUDNN_DATA_HALF ? CUDA_R_16F
                                                         : CUDA_R_16BF;
  Library library(p, format, type);
  const Tensor x({p.n, p.c, p.h, p.w}, format, element, 1),
      w({p.k, p.c / p.groups, p.r, p.s}, format, element, 2);
  const Tensor y(library.output(), format, element, 3);
  const float alpha = 0.5f, beta = 2;
  std::vector<double> forward = scaled(y.host, beta), data = scaled(x.host, beta),
                      filter = scaled(w.host, beta);
  for_each_product(p, x, w, y, [&](std::size_t i, std::size_t j, std::size_t l) {
    forward[i] += alpha * x.host[j] * w.host[l];
    data[j] += alpha * y.host[i] * w.host[l];
    filter[l] += alpha * y.host[i] * x.host[j];
  });
  const double bound = 8 * rounding(element);
  DeviceArray workspace(1 << 14, CUDA_R_32F);
  for (const auto& algorithm : library.forward_algorithms()) {
    if (algorithm.status != kOk) continue;
    const DeviceArray out(y.host, element);
    CHECK(cudnnConvolutionForward(library.handle, &alpha, library.x, x.device.get(), library.w,
                                  w.device.get(), library.convolution, algorithm.algo, workspace.get(),
                                  algorithm.memory, &beta, library.y, out.get()) == kOk);
    CHECK(worst_error(out.values(), forward) < bound);
  }
  for (const auto& algorithm : library.data_algorithms()) {
    if (algorithm.status != kOk) continue;
    const DeviceArray out(x.host, element);
    CHECK(cudnnConvolutionBackwardData(library.handle, &alpha, library.w, w.device.get(), library.y,
                                       y.device.get(), library.convolution, algorithm.algo, workspace.get(),
                                       algorithm.memory, &beta, library.x, out.get()) == kOk);
    CHECK(worst_error(out.values(), data) < bound);
  }
  for (const auto& algorithm : library.filter_algorithms()) {
    if (algorithm.status != kOk) continue;
    const DeviceArray out(w.host, element);
    CHECK(cudnnConvolutionBackwardFilter(library.handle, &alpha, library.x, x.device.get(), library.y,
                                         y.device.get(), library.convolution, algorithm.algo, workspace.get(),
                                         algorithm.memory, &beta, library.w, out.get()) == kOk);
    CHECK(worst_error(out.values(), filter) < bound);
  }
}

TEST_CASE("the first algorithm is not deterministic, the others are, in bits of their own", "[simt]") {
  Runtime runtime;
  const Shape p{2, 16, 9, 9, 24, 3, 3, 1, 1, 1, 1};
  Library library(p, CUDNN_TENSOR_NHWC, CUDNN_DATA_FLOAT);
  const Tensor x({p.n, p.c, p.h, p.w}, CUDNN_TENSOR_NHWC, CUDA_R_32F, 1),
      w({p.k, p.c, p.r, p.s}, CUDNN_TENSOR_NHWC, CUDA_R_32F, 2);
  const Tensor y(library.output(), CUDNN_TENSOR_NHWC, CUDA_R_32F, 3);
  const float one = 1, zero = 0;
  DeviceArray workspace(1 << 16, CUDA_R_32F);
  const auto run = [&](const cudnnConvolutionBwdFilterAlgoPerf_t& algorithm) {
    CHECK(cudnnConvolutionBackwardFilter(library.handle, &one, library.x, x.device.get(), library.y,
                                         y.device.get(), library.convolution, algorithm.algo, workspace.get(),
                                         algorithm.memory, &zero, library.w, w.device.get()) == kOk);
    return w.device.raw();
  };
  const auto algorithms = library.filter_algorithms();
  std::set<std::vector<char>> results;
  for (const auto& algorithm : algorithms) {
    std::size_t bytes = 0;
    const auto status = cudnnGetConvolutionBackwardFilterWorkspaceSize(
        library.handle, library.x, library.y, library.convolution, library.w, algorithm.algo, &bytes);
    CHECK(status == algorithm.status);
    if (algorithm.status != kOk) continue;
    CHECK(bytes == algorithm.memory);
    const bool same = run(algorithm) == run(algorithm);
    CHECK(same == (algorithm.determinism == CUDNN_DETERMINISTIC));
    if (same) results.insert(run(algorithm));
  }
  CHECK(results.size() == 2);
  CHECK(algorithms.front().determinism == CUDNN_NON_DETERMINISTIC);
  CHECK(algorithms.back().status == CUDNN_STATUS_NOT_SUPPORTED);
  CHECK(library.forward_algorithms().front().determinism == CUDNN_NON_DETERMINISTIC);
  CHECK(library.data_algorithms().front().determinism == CUDNN_NON_DETERMINISTIC);
}

TEST_CASE("the default math type rounds floats as tensor cores do", "[simt]") {
  Runtime runtime;
  const Shape p{1, 1, 1, 1, 1, 1, 1, 0, 1, 1, 1};
  Library library(p, CUDNN_TENSOR_NCHW, CUDNN_DATA_FLOAT);
  const double number = 1 + std::ldexp(1.0, -16);
  const DeviceArray x(std::vector{number}, CUDA_R_32F), w(std::vector{1.0}, CUDA_R_32F), y(1, CUDA_R_32F);
  const float one = 1, zero = 0;
  for (const auto math : {CUDNN_FMA_MATH, CUDNN_DEFAULT_MATH}) {
    CHECK(cudnnSetConvolutionMathType(library.convolution, math) == kOk);
    CHECK(cudnnConvolutionForward(library.handle, &one, library.x, x.get(), library.w, w.get(),
                                  library.convolution, CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM, nullptr, 0,
                                  &zero, library.y, y.get()) == kOk);
    CHECK(y.values()[0] == (math == CUDNN_FMA_MATH ? number : 1));
  }
}

TEST_CASE("convolutions that are misused", "[simt]") {
  Runtime runtime;
  const Shape p{1, 4, 6, 6, 4, 3, 3, 1, 1, 1, 1};
  Library library(p, CUDNN_TENSOR_NCHW, CUDNN_DATA_FLOAT);
  const DeviceArray x(144, CUDA_R_32F), w(144, CUDA_R_32F), y(144, CUDA_R_32F), small(143, CUDA_R_32F);
  DeviceArray workspace(1 << 14, CUDA_R_32F);
  const float one = 1, zero = 0;
  const auto forward = [&](const void* from, void* to, cudnnConvolutionFwdAlgo_t algorithm,
                           std::size_t bytes) {
    return cudnnConvolutionForward(library.handle, &one, library.x, from, library.w, w.get(),
                                   library.convolution, algorithm, workspace.get(), bytes, &zero, library.y,
                                   to);
  };
  constexpr auto kPlain = CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM,
                 kColumns = CUDNN_CONVOLUTION_FWD_ALGO_GEMM;
  std::size_t needed = 0;
  REQUIRE(cudnnGetConvolutionForwardWorkspaceSize(library.handle, library.x, library.w, library.convolution,
                                                  library.y, kColumns, &needed) == kOk);
  REQUIRE(needed != 0);
  CHECK(forward(x.get(), y.get(), kColumns, needed - 1) == CUDNN_STATUS_BAD_PARAM);
  CHECK_THAT(runtime.take_fault(), Contains("[workspace]"));
  CHECK(forward(small.get(), y.get(), kPlain, 0) == CUDNN_STATUS_BAD_PARAM);
  CHECK_THAT(runtime.take_fault(), Contains("[past-the-end]") && Contains("cudnnConvolutionForward, x"));
  CHECK(forward(x.get(), x.get(), kPlain, 0) == CUDNN_STATUS_BAD_PARAM);
  CHECK_THAT(runtime.take_fault(), Contains("[overlapping-operands]"));
  CHECK(forward(&one, y.get(), kPlain, 0) == CUDNN_STATUS_BAD_PARAM);
  CHECK_THAT(runtime.take_fault(), Contains("[host-pointer]"));
  CHECK(forward(x.get(), y.get(), CUDNN_CONVOLUTION_FWD_ALGO_FFT, 0) == CUDNN_STATUS_NOT_SUPPORTED);
  CHECK(cudnnSetTensor4dDescriptor(library.y, CUDNN_TENSOR_NCHW, CUDNN_DATA_FLOAT, 1, 4, 5, 6) == kOk);
  CHECK(forward(x.get(), y.get(), kPlain, 0) == CUDNN_STATUS_BAD_PARAM);
  control().fail_name = "cudnnConvolutionForward";
  control().fail_call = 0;
  CHECK(forward(x.get(), y.get(), kPlain, 0) == CUDNN_STATUS_INTERNAL_ERROR);
  control().devices = 0;
  cudnnHandle_t handle = nullptr;
  CHECK(cudnnCreate(&handle) == CUDNN_STATUS_NOT_INITIALIZED);
  control().devices = 1;
}

TEST_CASE("a convolution runs on the stream of its handle", "[simt]") {
  Runtime runtime;
  Stream stream;
  const Shape p{1, 1, 2, 2, 1, 1, 1, 0, 1, 1, 1};
  Library library(p, CUDNN_TENSOR_NCHW, CUDNN_DATA_FLOAT);
  const DeviceArray x(std::vector{1.0, 2.0, 3.0, 4.0}, CUDA_R_32F), w(std::vector{2.0}, CUDA_R_32F),
      y(4, CUDA_R_32F);
  const float one = 1, zero = 0;
  CHECK(cudnnSetStream(library.handle, stream) == kOk);
  CHECK(cudnnConvolutionForward(library.handle, &one, library.x, x.get(), library.w, w.get(),
                                library.convolution, CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM, nullptr, 0,
                                &zero, library.y, y.get()) == kOk);
  CHECK(simt::runtime::queued_operations() == 1);
  CHECK(cudaStreamQuery(stream) == cudaErrorNotReady);
  CHECK(y.values() == std::vector<double>{2, 4, 6, 8});
}
