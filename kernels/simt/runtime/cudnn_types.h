// cuDNN: what stands behind its handles, and a convolution whose descriptors agree.
#pragma once

#include <cudnn.h>

#include <array>
#include <cstddef>
#include <vector>

#include "simt/runtime/control.h"
#include "simt/runtime/library_call.h"
#include "simt/runtime/memory.h"
#include "simt/runtime/objects.h"
#include "simt/runtime/products.h"

struct cudnnContext {
  cudaStream_t stream = nullptr;
};

/// Sizes and strides in elements, in the order n, c, h, w.
struct cudnnTensorStruct {
  cudnnDataType_t type = CUDNN_DATA_FLOAT;
  std::array<int, 4> sizes{}, strides{};
};

/// Sizes in the order k, c, r, s.
struct cudnnFilterStruct {
  cudnnDataType_t type = CUDNN_DATA_FLOAT;
  cudnnTensorFormat_t format = CUDNN_TENSOR_NCHW;
  std::array<int, 4> sizes{};
};

struct cudnnConvolutionStruct {
  std::array<int, 2> padding{}, stride{1, 1}, dilation{1, 1};
  cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
  cudnnDataType_t compute = CUDNN_DATA_FLOAT;
  cudnnMathType_t math = CUDNN_DEFAULT_MATH;
  int groups = 1;
};

namespace simt::runtime {

constexpr const char* kDnnHandle = "cuDNN handle";
constexpr const char* kDnnTensor = "cuDNN tensor descriptor";
constexpr const char* kDnnFilter = "cuDNN filter descriptor";
constexpr const char* kDnnConvolution = "cuDNN convolution descriptor";

/// What the library says when the runtime beneath it refuses.
inline cudnnStatus_t dnn_status(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return CUDNN_STATUS_SUCCESS;
    case cudaErrorMemoryAllocation:
      return CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED;
    case cudaErrorInsufficientDriver:
      return CUDNN_STATUS_NOT_INITIALIZED;
    default:
      return CUDNN_STATUS_EXECUTION_FAILED;
  }
}

/// Runs an entry point of the library.
template <class Body>
cudnnStatus_t dnn_call(const char* name, unsigned traits, Body body) {
  return library_call<cudnnStatus_t>(name, traits, control().fail_cudnn, dnn_status, body);
}

/// Strides of sizes (n, c, h, w) that lie dense in a format.
std::array<int, 4> dnn_dense_strides(cudnnTensorFormat_t format, const std::array<int, 4>& sizes);

/// The three operations of a convolution; each writes one tensor and reads the other two.
enum class DnnPass { kForward, kBackwardData, kBackwardFilter };

/// The sizes of a convolution; the status says why the library would refuse it.
struct DnnProblem {
  cudnnStatus_t status = CUDNN_STATUS_SUCCESS;
  cudnnTensorStruct x, w, y;  // the filter as a tensor of sizes (k, c, r, s)
  cudnnConvolutionStruct convolution;

  std::size_t groups() const { return static_cast<std::size_t>(convolution.groups); }
  /// Terms of one output, and outputs of one channel of an image.
  std::size_t taps() const { return size(w, 1) * size(w, 2) * size(w, 3); }
  std::size_t places() const { return size(y, 2) * size(y, 3); }
  static std::size_t size(const cudnnTensorStruct& tensor, std::size_t axis) {
    return static_cast<std::size_t>(tensor.sizes[axis]);
  }
};

/// Checks that the descriptors agree and that the library has such a convolution.
DnnProblem dnn_problem(cudnnTensorDescriptor_t x, cudnnFilterDescriptor_t w,
                       cudnnConvolutionDescriptor_t convolution, cudnnTensorDescriptor_t y);

/// Sizes of the output of a convolution.
std::array<int, 4> dnn_output_sizes(const cudnnTensorStruct& x, const std::array<int, 4>& filter,
                                    const cudnnConvolutionStruct& convolution);

/// One way to compute a convolution.
struct DnnAlgorithm {
  int id = 0;
  SumOrder order;
  enum { kNone, kSmall, kColumns } workspace = kNone;
  bool supported = true;

  bool deterministic() const { return order.kind != SumOrder::kRandom; }
  std::size_t workspace_bytes(const DnnProblem& problem) const;
};

/// The algorithms of a pass, the fastest first. That one is not deterministic, and the last one is not
/// supported.
const std::vector<DnnAlgorithm>& dnn_algorithms(DnnPass pass);

/// The algorithm of an id; null where it is not supported.
const DnnAlgorithm* dnn_find_algorithm(DnnPass pass, int id);

/// Values of a tensor in the order n, c, h, w.
using DnnValues = std::vector<float>;

/// Computes what the pass writes, from what it reads: (x, w), (w, y) or (x, y).
DnnValues dnn_compute(const DnnProblem& problem, DnnPass pass, const DnnValues& first,
                      const DnnValues& second, SumOrder order);

}  // namespace simt::runtime
