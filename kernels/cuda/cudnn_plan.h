// cuDNN: convolutions as it takes them, and the algorithm that it runs for each.
#pragma once

#include <cudnn.h>

#include <array>
#include <compare>
#include <cstdint>
#include <mutex>

#include "cuda/plan_cache.h"
#include "reprise/kernels/conv.h"

namespace reprise::kernels::cuda::cudnn {

/// One pass of a convolution: all that decides how it is computed. Memory is dense: channels-last for all
/// three tensors, or row-major for all three. No size is 0.
struct Problem {
  int device = 0;
  ConvPass pass = ConvPass::forward;
  DType dtype = DType::float32;
  bool channels_last = true;
  std::array<int, 4> x{}, w{}, y{};                    // sizes in the order N, C, H, W
  std::array<int, 2> stride{}, padding{}, dilation{};  // of Conv2dParams
  int groups = 1;
  auto operator<=>(const Problem&) const = default;
};

/// The tensors of a pass, aligned to 16 bytes: the one that it makes is written.
struct ProblemData {
  const void* x = nullptr;
  const void* w = nullptr;
  const void* y = nullptr;
  void* out = nullptr;
};

/// One handle a device; it has one stream at a time, so calls take turns.
struct Handle {
  Handle();
  std::mutex mutex;
  cudnnHandle_t value = nullptr;
};

/// Owns one of cuDNN's descriptors.
template <class Descriptor, cudnnStatus_t (*create)(Descriptor*), cudnnStatus_t (*destroy)(Descriptor)>
class Owned {
 public:
  Owned();
  Owned(const Owned&) = delete;
  Owned& operator=(const Owned&) = delete;
  ~Owned() { destroy(value_); }
  Descriptor get() const { return value_; }

 private:
  Descriptor value_ = nullptr;
};

/// A problem with the algorithm that the heuristic ranks first among those that give the same bits every
/// time.
class Plan {
 public:
  Plan(const Problem& problem, std::size_t most_bytes);

  /// False when cuDNN has no algorithm for the problem that does with so much scratch.
  bool exists() const { return algorithm_ >= 0; }

  void run(cudaStream_t stream, const ProblemData& data, Write write, void* workspace);

 private:
  void describe(const Problem& problem);
  void choose(std::size_t most_bytes);
  template <class Performance, class Find, class Bytes>
  void choose_from(std::size_t most_bytes, Find&& find, Bytes&& bytes_of);

  ConvPass pass_;
  DType dtype_;
  Handle& handle_;
  Owned<cudnnTensorDescriptor_t, cudnnCreateTensorDescriptor, cudnnDestroyTensorDescriptor> x_, y_;
  Owned<cudnnFilterDescriptor_t, cudnnCreateFilterDescriptor, cudnnDestroyFilterDescriptor> w_;
  Owned<cudnnConvolutionDescriptor_t, cudnnCreateConvolutionDescriptor, cudnnDestroyConvolutionDescriptor>
      convolution_;
  int algorithm_ = -1;  // one of cuDNN's three enumerations, by the pass
  std::size_t workspace_bytes_ = 0;
};

/// The plan of this problem, made when it is first asked for; `most_bytes` follows from the problem.
Plan& plan_of(const Problem& problem, std::size_t most_bytes);

}  // namespace reprise::kernels::cuda::cudnn
