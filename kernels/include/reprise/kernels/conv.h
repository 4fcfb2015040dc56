// Two-dimensional convolution and pooling. Tensors are (N, C, H, W) by size; memory order is channels-last
// (see Layout::is_channels_last) for x, y and their gradients: the operations make it so. Weights are (O, I /
// groups, KH, KW), row-major. Through oneDNN on the CPU when present, im2col and Eigen otherwise.
#pragma once

#include "reprise/kernels/dispatch.h"

namespace reprise::kernels {

struct Conv2dParams {
  std::array<std::int64_t, 2> stride{1, 1};
  std::array<std::int64_t, 2> padding{0, 0};
  std::array<std::int64_t, 2> dilation{1, 1};
  std::int64_t groups = 1;
  bool operator==(const Conv2dParams&) const = default;
};

enum class ConvPass : std::uint8_t { forward, backward_data, backward_weight };

/// Scratch for one pass of a convolution of these shapes. A pass that overwrites its gradient may need much
/// less than one that accumulates.
REPRISE_WORKSPACE_QUERY(conv2d_workspace_bytes, DeviceKind, ConvPass, const Conv2dParams&, const ConstView& x,
                        const ConstView& w, const ConstView& y, Write write);

/// y = x * w + bias; bias (O) may be null.
REPRISE_KERNEL(void, conv2d_forward, const Queue&, const Conv2dParams&, const ConstView& x,
               const ConstView& w, const ConstView& bias, const View& y, const Workspace&);

/// dx (=, +=) dy * transposed w.
REPRISE_KERNEL(void, conv2d_backward_data, const Queue&, const Conv2dParams&, const ConstView& dy,
               const ConstView& w, const Target& dx, const Workspace&);

/// dw (=, +=) x correlated with dy. (The bias gradient is a reduction: see reduce.h.)
REPRISE_KERNEL(void, conv2d_backward_weight, const Queue&, const Conv2dParams&, const ConstView& x,
               const ConstView& dy, const Target& dw, const Workspace&);

struct Pool2dParams {
  std::array<std::int64_t, 2> kernel{2, 2};
  std::array<std::int64_t, 2> stride{2, 2};
  std::array<std::int64_t, 2> padding{0, 0};
  bool count_padding = true;  // average: divide by the kernel's size also at the border, as PyTorch's default
  bool operator==(const Pool2dParams&) const = default;
};

/// y = maximum of each window; index (int32, y's sizes) is the flat position h * W + w of the first maximum;
/// NaN wins.
REPRISE_KERNEL(void, max_pool2d_forward, const Queue&, const Pool2dParams&, const ConstView& x, const View& y,
               const View& index);

/// dx (=, +=) dy scattered to `index`; deterministic.
REPRISE_KERNEL(void, max_pool2d_backward, const Queue&, const Pool2dParams&, const ConstView& index,
               const ConstView& dy, const Target& dx);

/// y = average of each window.
REPRISE_KERNEL(void, avg_pool2d_forward, const Queue&, const Pool2dParams&, const ConstView& x,
               const View& y);

/// dx (=, +=) dy spread over each window.
REPRISE_KERNEL(void, avg_pool2d_backward, const Queue&, const Pool2dParams&, const ConstView& dy,
               const Target& dx);

}  // namespace reprise::kernels
