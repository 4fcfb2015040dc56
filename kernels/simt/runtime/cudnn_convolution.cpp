// cuDNN's convolutions: check their operands when called, and compute when the stream comes to them.
#include "simt/runtime/cudnn_types.h"
#include "simt/runtime/operands.h"

namespace simt::runtime {
namespace {

/// A tensor of a convolution, and where it lies.
struct Operand {
  const char* name;
  cudnnTensorStruct tensor;
  const void* data;
};

struct Call {
  std::string name;
  DnnPass pass = DnnPass::kForward;
  DnnProblem problem;
  const void *x = nullptr, *w = nullptr, *y = nullptr;
  const void *alpha = nullptr, *beta = nullptr;
  int algorithm = 0;
  void* workspace = nullptr;
  std::size_t workspace_bytes = 0;

  Operand input() const { return {", x", problem.x, x}; }
  Operand filter() const { return {", filter", problem.w, w}; }
  Operand output() const { return {", y", problem.y, y}; }
  Operand first() const { return pass == DnnPass::kBackwardData ? filter() : input(); }
  Operand second() const { return pass == DnnPass::kForward ? filter() : output(); }
  Operand result() const {
    return pass == DnnPass::kForward ? output() : pass == DnnPass::kBackwardData ? input() : filter();
  }
};

cudaDataType cuda_type(cudnnDataType_t type) {
  return type == CUDNN_DATA_FLOAT ? CUDA_R_32F : type == CUDNN_DATA_HALF ? CUDA_R_16F : CUDA_R_16BF;
}

Range bytes_of(const Operand& operand) {
  std::size_t last = 0;
  for (std::size_t axis = 0; axis < 4; ++axis) {
    last +=
        (DnnProblem::size(operand.tensor, axis) - 1) * static_cast<std::size_t>(operand.tensor.strides[axis]);
  }
  return range(operand.data, (last + 1) * element_bytes(cuda_type(operand.tensor.type)));
}

// Calls body(offset in elements) in the order n, c, h, w.
template <class Body>
void for_each_offset(const cudnnTensorStruct& tensor, Body body) {
  const auto& [n, c, h, w] = tensor.sizes;
  const auto& strides = tensor.strides;
  for (int i = 0; i < n; ++i) {
    for (int j = 0; j < c; ++j) {
      for (int k = 0; k < h; ++k) {
        for (int l = 0; l < w; ++l) {
          body(static_cast<std::size_t>(i) * static_cast<std::size_t>(strides[0]) +
               static_cast<std::size_t>(j) * static_cast<std::size_t>(strides[1]) +
               static_cast<std::size_t>(k) * static_cast<std::size_t>(strides[2]) +
               static_cast<std::size_t>(l) * static_cast<std::size_t>(strides[3]));
        }
      }
    }
  }
}

DnnValues read(const Operand& operand) {
  DnnValues values;
  with_element(cuda_type(operand.tensor.type), [&](auto element) {
    const auto* data = static_cast<const decltype(element)*>(operand.data);
    for_each_offset(operand.tensor, [&](std::size_t at) { values.push_back(to_number<float>(data[at])); });
  });
  return values;
}

void write(const Operand& operand, const DnnValues& values, float alpha, float beta) {
  with_element(cuda_type(operand.tensor.type), [&](auto element) {
    using Element = decltype(element);
    auto* data = const_cast<Element*>(static_cast<const Element*>(operand.data));
    auto value = values.begin();
    for_each_offset(operand.tensor, [&](std::size_t at) {
      float number = alpha * *value++;
      // What is there does not count, and is not read: it may be NaN.
      if (beta != 0) number += beta * to_number<float>(data[at]);
      data[at] = from_number<Element>(number);
      mark_written(range(data + at, sizeof(Element)));
    });
  });
}

bool operands_are_good(const Call& call, Range workspace) {
  const Operand result = call.result();
  for (const Operand& operand : {call.first(), call.second(), result}) {
    if (!operand_is_good(bytes_of(operand), call.name + operand.name)) return false;
    if (workspace.bytes != 0 && !operands_are_apart(workspace, bytes_of(operand),
                                                    call.name + ", workspace overlaps" + operand.name)) {
      return false;
    }
  }
  for (const Operand& operand : {call.first(), call.second()}) {
    if (!operands_are_apart(bytes_of(result), bytes_of(operand),
                            call.name + result.name + " overlaps" + operand.name)) {
      return false;
    }
  }
  return workspace.bytes == 0 || operand_is_good(workspace, call.name + ", workspace");
}

cudnnStatus_t enqueue_convolution(cudnnHandle_t handle, const Call& call) {
  if (!object_exists(handle, kDnnHandle)) return CUDNN_STATUS_BAD_PARAM;
  if (call.problem.status != CUDNN_STATUS_SUCCESS) return call.problem.status;
  if (call.alpha == nullptr || call.beta == nullptr) return CUDNN_STATUS_BAD_PARAM_NULL_POINTER;
  const DnnAlgorithm* algorithm = dnn_find_algorithm(call.pass, call.algorithm);
  if (algorithm == nullptr) return CUDNN_STATUS_NOT_SUPPORTED;
  const Range workspace = range(call.workspace, algorithm->workspace_bytes(call.problem));
  if (call.workspace_bytes < workspace.bytes) {
    report_host_fault("workspace", call.name + ": the algorithm needs " + with_commas(workspace.bytes) +
                                       " bytes and is given " + with_commas(call.workspace_bytes));
    return CUDNN_STATUS_BAD_PARAM;
  }
  if (!operands_are_good(call, workspace)) return CUDNN_STATUS_BAD_PARAM;
  if (call.problem.x.sizes[1] % 8 != 0 || call.problem.y.sizes[1] % 8 != 0) count_uneven_convolution();
  Work work;
  work.name = call.name;
  work.type = cudaGraphNodeTypeKernel;
  for (const Operand& operand : {call.first(), call.second(), call.result()}) {
    work.touches.push_back(bytes_of(operand));
  }
  if (workspace.bytes != 0) work.touches.push_back(workspace);
  const float alpha = *static_cast<const float*>(call.alpha), beta = *static_cast<const float*>(call.beta);
  work.run = [call, workspace, alpha, beta, order = algorithm->order] {
    const OpenDeviceMemory open;
    spoil_workspace(workspace);
    const DnnValues result =
        dnn_compute(call.problem, call.pass, read(call.first()), read(call.second()), order);
    write(call.result(), result, alpha, beta);
    return cudaSuccess;
  };
  return dnn_status(enqueue(handle->stream, std::move(work)));
}

}  // namespace
}  // namespace simt::runtime

using namespace simt::runtime;

cudnnStatus_t cudnnConvolutionForward(cudnnHandle_t handle, const void* alpha,
                                      const cudnnTensorDescriptor_t x_tensor, const void* x,
                                      const cudnnFilterDescriptor_t w_filter, const void* w,
                                      const cudnnConvolutionDescriptor_t convolution,
                                      cudnnConvolutionFwdAlgo_t algo, void* workspace,
                                      std::size_t workspace_bytes, const void* beta,
                                      const cudnnTensorDescriptor_t y_tensor, void* y) {
  return dnn_call(__func__, kPlain, [&] {
    return enqueue_convolution(handle, {"cudnnConvolutionForward", DnnPass::kForward,
                                        dnn_problem(x_tensor, w_filter, convolution, y_tensor), x, w, y,
                                        alpha, beta, algo, workspace, workspace_bytes});
  });
}

cudnnStatus_t cudnnConvolutionBackwardData(cudnnHandle_t handle, const void* alpha,
                                           const cudnnFilterDescriptor_t w_filter, const void* w,
                                           const cudnnTensorDescriptor_t y_tensor, const void* y,
                                           const cudnnConvolutionDescriptor_t convolution,
                                           cudnnConvolutionBwdDataAlgo_t algo, void* workspace,
                                           std::size_t workspace_bytes, const void* beta,
                                           const cudnnTensorDescriptor_t x_tensor, void* x) {
  return dnn_call(__func__, kPlain, [&] {
    return enqueue_convolution(handle, {"cudnnConvolutionBackwardData", DnnPass::kBackwardData,
                                        dnn_problem(x_tensor, w_filter, convolution, y_tensor), x, w, y,
                                        alpha, beta, algo, workspace, workspace_bytes});
  });
}

cudnnStatus_t cudnnConvolutionBackwardFilter(cudnnHandle_t handle, const void* alpha,
                                             const cudnnTensorDescriptor_t x_tensor, const void* x,
                                             const cudnnTensorDescriptor_t y_tensor, const void* y,
                                             const cudnnConvolutionDescriptor_t convolution,
                                             cudnnConvolutionBwdFilterAlgo_t algo, void* workspace,
                                             std::size_t workspace_bytes, const void* beta,
                                             const cudnnFilterDescriptor_t w_filter, void* w) {
  return dnn_call(__func__, kPlain, [&] {
    return enqueue_convolution(handle, {"cudnnConvolutionBackwardFilter", DnnPass::kBackwardFilter,
                                        dnn_problem(x_tensor, w_filter, convolution, y_tensor), x, w, y,
                                        alpha, beta, algo, workspace, workspace_bytes});
  });
}
