// How much scratch operations take on CUDA: known in every program, from views alone, the same for every
// device.
#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "cuda/workspace/columns.h"
#include "cuda/workspace/conv.h"
#include "cuda/workspace/library.h"
#include "cuda/workspace/norms.h"
#include "cuda/workspace/reduction_plan.h"
#include "reprise/kernels/attention.h"
#include "reprise/kernels/conv.h"
#include "reprise/kernels/embedding.h"
#include "reprise/kernels/matmul.h"
#include "reprise/kernels/norm.h"
#include "reprise/kernels/reduce.h"

using namespace reprise;
using namespace reprise::kernels;

namespace {

using Sizes = std::vector<std::int64_t>;

constexpr DeviceKind kCuda = DeviceKind::cuda;
constexpr std::size_t kMiB = std::size_t{1} << 20;
constexpr DType kTrained[] = {DType::float32, DType::bfloat16, DType::float16};

/// A view without memory; row-major without strides.
View shape(DType dtype, const Sizes& sizes, const Sizes& strides = {}) {
  View view;
  view.dtype = dtype;
  view.rank = static_cast<int>(sizes.size());
  std::int64_t step = 1;
  for (int axis = view.rank - 1; axis >= 0; --axis) {
    const auto i = static_cast<std::size_t>(axis);
    view.sizes[axis] = sizes[i];
    view.strides[axis] = strides.empty() ? step : strides[i];
    step *= sizes[i];
  }
  return view;
}

View image(DType dtype, std::int64_t n, std::int64_t c, std::int64_t h, std::int64_t w) {
  return shape(dtype, {n, c, h, w}, {h * w * c, 1, w * c, c});
}

/// The library's scratch, wherever the workspace begins.
std::size_t with_library(std::size_t pieces, std::size_t library) {
  const std::size_t most_before = cpu::Carver::kAlignment - 1, aligned = library + 256 - 64;
  return pieces + aligned + most_before;
}

TEST_CASE("products ask for their library's share and for copies", "[unit]") {
  const auto bytes = [](const View& a, const View& b, const View& c) {
    return matmul_workspace_bytes(kCuda, a, b, c);
  };
  const DType f32 = DType::float32;
  CHECK(bytes(shape(f32, {8, 4}), shape(f32, {4, 16}), shape(f32, {8, 16})) ==
        with_library(0, 4 * 8 * 16 * 4));
  CHECK(bytes(shape(DType::bfloat16, {8, 4}), shape(DType::bfloat16, {4, 16}),
              shape(DType::bfloat16, {8, 16})) == with_library(0, 4 * 8 * 16 * 4));
  CHECK(bytes(shape(f32, {3, 3}), shape(f32, {3, 3}), shape(f32, {3, 3})) == with_library(0, 256));
  CHECK(bytes(shape(f32, {8, 4}, {16, 2}), shape(f32, {4, 16}), shape(f32, {8, 16})) ==
        with_library(8 * 4 * 4, 4 * 8 * 16 * 4));
  CHECK(bytes(shape(f32, {4096, 4}), shape(f32, {4, 4096}), shape(f32, {4096, 4096})) ==
        with_library(0, 32 * kMiB));
  CHECK(bytes(shape(f32, {0, 4}), shape(f32, {4, 16}), shape(f32, {0, 16})) == 0);
  // One call takes a batch whole, and heads that lie side by side one axis of it.
  CHECK(bytes(shape(f32, {5, 8, 4}), shape(f32, {5, 4, 16}), shape(f32, {5, 8, 16})) ==
        with_library(0, 5 * 4 * 8 * 16 * 4));
  CHECK_THROWS_AS(
      bytes(shape(DType::int32, {2, 2}), shape(DType::int32, {2, 2}), shape(DType::int32, {2, 2})),
      TypeError);
}

TEST_CASE("a few long sums have room for more parts than many or short ones", "[unit]") {
  const auto parts = [](std::int64_t m, std::int64_t n, std::int64_t k) {
    const View a = shape(DType::bfloat16, {m, k}), b = shape(DType::bfloat16, {k, n}),
               c = shape(DType::bfloat16, {m, n});
    const std::size_t bytes = cuda::product_library_bytes(m * n, k);
    CHECK(matmul_workspace_bytes(kCuda, a, b, c) == with_library(0, bytes));
    return static_cast<std::int64_t>(bytes / sizeof(float)) / (m * n);
  };
  CHECK(parts(64, 256, 401408) == 128);  // 8 MiB
  CHECK(parts(64, 64, 401408) == 512);
  CHECK(parts(8, 8, 401408) == 784);  // of 512 terms
  CHECK(parts(64, 256, 4096) == 8);
  CHECK(parts(64, 256, 2559) == 4);
  CHECK(parts(64, 256, 1) == 4);
  CHECK(parts(1024, 512, 401408) == 4);  // 8 MiB
  CHECK(parts(1024, 2048, 401408) == 4);
  CHECK(parts(4096, 4096, 401408) == 0);  // a half of one: 32 MiB
}

TEST_CASE("linear layers also have room for an aligned bias", "[unit]") {
  const DType f32 = DType::float32;
  CHECK(linear_workspace_bytes(kCuda, shape(f32, {8, 4}), shape(f32, {4, 16}), shape(f32, {8, 16})) ==
        with_library(16 * 4, 4 * 8 * 16 * 4));
}

TEST_CASE("convolutions ask for copies of what lies otherwise and for scratch by their tensors", "[unit]") {
  const auto bytes = [](ConvPass pass, DType dtype, std::int64_t groups) {
    const View x = image(dtype, 8, 12, 32, 32), y = image(dtype, 8, 20, 30, 30),
               w = shape(dtype, {20, 12 / groups, 3, 3});
    return conv2d_workspace_bytes(kCuda, pass, {.groups = groups}, x, w, y, Write::overwrite);
  };
  constexpr std::size_t kX = 8 * 12 * 1024, kY = 8 * 20 * 900, kW = 20 * 12 * 9;  // elements
  // The library gets twice the tensors with channels filled up to eights.
  constexpr std::size_t kFilled = 8 * 16 * 1024 + 8 * 24 * 900 + 20 * 16 * 9,
                        kFilledGroups = kFilled - 20 * 8 * 9,
                        kAllFilled = kFilled + 4 * 16 * 9;  // of weights also the outputs
  const auto padded = [](std::size_t size) { return (size + 63) / 64 * 64; };
  const auto library = [](std::size_t elements, std::size_t size) {
    return (2 * elements * size + 255) / 256 * 256;
  };
  for (const ConvPass pass : {ConvPass::forward, ConvPass::backward_data, ConvPass::backward_weight}) {
    CHECK(bytes(pass, DType::float32, 1) == with_library(padded(4 * kW), library(kFilled, 4)));
    // In 16 bits the channels of all are filled up to eights: 12 to 16, and 20 to 24.
    CHECK(bytes(pass, DType::bfloat16, 1) == with_library(2 * kAllFilled, library(kAllFilled, 2)));
    CHECK(bytes(pass, DType::bfloat16, 2) ==
          with_library(padded(2 * kX) + padded(2 * kY), library(kFilledGroups, 2)));
    // Row-major in float64, and perhaps in groups: the images are copied, the weights are not.
    CHECK(bytes(pass, DType::float64, 1) ==
          with_library(padded(8 * kX) + padded(8 * kY), library(kFilled, 8)));
    CHECK(bytes(pass, DType::float32, 2) ==
          with_library(padded(4 * kX) + padded(4 * kY), library(kFilledGroups, 4)));
  }
  CHECK_THROWS_AS(bytes(ConvPass::forward, DType::int32, 1), TypeError);
}

TEST_CASE("convolutions of one group have room for one image in row-major order", "[unit]") {
  const View x = image(DType::float32, 2, 3, 16, 16), w = shape(DType::float32, {2, 3, 1, 3}),
             y = image(DType::float32, 2, 2, 16, 14);
  constexpr std::size_t kOfImage = 4 * (3 * 16 * 16 + 2 * 16 * 14);
  CHECK(conv2d_workspace_bytes(kCuda, ConvPass::forward, {}, x, w, y, Write::overwrite) ==
        with_library(kOfImage, kMiB));
}

TEST_CASE("a call of cuDNN has fewer than 2^31 elements of a tensor", "[unit]") {
  const auto request = [](std::int64_t images, std::int64_t height) {
    const View x = image(DType::bfloat16, images, 32, height, 8192),
               w = shape(DType::bfloat16, {32, 32, 3, 1});
    return cuda::ConvRequest{.params = {.padding = {1, 0}}, .x = x, .w = w, .y = x, .out = {x}};
  };
  CHECK(cuda::most_images(request(3, 4096), true) == 1);
  CHECK(cuda::images_of_call(request(3, 4096), true) == 1);
  CHECK(cuda::images_of_call(request(40, 512), true) == 15);
  CHECK(cuda::images_of_call(request(15, 512), true) == 15);
  CHECK(cuda::most_images(request(1, 8192), true) == 0);
}

TEST_CASE("channels are filled up where cuDNN can count them then", "[unit]") {
  const auto sizes = [](DType dtype, const Sizes& x, const Sizes& w, bool channels_last = true) {
    const std::int64_t n = x[0], c = x[1], o = w[0];
    const View image_x = image(dtype, n, c, x[2], x[3]), image_y = image(dtype, n, o, x[2], x[3]);
    const cuda::ConvSizes of_call = cuda::sizes_of_call(
        {.params = {.groups = c / w[1]}, .x = image_x, .w = shape(dtype, w), .y = image_y, .out = {image_y}},
        channels_last);
    CHECK(of_call.x[0] == n);
    CHECK(of_call.y[0] == n);
    CHECK(of_call.w[1] == of_call.x[1] / (c / w[1]));
    CHECK(of_call.w[0] == of_call.y[1]);
    return std::pair(of_call.x[1], of_call.y[1]);
  };
  using Pair = std::pair<std::int64_t, std::int64_t>;
  for (const DType dtype : {DType::bfloat16, DType::float16}) {
    CHECK(sizes(dtype, {2, 3, 9, 9}, {64, 3, 7, 7}) == Pair(8, 64));
    CHECK(sizes(dtype, {2, 16, 9, 9}, {9, 16, 3, 3}) == Pair(16, 16));
    CHECK(sizes(dtype, {2, 8, 9, 9}, {8, 8, 3, 3}) == Pair(8, 8));
    CHECK(sizes(dtype, {2, 3, 9, 9}, {64, 3, 7, 7}, false) == Pair(3, 64));
    CHECK(sizes(dtype, {2, 6, 9, 9}, {4, 3, 3, 3}) == Pair(6, 4));
    // 2^31 elements of an image, and of the weights.
    CHECK(sizes(dtype, {1, 1, 16384, 16383}, {8, 1, 3, 3}) == Pair(8, 8));
    CHECK(sizes(dtype, {1, 1, 16384, 16384}, {1, 1, 3, 3}) == Pair(1, 1));
    CHECK(sizes(dtype, {1, 1, 9, 9}, {1 << 25, 1, 3, 3}) == Pair(1, 1 << 25));
  }
  CHECK(sizes(DType::float32, {2, 3, 9, 9}, {64, 3, 7, 7}) == Pair(3, 64));
}

TEST_CASE("what cuDNN sees alike gets the same scratch", "[unit]") {
  // 3 and 60 channels are filled up to 8 and 64: the algorithm is chosen once for both.
  const auto space = [](std::int64_t in, std::int64_t out) {
    const View x = image(DType::bfloat16, 4, in, 96, 96), y = image(DType::bfloat16, 4, out, 96, 96),
               w = shape(DType::bfloat16, {out, in, 7, 7});
    const cuda::ConvRequest request{.params = {.padding = {3, 3}}, .x = x, .w = w, .y = y, .out = {y}};
    const cuda::ConvSpace counted = cuda::conv_space(request, true);
    const auto copy = [](const cuda::ConvOperand& operand) {
      return operand.is_copy ? static_cast<std::size_t>(operand.view.numel()) * 2 : 0;
    };
    return counted.bytes - copy(counted.x) - copy(counted.w) - copy(counted.out);
  };
  CHECK(space(3, 60) == space(8, 64));
  CHECK(space(8, 60) == space(8, 64));
  CHECK(space(3, 64) == space(8, 64));
}

TEST_CASE("attention keeps a number a row, and only on the way back", "[unit]") {
  const View q = shape(DType::bfloat16, {2, 3, 5, 8});
  CHECK(attention_workspace_bytes(kCuda, {}, q, false) == 0);
  CHECK(attention_workspace_bytes(kCuda, {}, q, true) == 2 * 3 * 5 * 4);
}

TEST_CASE("partial sums of long tensors are known without a device", "[unit]") {
  // 64 rows are one chunk; a million rows one a block that the largest plan has.
  CHECK(bias_backward_workspace_bytes(kCuda, shape(DType::float32, {16, 64})) == 64 * 4);
  CHECK(bias_backward_workspace_bytes(kCuda, shape(DType::float32, {1 << 20, 32})) ==
        std::size_t{cuda::kMostMultiprocessors} * cuda::kColumnBlocks * 32 * 4);
  CHECK(reduce_workspace_bytes(kCuda, Reduce::sum, shape(DType::float32, {7, 5}),
                               shape(DType::float32, {1, 5})) == 0);
  CHECK(reduce_workspace_bytes(kCuda, Reduce::sum, shape(DType::float32, {1 << 20}),
                               shape(DType::float32, {1})) > 0);
  const ConstView dense = shape(DType::float32, {3 * 16384 + 1});
  CHECK(global_norm_workspace_bytes(kCuda, std::vector<ConstView>{dense, dense}) == 2 * 4 * sizeof(double));
  CHECK(norm_backward_workspace_bytes(kCuda, shape(DType::float32, {9, 8})) == 2 * 2 * 8 * 4);
  CHECK(batch_norm_workspace_bytes(kCuda, image(DType::float32, 1, 8, 2, 2)) == 2 * 8 * 4 + 2 * 8 * 4);
  CHECK(embedding_backward_workspace_bytes(kCuda, shape(DType::int64, {4}), shape(DType::float32, {9, 8})) ==
        4 * 16 + 2 * 256 * 4 + 2 * 8 * 4);
}

TEST_CASE("no device takes more scratch than is asked for", "[unit]") {
  constexpr int kDevices[] = {1, 4, 108, 132, cuda::kMostMultiprocessors};
  for (const std::int64_t rows : {1, 33, 1000, 100000}) {
    for (const std::int64_t columns : {1, 8, 33, 768, 9000}) {
      for (const DType dtype : kTrained) {
        CAPTURE(rows, columns, name_of(dtype));
        const View x = shape(dtype, {rows, columns});
        for (const int device : kDevices) {
          CAPTURE(device);
          for (const int vec : {1, cuda::pack_of(dtype)}) {
            const cuda::ColumnPlan plan(device, rows, columns, vec);
            const auto chunks = static_cast<std::size_t>(plan.chunks * columns);
            CHECK(chunks * 4 <= bias_backward_workspace_bytes(kCuda, x));
            const cuda::NormPlan norm(device, rows, columns, vec);
            const auto partials = static_cast<std::size_t>(norm.blocks * columns);
            CHECK(2 * std::max(chunks, partials) * 4 <= norm_backward_workspace_bytes(kCuda, x));
          }
          for (const View& y : {shape(dtype, {1, columns}), shape(dtype, {rows, 1})}) {
            const cuda::ReductionSplit split = cuda::split_of(x, y);
            for (const bool aligned : {true, false}) {
              const std::size_t splits = cuda::plan_of(device, split, aligned, dtype).splits;
              const auto results = static_cast<std::size_t>(y.numel());
              CHECK((splits == 1 ? 0 : splits * results * 4) <=
                    reduce_workspace_bytes(kCuda, Reduce::sum, x, y));
            }
          }
        }
      }
    }
  }
}

}  // namespace
