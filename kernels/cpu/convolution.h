// Convolutions as the libraries see them: dense tensors of one element type, channels-last but for the
// weights.
#pragma once

#include <cstddef>
#include <optional>

#include "reprise/kernels/conv.h"

namespace reprise::kernels::cpu {

/// Everything but the addresses. x is (n, ih, iw, ic), y (n, oh, ow, oc) and w (oc, ic / groups, kh, kw),
/// row-major in this order of axes. No size is 0.
struct Convolution {
  ConvPass pass = ConvPass::forward;
  DType dtype = DType::float32;
  Conv2dParams params;
  std::int64_t n = 0, ic = 0, ih = 0, iw = 0, oc = 0, oh = 0, ow = 0, kh = 0, kw = 0;
  bool bias = false;
  bool operator==(const Convolution&) const = default;

  /// Input channels of one group.
  std::int64_t group_inputs() const { return ic / params.groups; }

  double multiplications() const {
    return static_cast<double>(n * oh * ow) * static_cast<double>(oc * kh * kw) *
           static_cast<double>(group_inputs());
  }
};

/// The inputs of the pass, and in `out` the tensor that it makes.
struct ConvolutionData {
  const void* x = nullptr;
  const void* w = nullptr;
  const void* bias = nullptr;
  const void* y = nullptr;
  void* out = nullptr;
};

#if defined(REPRISE_ONEDNN)
namespace onednn {

/// Scratch for `convolve`, or nothing when oneDNN has no fast way for this convolution. float32 and bfloat16.
std::optional<std::size_t> scratch_bytes(const Convolution&);

/// Overwrites the result.
void convolve(const Convolution&, const ConvolutionData&, void* scratch);

}  // namespace onednn
#endif

namespace eigen {

/// float32 and float64.
std::size_t scratch_bytes(const Convolution&);

void convolve(const Convolution&, const ConvolutionData&, Write write, const Workspace& scratch);

}  // namespace eigen

}  // namespace reprise::kernels::cpu
