// cuDNN: which convolutions the library takes, and the algorithms that it offers for them.
#include <algorithm>

#include "simt/runtime/cudnn_types.h"

namespace simt::runtime {
namespace {

constexpr std::size_t kSmallWorkspace = 4096;

bool is_known(cudnnDataType_t type) {
  return type == CUDNN_DATA_FLOAT || type == CUDNN_DATA_HALF || type == CUDNN_DATA_BFLOAT16;
}

bool has_format(const cudnnTensorStruct& tensor, cudnnTensorFormat_t format) {
  const std::size_t fastest = format == CUDNN_TENSOR_NHWC ? 1 : 3;
  return tensor.strides[fastest] == 1 || tensor.sizes[fastest] == 1;
}

cudnnStatus_t check(const DnnProblem& p, cudnnTensorFormat_t format) {
  const int groups = p.convolution.groups;
  if (p.x.sizes[1] != p.w.sizes[1] * groups || p.w.sizes[0] % groups != 0) return CUDNN_STATUS_BAD_PARAM;
  const std::array<int, 4> output = dnn_output_sizes(p.x, p.w.sizes, p.convolution);
  if (output[2] <= 0 || output[3] <= 0 || p.y.sizes != output) return CUDNN_STATUS_BAD_PARAM;
  if (p.x.type != p.w.type || p.x.type != p.y.type) return CUDNN_STATUS_BAD_PARAM;
  const bool supported = is_known(p.x.type) && p.convolution.compute == CUDNN_DATA_FLOAT &&
                         has_format(p.x, format) && has_format(p.y, format);
  return supported ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_NOT_SUPPORTED;
}

}  // namespace

std::array<int, 4> dnn_output_sizes(const cudnnTensorStruct& x, const std::array<int, 4>& filter,
                                    const cudnnConvolutionStruct& convolution) {
  std::array<int, 4> sizes{x.sizes[0], filter[0]};
  for (std::size_t axis = 0; axis < 2; ++axis) {
    const int reach = (filter[axis + 2] - 1) * convolution.dilation[axis] + 1;
    const int room = x.sizes[axis + 2] + 2 * convolution.padding[axis] - reach;
    sizes[axis + 2] = room < 0 ? 0 : room / convolution.stride[axis] + 1;
  }
  return sizes;
}

DnnProblem dnn_problem(cudnnTensorDescriptor_t x, cudnnFilterDescriptor_t w,
                       cudnnConvolutionDescriptor_t convolution, cudnnTensorDescriptor_t y) {
  DnnProblem problem;
  if (!object_exists(x, kDnnTensor) || !object_exists(w, kDnnFilter) || !object_exists(y, kDnnTensor) ||
      !object_exists(convolution, kDnnConvolution)) {
    problem.status = CUDNN_STATUS_BAD_PARAM;
    return problem;
  }
  problem.x = *x;
  problem.y = *y;
  problem.w = {w->type, w->sizes, dnn_dense_strides(w->format, w->sizes)};
  problem.convolution = *convolution;
  problem.status = check(problem, w->format);
  return problem;
}

std::size_t DnnAlgorithm::workspace_bytes(const DnnProblem& problem) const {
  switch (workspace) {
    case kNone:
      return 0;
    case kSmall:
      return kSmallWorkspace;
    case kColumns:
      return problem.taps() * problem.groups() * problem.places() * sizeof(float);
  }
  return 0;
}

const std::vector<DnnAlgorithm>& dnn_algorithms(DnnPass pass) {
  static const std::vector<DnnAlgorithm> forward = {
      {CUDNN_CONVOLUTION_FWD_ALGO_WINOGRAD_NONFUSED, {SumOrder::kRandom, 1}, DnnAlgorithm::kColumns},
      {CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM, {SumOrder::kForward, 2}, DnnAlgorithm::kSmall},
      {CUDNN_CONVOLUTION_FWD_ALGO_GEMM, {SumOrder::kEvenOdd, 1}, DnnAlgorithm::kColumns},
      {CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM, {SumOrder::kForward, 1}, DnnAlgorithm::kNone},
      {CUDNN_CONVOLUTION_FWD_ALGO_FFT, {}, DnnAlgorithm::kNone, false},
  };
  static const std::vector<DnnAlgorithm> data = {
      {CUDNN_CONVOLUTION_BWD_DATA_ALGO_0, {SumOrder::kRandom, 1}, DnnAlgorithm::kNone},
      {CUDNN_CONVOLUTION_BWD_DATA_ALGO_WINOGRAD_NONFUSED, {SumOrder::kEvenOdd, 1}, DnnAlgorithm::kColumns},
      {CUDNN_CONVOLUTION_BWD_DATA_ALGO_1, {SumOrder::kForward, 1}, DnnAlgorithm::kNone},
      {CUDNN_CONVOLUTION_BWD_DATA_ALGO_FFT, {}, DnnAlgorithm::kNone, false},
  };
  static const std::vector<DnnAlgorithm> filter = {
      {CUDNN_CONVOLUTION_BWD_FILTER_ALGO_0, {SumOrder::kRandom, 1}, DnnAlgorithm::kNone},
      {CUDNN_CONVOLUTION_BWD_FILTER_ALGO_3, {SumOrder::kRandom, 2}, DnnAlgorithm::kSmall},
      {CUDNN_CONVOLUTION_BWD_FILTER_ALGO_WINOGRAD_NONFUSED, {SumOrder::kEvenOdd, 1}, DnnAlgorithm::kColumns},
      {CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1, {SumOrder::kForward, 1}, DnnAlgorithm::kNone},
      {CUDNN_CONVOLUTION_BWD_FILTER_ALGO_FFT, {}, DnnAlgorithm::kNone, false},
  };
  return pass == DnnPass::kForward ? forward : pass == DnnPass::kBackwardData ? data : filter;
}

const DnnAlgorithm* dnn_find_algorithm(DnnPass pass, int id) {
  const auto& all = dnn_algorithms(pass);
  const auto found = std::find_if(all.begin(), all.end(), [&](const DnnAlgorithm& a) { return a.id == id; });
  return found != all.end() && found->supported ? &*found : nullptr;
}

}  // namespace simt::runtime

using namespace simt::runtime;

namespace {

template <class Perf>
cudnnStatus_t list_algorithms(const char* name, cudnnHandle_t handle, DnnPass pass, cudnnTensorDescriptor_t x,
                              cudnnFilterDescriptor_t w, cudnnConvolutionDescriptor_t convolution,
                              cudnnTensorDescriptor_t y, int requested, int* returned, Perf* results) {
  return dnn_call(name, kPlain, [&] {
    if (returned == nullptr || results == nullptr || requested <= 0) return CUDNN_STATUS_BAD_PARAM;
    *returned = 0;
    if (!object_exists(handle, kDnnHandle)) return CUDNN_STATUS_BAD_PARAM;
    const DnnProblem problem = dnn_problem(x, w, convolution, y);
    if (problem.status != CUDNN_STATUS_SUCCESS) return problem.status;
    for (const DnnAlgorithm& algorithm : dnn_algorithms(pass)) {
      if (*returned == requested) break;
      Perf& result = results[(*returned)++];
      result = {};
      result.algo = static_cast<decltype(result.algo)>(algorithm.id);
      result.status = algorithm.supported ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_NOT_SUPPORTED;
      result.time = algorithm.supported ? 0.1f * static_cast<float>(*returned) : -1.0f;
      result.memory = algorithm.supported ? algorithm.workspace_bytes(problem) : 0;
      result.determinism = algorithm.deterministic() ? CUDNN_DETERMINISTIC : CUDNN_NON_DETERMINISTIC;
      result.mathType = convolution->math;
    }
    return CUDNN_STATUS_SUCCESS;
  });
}

cudnnStatus_t max_count(const char* name, DnnPass pass, int* count) {
  return dnn_call(name, kPlain, [&] {
    if (count == nullptr) return CUDNN_STATUS_BAD_PARAM;
    *count = static_cast<int>(dnn_algorithms(pass).size());
    return CUDNN_STATUS_SUCCESS;
  });
}

cudnnStatus_t workspace_size(const char* name, cudnnHandle_t handle, DnnPass pass, int id,
                             cudnnTensorDescriptor_t x, cudnnFilterDescriptor_t w,
                             cudnnConvolutionDescriptor_t convolution, cudnnTensorDescriptor_t y,
                             std::size_t* bytes) {
  return dnn_call(name, kPlain, [&] {
    if (bytes == nullptr || !object_exists(handle, kDnnHandle)) return CUDNN_STATUS_BAD_PARAM;
    const DnnProblem problem = dnn_problem(x, w, convolution, y);
    if (problem.status != CUDNN_STATUS_SUCCESS) return problem.status;
    const DnnAlgorithm* algorithm = dnn_find_algorithm(pass, id);
    if (algorithm == nullptr) return CUDNN_STATUS_NOT_SUPPORTED;
    *bytes = algorithm->workspace_bytes(problem);
    return CUDNN_STATUS_SUCCESS;
  });
}

}  // namespace

cudnnStatus_t cudnnGetConvolutionForwardAlgorithmMaxCount(cudnnHandle_t, int* count) {
  return max_count(__func__, DnnPass::kForward, count);
}

cudnnStatus_t cudnnGetConvolutionBackwardDataAlgorithmMaxCount(cudnnHandle_t, int* count) {
  return max_count(__func__, DnnPass::kBackwardData, count);
}

cudnnStatus_t cudnnGetConvolutionBackwardFilterAlgorithmMaxCount(cudnnHandle_t, int* count) {
  return max_count(__func__, DnnPass::kBackwardFilter, count);
}

cudnnStatus_t cudnnGetConvolutionForwardAlgorithm_v7(cudnnHandle_t handle, const cudnnTensorDescriptor_t x,
                                                     const cudnnFilterDescriptor_t w,
                                                     const cudnnConvolutionDescriptor_t convolution,
                                                     const cudnnTensorDescriptor_t y, const int requested,
                                                     int* returned, cudnnConvolutionFwdAlgoPerf_t* results) {
  return list_algorithms(__func__, handle, DnnPass::kForward, x, w, convolution, y, requested, returned,
                         results);
}

cudnnStatus_t cudnnGetConvolutionBackwardDataAlgorithm_v7(
    cudnnHandle_t handle, const cudnnFilterDescriptor_t w, const cudnnTensorDescriptor_t y,
    const cudnnConvolutionDescriptor_t convolution, const cudnnTensorDescriptor_t x, const int requested,
    int* returned, cudnnConvolutionBwdDataAlgoPerf_t* results) {
  return list_algorithms(__func__, handle, DnnPass::kBackwardData, x, w, convolution, y, requested, returned,
                         results);
}

cudnnStatus_t cudnnGetConvolutionBackwardFilterAlgorithm_v7(
    cudnnHandle_t handle, const cudnnTensorDescriptor_t x, const cudnnTensorDescriptor_t y,
    const cudnnConvolutionDescriptor_t convolution, const cudnnFilterDescriptor_t w, const int requested,
    int* returned, cudnnConvolutionBwdFilterAlgoPerf_t* results) {
  return list_algorithms(__func__, handle, DnnPass::kBackwardFilter, x, w, convolution, y, requested,
                         returned, results);
}

cudnnStatus_t cudnnGetConvolutionForwardWorkspaceSize(cudnnHandle_t handle, const cudnnTensorDescriptor_t x,
                                                      const cudnnFilterDescriptor_t w,
                                                      const cudnnConvolutionDescriptor_t convolution,
                                                      const cudnnTensorDescriptor_t y,
                                                      cudnnConvolutionFwdAlgo_t algo, std::size_t* bytes) {
  return workspace_size(__func__, handle, DnnPass::kForward, algo, x, w, convolution, y, bytes);
}

cudnnStatus_t cudnnGetConvolutionBackwardDataWorkspaceSize(
    cudnnHandle_t handle, const cudnnFilterDescriptor_t w, const cudnnTensorDescriptor_t y,
    const cudnnConvolutionDescriptor_t convolution, const cudnnTensorDescriptor_t x,
    cudnnConvolutionBwdDataAlgo_t algo, std::size_t* bytes) {
  return workspace_size(__func__, handle, DnnPass::kBackwardData, algo, x, w, convolution, y, bytes);
}

cudnnStatus_t cudnnGetConvolutionBackwardFilterWorkspaceSize(
    cudnnHandle_t handle, const cudnnTensorDescriptor_t x, const cudnnTensorDescriptor_t y,
    const cudnnConvolutionDescriptor_t convolution, const cudnnFilterDescriptor_t w,
    cudnnConvolutionBwdFilterAlgo_t algo, std::size_t* bytes) {
  return workspace_size(__func__, handle, DnnPass::kBackwardFilter, algo, x, w, convolution, y, bytes);
}
