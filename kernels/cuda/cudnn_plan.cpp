#include "cuda/cudnn_plan.h"

#include <string>

#include "cuda/host.h"

namespace reprise::kernels::cuda::cudnn {
namespace {

void require(cudnnStatus_t status) {
  if (status == CUDNN_STATUS_SUCCESS) return;
  cudaGetLastError();
  throw DeviceError(std::string("[conv2d] cuDNN: ") + cudnnGetErrorString(status));
}

/// True where cuDNN lacks a way, rather than failed.
bool is_refusal(cudnnStatus_t status) {
  const int category = CUDNN_STATUS_CATEGORY(static_cast<int>(status));
  return category == CUDNN_STATUS_NOT_SUPPORTED || category == CUDNN_STATUS_BAD_PARAM;
}

Handle& handle_of(int device) {
  return immortal<PlanCache<int, Handle>>().find(device, [] { return std::make_unique<Handle>(); });
}

cudnnDataType_t data_type_of(DType dtype) {
  switch (dtype) {
    case DType::float64:
      return CUDNN_DATA_DOUBLE;
    case DType::bfloat16:
      return CUDNN_DATA_BFLOAT16;
    case DType::float16:
      return CUDNN_DATA_HALF;
    default:
      return CUDNN_DATA_FLOAT;
  }
}

bool is_16_bit(DType dtype) { return size_of(dtype) == 2; }

}  // namespace

Handle::Handle() { require(cudnnCreate(&value)); }

template <class Descriptor, cudnnStatus_t (*create)(Descriptor*), cudnnStatus_t (*destroy)(Descriptor)>
Owned<Descriptor, create, destroy>::Owned() {
  require(create(&value_));
}

Plan::Plan(const Problem& problem, std::size_t most_bytes)
    : pass_(problem.pass), dtype_(problem.dtype), handle_(handle_of(problem.device)) {
  describe(problem);
  choose(most_bytes);
}

void Plan::describe(const Problem& p) {
  const cudnnDataType_t type = data_type_of(p.dtype);
  const cudnnTensorFormat_t format = p.channels_last ? CUDNN_TENSOR_NHWC : CUDNN_TENSOR_NCHW;
  require(cudnnSetTensor4dDescriptor(x_.get(), format, type, p.x[0], p.x[1], p.x[2], p.x[3]));
  require(cudnnSetTensor4dDescriptor(y_.get(), format, type, p.y[0], p.y[1], p.y[2], p.y[3]));
  require(cudnnSetFilter4dDescriptor(w_.get(), type, format, p.w[0], p.w[1], p.w[2], p.w[3]));
  require(cudnnSetConvolution2dDescriptor(convolution_.get(), p.padding[0], p.padding[1], p.stride[0],
                                          p.stride[1], p.dilation[0], p.dilation[1], CUDNN_CROSS_CORRELATION,
                                          p.dtype == DType::float64 ? CUDNN_DATA_DOUBLE : CUDNN_DATA_FLOAT));
  require(cudnnSetConvolutionGroupCount(convolution_.get(), p.groups));
  // FMA keeps float32 from being rounded to TF32.
  require(cudnnSetConvolutionMathType(convolution_.get(),
                                      is_16_bit(p.dtype) ? CUDNN_TENSOR_OP_MATH : CUDNN_FMA_MATH));
}

template <class Performance, class Find, class Bytes>
void Plan::choose_from(std::size_t most_bytes, Find&& find, Bytes&& bytes_of) {
  std::array<Performance, 8> ranked{};
  int count = 0;
  const cudnnStatus_t status = find(static_cast<int>(ranked.size()), &count, ranked.data());
  if (is_refusal(status)) return;
  require(status);
  for (int i = 0; i < count; ++i) {
    const Performance& candidate = ranked[static_cast<std::size_t>(i)];
    if (candidate.status != CUDNN_STATUS_SUCCESS || candidate.determinism != CUDNN_DETERMINISTIC) continue;
    if (is_16_bit(dtype_)) require(cudnnSetConvolutionMathType(convolution_.get(), candidate.mathType));
    // A candidate may have been ranked for another kind of arithmetic than the one that it will run in.
    const cudnnStatus_t asked = bytes_of(candidate.algo, &workspace_bytes_);
    if (is_refusal(asked)) continue;
    require(asked);
    if (workspace_bytes_ > most_bytes) continue;
    algorithm_ = static_cast<int>(candidate.algo);
    return;
  }
}

void Plan::choose(std::size_t most_bytes) {
  const std::lock_guard lock(handle_.mutex);
  const cudnnHandle_t handle = handle_.value;
  const auto x = x_.get(), y = y_.get();
  const auto w = w_.get();
  const auto convolution = convolution_.get();
  switch (pass_) {
    case ConvPass::forward:
      return choose_from<cudnnConvolutionFwdAlgoPerf_t>(
          most_bytes,
          [&](auto... results) {
            return cudnnGetConvolutionForwardAlgorithm_v7(handle, x, w, convolution, y, results...);
          },
          [&](auto algorithm, std::size_t* bytes) {
            return cudnnGetConvolutionForwardWorkspaceSize(handle, x, w, convolution, y, algorithm, bytes);
          });
    case ConvPass::backward_data:
      return choose_from<cudnnConvolutionBwdDataAlgoPerf_t>(
          most_bytes,
          [&](auto... results) {
            return cudnnGetConvolutionBackwardDataAlgorithm_v7(handle, w, y, convolution, x, results...);
          },
          [&](auto algorithm, std::size_t* bytes) {
            return cudnnGetConvolutionBackwardDataWorkspaceSize(handle, w, y, convolution, x, algorithm,
                                                                bytes);
          });
    case ConvPass::backward_weight:
      return choose_from<cudnnConvolutionBwdFilterAlgoPerf_t>(
          most_bytes,
          [&](auto... results) {
            return cudnnGetConvolutionBackwardFilterAlgorithm_v7(handle, x, y, convolution, w, results...);
          },
          [&](auto algorithm, std::size_t* bytes) {
            return cudnnGetConvolutionBackwardFilterWorkspaceSize(handle, x, y, convolution, w, algorithm,
                                                                  bytes);
          });
  }
}

void Plan::run(cudaStream_t stream, const ProblemData& data, Write write, void* workspace) {
  const double wide_one = 1, wide_beta = write == Write::accumulate ? 1 : 0;
  const float narrow_one = 1, narrow_beta = static_cast<float>(wide_beta);
  const bool is_wide = dtype_ == DType::float64;
  const void* const one = is_wide ? static_cast<const void*>(&wide_one) : &narrow_one;
  const void* const beta = is_wide ? static_cast<const void*>(&wide_beta) : &narrow_beta;

  const std::lock_guard lock(handle_.mutex);
  require(cudnnSetStream(handle_.value, stream));
  switch (pass_) {
    case ConvPass::forward:
      return require(cudnnConvolutionForward(handle_.value, one, x_.get(), data.x, w_.get(), data.w,
                                             convolution_.get(),
                                             static_cast<cudnnConvolutionFwdAlgo_t>(algorithm_), workspace,
                                             workspace_bytes_, beta, y_.get(), data.out));
    case ConvPass::backward_data:
      return require(cudnnConvolutionBackwardData(handle_.value, one, w_.get(), data.w, y_.get(), data.y,
                                                  convolution_.get(),
                                                  static_cast<cudnnConvolutionBwdDataAlgo_t>(algorithm_),
                                                  workspace, workspace_bytes_, beta, x_.get(), data.out));
    case ConvPass::backward_weight:
      return require(cudnnConvolutionBackwardFilter(handle_.value, one, x_.get(), data.x, y_.get(), data.y,
                                                    convolution_.get(),
                                                    static_cast<cudnnConvolutionBwdFilterAlgo_t>(algorithm_),
                                                    workspace, workspace_bytes_, beta, w_.get(), data.out));
  }
}

Plan& plan_of(const Problem& problem, std::size_t most_bytes) {
  return immortal<PlanCache<Problem, Plan>>().find(
      problem, [&] { return std::make_unique<Plan>(problem, most_bytes); });
}

}  // namespace reprise::kernels::cuda::cudnn
