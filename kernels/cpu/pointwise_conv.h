// Convolutions of single pixels are matrix products: rows are pixels, columns are channels. For every
// backend.
#pragma once

#include <utility>

#include "reprise/kernels/conv.h"
#include "reprise/kernels/matmul.h"

namespace reprise::kernels::pointwise {

/// Whether the convolution is a matrix product.
inline bool fits(const Conv2dParams& params, const Layout& w) {
  return w.sizes[2] == 1 && w.sizes[3] == 1 && params == Conv2dParams{.dilation = params.dilation};
}

template <class AnyView>
AnyView as_matrix(AnyView view, std::int64_t rows, std::int64_t columns) {
  view.rank = 2;
  view.sizes = {};
  view.strides = {};
  view.sizes[0] = rows;
  view.sizes[1] = columns;
  view.strides[0] = columns;
  view.strides[1] = 1;
  return view;
}

template <class AnyView>
AnyView pixels(const AnyView& view) {
  return as_matrix(view, view.sizes[0] * view.sizes[2] * view.sizes[3], view.sizes[1]);
}

template <class AnyView>
AnyView weights(const AnyView& w) {
  return as_matrix(w, w.sizes[0], w.sizes[1]);
}

inline ConstView transposed(ConstView matrix) {
  std::swap(matrix.sizes[0], matrix.sizes[1]);
  std::swap(matrix.strides[0], matrix.strides[1]);
  return matrix;
}

inline View writable_layout(const ConstView& view) {
  View result;
  static_cast<Layout&>(result) = view;
  result.dtype = view.dtype;
  return result;
}

inline std::size_t workspace_bytes(DeviceKind device, ConvPass pass, const ConstView& x, const ConstView& w,
                                   const ConstView& y) {
  const ConstView x_rows = pixels(x), y_rows = pixels(y), matrix = weights(w);
  if (pass == ConvPass::forward)
    return kernels::linear_workspace_bytes(device, x_rows, transposed(matrix), writable_layout(y_rows));
  if (pass == ConvPass::backward_data)
    return kernels::matmul_workspace_bytes(device, y_rows, matrix, writable_layout(x_rows));
  return kernels::matmul_workspace_bytes(device, transposed(y_rows), x_rows, writable_layout(matrix));
}

inline void forward(const Queue& queue, const ConstView& x, const ConstView& w, const ConstView& bias,
                    const View& y, const Workspace& workspace) {
  kernels::linear_forward(queue, Activation::none, pixels(x), transposed(weights(w)), bias, {}, pixels(y),
                          workspace);
}

inline void backward_data(const Queue& queue, const ConstView& dy, const ConstView& w, const Target& dx,
                          const Workspace& workspace) {
  kernels::matmul(queue, 1, pixels(dy), weights(w), {pixels(dx.view), dx.write}, workspace);
}

inline void backward_weight(const Queue& queue, const ConstView& x, const ConstView& dy, const Target& dw,
                            const Workspace& workspace) {
  kernels::matmul(queue, 1, transposed(pixels(dy)), pixels(x), {weights(dw.view), dw.write}, workspace);
}

}  // namespace reprise::kernels::pointwise
