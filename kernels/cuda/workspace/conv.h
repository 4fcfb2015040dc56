// How the tensors of a convolution reach cuDNN: where they lie, or as copies in the workspace, with channels
// filled up where tensor cores want that, and the library's scratch behind them. A batch may go in several
// calls: where cuDNN cannot count its elements, or where there is no memory for copies of all of it.
#pragma once

#include <limits>
#include <span>

#include "cpu/pointwise_conv.h"
#include "cuda/workspace/library.h"

namespace reprise::kernels::cuda {

/// One pass of a convolution; `out` is the tensor that it makes, and has its place among the others too, for
/// its sizes.
struct ConvRequest {
  ConvPass pass = ConvPass::forward;
  Conv2dParams params{};
  ConstView x{}, w{}, y{};
  Target out{};
};

/// A tensor as cuDNN sees it: the caller's memory, or a copy in the workspace.
struct ConvOperand {
  View view{};
  bool is_copy = false;
};

/// Everything that a pass needs of the workspace; without memory it is only counted.
struct ConvSpace {
  ConvOperand x, w, y;  // empty for the tensor that the pass makes
  ConvOperand out;
  void* scratch = nullptr;  // cuDNN's
  std::size_t bytes = 0;
};

/// Orders of memory to try, the best first: true for channels-last, false for row-major. cuDNN computes in
/// float64 only row-major, and lacks channels-last algorithms for some problems.
inline std::span<const bool> conv_orders(DType dtype) {
  static constexpr bool kOrders[] = {true, false};
  return std::span(kOrders).last(dtype == DType::float64 ? 1 : 2);
}

/// A pass over `count` images from `first` on. A weight's gradient grows from call to call.
inline ConvRequest images_of(ConvRequest r, std::int64_t first, std::int64_t count) {
  const auto narrow = [&](auto& view) {
    if (view.data != nullptr)
      view.data = view.template as<std::byte>() +
                  first * view.strides[0] * static_cast<std::int64_t>(size_of(view.dtype));
    view.sizes[0] = count;
  };
  narrow(r.x);
  narrow(r.y);
  if (r.pass != ConvPass::backward_weight)
    narrow(r.out.view);
  else if (first > 0)
    r.out.write = Write::accumulate;
  return r;
}

/// Elements of a tensor of a call, at most: cuDNN counts them in 32 bits.
inline constexpr std::int64_t kMostElements = std::numeric_limits<std::int32_t>::max();

/// Sizes of the tensors as a call of cuDNN sees them.
struct ConvSizes {
  PerAxis x{}, w{}, y{};
  const PerAxis& out(ConvPass pass) const {
    return pass == ConvPass::forward ? y : pass == ConvPass::backward_data ? x : w;
  }
};

/// Elements of one image, or one filter.
inline std::int64_t elements_of_one(const PerAxis& sizes) { return sizes[1] * sizes[2] * sizes[3]; }

/// Elements of the larger of an image of x and one of y.
inline std::int64_t largest_image(const ConvSizes& sizes) {
  return std::max(elements_of_one(sizes.x), elements_of_one(sizes.y));
}

/// The given sizes, but in 16 bits channels-last with the channels of x and y filled up to multiples of
/// eight: cuDNN's kernels for tensor cores take no others, and its remaining ones are many times slower. Not
/// with groups, whose channels lie side by side, nor where cuDNN could not count the elements of one image.
inline ConvSizes sizes_of_call(const ConvRequest& r, bool channels_last) {
  const ConvSizes given{r.x.sizes, r.w.sizes, r.y.sizes};
  if (!channels_last || size_of(r.out.view.dtype) != 2 || r.params.groups != 1) return given;
  constexpr std::int64_t kEight = 8;
  const auto filled = [](std::int64_t channels) { return ceil_div(channels, kEight) * kEight; };
  ConvSizes sizes = given;
  sizes.x[1] = sizes.w[1] = filled(given.x[1]);
  sizes.y[1] = sizes.w[0] = filled(given.y[1]);
  const std::int64_t largest = std::max(largest_image(sizes), sizes.w[0] * elements_of_one(sizes.w));
  return largest <= kMostElements ? sizes : given;
}

/// `given` where it lies as asked, has these sizes and begins at a multiple of 16 bytes; room in the
/// workspace otherwise.
inline ConvOperand place(const ConstView& given, const PerAxis& sizes, bool channels_last,
                         cpu::Carver& carver) {
  const bool lies_well = channels_last ? given.is_channels_last() : given.is_contiguous();
  ConvOperand operand{pointwise::writable_layout(given)};
  if (given.sizes == sizes && lies_well && aligned16(given.data)) {
    operand.view.data = const_cast<void*>(given.data);
    return operand;
  }
  operand.is_copy = true;
  operand.view.sizes = sizes;
  std::int64_t stride = 1;
  for (int axis : channels_last ? std::array{1, 3, 2, 0} : std::array{3, 2, 1, 0}) {
    operand.view.strides[axis] = stride;
    stride *= sizes[axis];
  }
  operand.view.data = carver.take(static_cast<std::size_t>(stride) * size_of(given.dtype));
  return operand;
}

/// The pass in one order of memory. No size is 0.
inline ConvSpace conv_space(const ConvRequest& r, bool channels_last, const Workspace& workspace = {}) {
  cpu::Carver carver(workspace);
  const ConvSizes sizes = sizes_of_call(r, channels_last);
  ConvSpace space;
  if (r.pass != ConvPass::backward_data) space.x = place(r.x, sizes.x, channels_last, carver);
  if (r.pass != ConvPass::backward_weight) space.w = place(r.w, sizes.w, channels_last, carver);
  if (r.pass != ConvPass::forward) space.y = place(r.y, sizes.y, channels_last, carver);
  space.out = place(r.out.view, sizes.out(r.pass), channels_last, carver);
  space.scratch =
      take_library_scratch(carver, conv_library_bytes(sizes.x, sizes.w, sizes.y, r.out.view.dtype));
  space.bytes = carver.bytes();
  return space;
}

/// Images in a call of cuDNN; 0 where one is too large.
inline std::int64_t most_images(const ConvRequest& r, bool channels_last) {
  return std::min(r.x.sizes[0], kMostElements / largest_image(sizes_of_call(r, channels_last)));
}

/// Enough for all images in the best order of memory, and for one at least in the others; for all where there
/// are groups, which need those more often. No size is 0.
inline std::size_t conv_bytes(const ConvRequest& r) {
  const DType dtype = r.out.view.dtype;
  if (!is_floating(dtype)) refuse("conv2d", dtype);
  std::size_t bytes = 0;
  for (const bool channels_last : conv_orders(dtype)) {
    const std::int64_t most = most_images(r, channels_last), least = std::min<std::int64_t>(most, 1);
    const std::int64_t images = bytes == 0 || r.params.groups > 1 ? most : least;
    bytes = std::max(bytes, conv_space(images_of(r, 0, images), channels_last).bytes);
  }
  return bytes;
}

/// How many images a call takes in this order of memory, with what conv_bytes() asked for.
inline std::int64_t images_of_call(const ConvRequest& r, bool channels_last) {
  const auto fits = [&, there = conv_bytes(r)](std::int64_t images) {
    return conv_space(images_of(r, 0, images), channels_last).bytes <= there;
  };
  std::int64_t most = most_images(r, channels_last), images = 1;
  if (fits(most)) return most;
  while (images + 1 < most) {
    const std::int64_t middle = images + (most - images) / 2;
    (fits(middle) ? images : most) = middle;
  }
  return images;
}

}  // namespace reprise::kernels::cuda
