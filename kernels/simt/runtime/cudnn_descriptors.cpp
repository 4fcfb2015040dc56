// cuDNN: handles and descriptors.
#include <algorithm>
#include <cstdio>

#include "simt/runtime/cudnn_types.h"

namespace simt::runtime {

std::array<int, 4> dnn_dense_strides(cudnnTensorFormat_t format, const std::array<int, 4>& sizes) {
  const auto [n, c, h, w] = sizes;
  if (format == CUDNN_TENSOR_NHWC) return {h * w * c, 1, w * c, c};
  return {c * h * w, h * w, w, 1};
}

}  // namespace simt::runtime

using namespace simt::runtime;

namespace {

template <class Object, class Handle>
cudnnStatus_t create(const char* name, Handle* handle, const char* kind) {
  return dnn_call(name, kPlain, [&] {
    return create_object(handle, kind, Object()) ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_BAD_PARAM_NULL_POINTER;
  });
}

template <class Object, class Handle>
cudnnStatus_t destroy(const char* name, Handle handle, const char* kind) {
  return dnn_call(name, kRelease, [&] {
    return destroy_object<Object>(handle, kind) ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_BAD_PARAM;
  });
}

/// Runs the body with an object that exists.
template <class Handle, class Body>
cudnnStatus_t with_object(const char* name, Handle handle, const char* kind, Body body) {
  return dnn_call(name, kPlain, [&]() -> cudnnStatus_t {
    if (handle == nullptr) return CUDNN_STATUS_BAD_PARAM_NULL_POINTER;
    return object_exists(handle, kind) ? body() : CUDNN_STATUS_BAD_PARAM;
  });
}

bool are_positive(std::initializer_list<int> numbers) {
  return std::all_of(numbers.begin(), numbers.end(), [](int number) { return number > 0; });
}

bool is_known(cudnnTensorFormat_t format) {
  return format == CUDNN_TENSOR_NCHW || format == CUDNN_TENSOR_NHWC;
}

}  // namespace

std::size_t cudnnGetVersion() { return CUDNN_VERSION; }

std::size_t cudnnGetCudartVersion() { return CUDART_VERSION; }

const char* cudnnGetErrorString(cudnnStatus_t status) {
  switch (status) {
    case CUDNN_STATUS_SUCCESS:
      return "CUDNN_STATUS_SUCCESS";
    case CUDNN_STATUS_NOT_INITIALIZED:
      return "CUDNN_STATUS_NOT_INITIALIZED";
    case CUDNN_STATUS_BAD_PARAM:
      return "CUDNN_STATUS_BAD_PARAM";
    case CUDNN_STATUS_BAD_PARAM_NULL_POINTER:
      return "CUDNN_STATUS_BAD_PARAM_NULL_POINTER";
    case CUDNN_STATUS_BAD_PARAM_SIZE_INSUFFICIENT:
      return "CUDNN_STATUS_BAD_PARAM_SIZE_INSUFFICIENT";
    case CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH:
      return "CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH";
    case CUDNN_STATUS_NOT_SUPPORTED:
      return "CUDNN_STATUS_NOT_SUPPORTED";
    case CUDNN_STATUS_INTERNAL_ERROR:
      return "CUDNN_STATUS_INTERNAL_ERROR";
    case CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED:
      return "CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED";
    case CUDNN_STATUS_EXECUTION_FAILED:
      return "CUDNN_STATUS_EXECUTION_FAILED";
    default:
      return "unknown cuDNN status";
  }
}

void cudnnGetLastErrorString(char* message, std::size_t size) {
  if (message != nullptr && size != 0) std::snprintf(message, size, "%s", simt::last_error.c_str());
}

cudnnStatus_t cudnnCreate(cudnnHandle_t* handle) {
  return dnn_call(__func__, kUnsafe, [&] {
    return create_object(handle, kDnnHandle, cudnnContext()) ? CUDNN_STATUS_SUCCESS
                                                             : CUDNN_STATUS_BAD_PARAM_NULL_POINTER;
  });
}

cudnnStatus_t cudnnDestroy(cudnnHandle_t handle) {
  return destroy<cudnnContext>(__func__, handle, kDnnHandle);
}

cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream) {
  return with_object(__func__, handle, kDnnHandle, [&] {
    handle->stream = stream;
    return CUDNN_STATUS_SUCCESS;
  });
}

cudnnStatus_t cudnnGetStream(cudnnHandle_t handle, cudaStream_t* stream) {
  return with_object(__func__, handle, kDnnHandle, [&] {
    *stream = handle->stream;
    return CUDNN_STATUS_SUCCESS;
  });
}

cudnnStatus_t cudnnCreateTensorDescriptor(cudnnTensorDescriptor_t* tensor) {
  return create<cudnnTensorStruct>(__func__, tensor, kDnnTensor);
}

cudnnStatus_t cudnnDestroyTensorDescriptor(cudnnTensorDescriptor_t tensor) {
  return destroy<cudnnTensorStruct>(__func__, tensor, kDnnTensor);
}

cudnnStatus_t cudnnSetTensor4dDescriptor(cudnnTensorDescriptor_t tensor, cudnnTensorFormat_t format,
                                         cudnnDataType_t type, int n, int c, int h, int w) {
  return with_object(__func__, tensor, kDnnTensor, [&] {
    if (!is_known(format) || !are_positive({n, c, h, w})) return CUDNN_STATUS_BAD_PARAM;
    *tensor = {type, {n, c, h, w}, dnn_dense_strides(format, {n, c, h, w})};
    return CUDNN_STATUS_SUCCESS;
  });
}

cudnnStatus_t cudnnSetTensor4dDescriptorEx(cudnnTensorDescriptor_t tensor, cudnnDataType_t type, int n, int c,
                                           int h, int w, int n_stride, int c_stride, int h_stride,
                                           int w_stride) {
  return with_object(__func__, tensor, kDnnTensor, [&] {
    if (!are_positive({n, c, h, w, n_stride, c_stride, h_stride, w_stride})) return CUDNN_STATUS_BAD_PARAM;
    *tensor = {type, {n, c, h, w}, {n_stride, c_stride, h_stride, w_stride}};
    return CUDNN_STATUS_SUCCESS;
  });
}

cudnnStatus_t cudnnGetTensor4dDescriptor(const cudnnTensorDescriptor_t tensor, cudnnDataType_t* type, int* n,
                                         int* c, int* h, int* w, int* n_stride, int* c_stride, int* h_stride,
                                         int* w_stride) {
  return with_object(__func__, tensor, kDnnTensor, [&] {
    *type = tensor->type;
    int* const sizes[] = {n, c, h, w};
    int* const strides[] = {n_stride, c_stride, h_stride, w_stride};
    for (std::size_t axis = 0; axis < 4; ++axis) {
      *sizes[axis] = tensor->sizes[axis];
      *strides[axis] = tensor->strides[axis];
    }
    return CUDNN_STATUS_SUCCESS;
  });
}

cudnnStatus_t cudnnCreateFilterDescriptor(cudnnFilterDescriptor_t* filter) {
  return create<cudnnFilterStruct>(__func__, filter, kDnnFilter);
}

cudnnStatus_t cudnnDestroyFilterDescriptor(cudnnFilterDescriptor_t filter) {
  return destroy<cudnnFilterStruct>(__func__, filter, kDnnFilter);
}

cudnnStatus_t cudnnSetFilter4dDescriptor(cudnnFilterDescriptor_t filter, cudnnDataType_t type,
                                         cudnnTensorFormat_t format, int k, int c, int h, int w) {
  return with_object(__func__, filter, kDnnFilter, [&] {
    if (!is_known(format) || !are_positive({k, c, h, w})) return CUDNN_STATUS_BAD_PARAM;
    *filter = {type, format, {k, c, h, w}};
    return CUDNN_STATUS_SUCCESS;
  });
}

cudnnStatus_t cudnnCreateConvolutionDescriptor(cudnnConvolutionDescriptor_t* convolution) {
  return create<cudnnConvolutionStruct>(__func__, convolution, kDnnConvolution);
}

cudnnStatus_t cudnnDestroyConvolutionDescriptor(cudnnConvolutionDescriptor_t convolution) {
  return destroy<cudnnConvolutionStruct>(__func__, convolution, kDnnConvolution);
}

cudnnStatus_t cudnnSetConvolution2dDescriptor(cudnnConvolutionDescriptor_t convolution, int pad_h, int pad_w,
                                              int stride_h, int stride_w, int dilation_h, int dilation_w,
                                              cudnnConvolutionMode_t mode, cudnnDataType_t compute) {
  return with_object(__func__, convolution, kDnnConvolution, [&] {
    if (pad_h < 0 || pad_w < 0 || !are_positive({stride_h, stride_w, dilation_h, dilation_w})) {
      return CUDNN_STATUS_BAD_PARAM;
    }
    convolution->padding = {pad_h, pad_w};
    convolution->stride = {stride_h, stride_w};
    convolution->dilation = {dilation_h, dilation_w};
    convolution->mode = mode;
    convolution->compute = compute;
    return CUDNN_STATUS_SUCCESS;
  });
}

cudnnStatus_t cudnnSetConvolutionGroupCount(cudnnConvolutionDescriptor_t convolution, int groups) {
  return with_object(__func__, convolution, kDnnConvolution, [&] {
    if (groups <= 0) return CUDNN_STATUS_BAD_PARAM;
    convolution->groups = groups;
    return CUDNN_STATUS_SUCCESS;
  });
}

cudnnStatus_t cudnnSetConvolutionMathType(cudnnConvolutionDescriptor_t convolution, cudnnMathType_t math) {
  return with_object(__func__, convolution, kDnnConvolution, [&] {
    convolution->math = math;
    return CUDNN_STATUS_SUCCESS;
  });
}

cudnnStatus_t cudnnGetConvolutionMathType(cudnnConvolutionDescriptor_t convolution, cudnnMathType_t* math) {
  return with_object(__func__, convolution, kDnnConvolution, [&] {
    *math = convolution->math;
    return CUDNN_STATUS_SUCCESS;
  });
}

cudnnStatus_t cudnnGetConvolution2dForwardOutputDim(const cudnnConvolutionDescriptor_t convolution,
                                                    const cudnnTensorDescriptor_t x,
                                                    const cudnnFilterDescriptor_t w, int* n, int* c, int* oh,
                                                    int* ow) {
  return with_object(__func__, convolution, kDnnConvolution, [&] {
    if (!object_exists(x, kDnnTensor) || !object_exists(w, kDnnFilter)) return CUDNN_STATUS_BAD_PARAM;
    const std::array<int, 4> sizes = dnn_output_sizes(*x, w->sizes, *convolution);
    *n = sizes[0];
    *c = sizes[1];
    *oh = sizes[2];
    *ow = sizes[3];
    return are_positive({sizes[2], sizes[3]}) ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_BAD_PARAM;
  });
}
