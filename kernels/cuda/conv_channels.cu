// Channels filled up with zeros, for convolutions: a thread writes 16 bytes of y at a time and reads what it
// has of x for them, so that both pass through the device once.
#include "cuda/conv_channels.h"

#include "cuda/element.cuh"
#include "cuda/strided.cuh"

namespace reprise::kernels::cuda {
namespace {

using Word = std::uint16_t;  // an element's bits

constexpr int kBlock = 256, kChannels = kPack<Word>;
constexpr int kPacks = 4;  // of a thread, all under way at once

/// How x lies below packs of y: `packs` walks over the first channels of those that x has something for.
/// Where its channels are dense, their addresses take no arithmetic.
template <bool kDense>
struct Channels {
  Walk<1> packs;
  Divisor per_pixel;  // packs of a pixel
  std::uint32_t given;
  std::int64_t stride;  // of x from channel to channel

  __device__ __forceinline__ Pack<Word, kChannels> read(const Word* x, std::uint32_t pack) const {
    Word values[kChannels] = {};
    if (pack < packs.numel) {
      const std::uint32_t first = (pack - per_pixel.quotient(pack) * per_pixel.divisor) * kChannels;
      const Word* const from = x + packs.locate(pack).at[0];
#pragma unroll
      for (int i = 0; i < kChannels; ++i) {
        if (first + static_cast<std::uint32_t>(i) < given) values[i] = from[kDense ? i : i * stride];
      }
    }
    return join_elements(values);
  }
};

template <bool kDense>
__global__ void __launch_bounds__(kBlock)
    fill_channels_kernel(const __grid_constant__ Channels<kDense> channels, std::uint32_t packs,
                         const Word* x, Word* y) {
  const std::uint32_t start = blockIdx.x * (kBlock * kPacks) + threadIdx.x;
  Pack<Word, kChannels> values[kPacks];
#pragma unroll
  for (int k = 0; k < kPacks; ++k)
    values[k] = channels.read(x, start + static_cast<std::uint32_t>(k * kBlock));
#pragma unroll
  for (int k = 0; k < kPacks; ++k) {
    const std::uint32_t pack = start + static_cast<std::uint32_t>(k * kBlock);
    if (pack < packs) write_pack(y + std::int64_t{pack} * kChannels, values[k]);
  }
}

}  // namespace

void fill_channels(const Queue& queue, const ConstView& x, const View& y) {
  const std::int64_t per_pixel = y.sizes[1] / kChannels, packs = y.numel() / kChannels;
  Layout first;  // channels of the packs, in the order of y's memory
  first.rank = 4;
  first.sizes = {x.sizes[0], x.sizes[2], x.sizes[3], per_pixel};
  first.strides = {x.strides[0], x.strides[2], x.strides[3], x.strides[1] * kChannels};
  const auto fill_with = [&]<bool kDense>() {
    const Channels<kDense> channels{Walk<1>(collapse<1>({&first}, Order::given)), Divisor(per_pixel),
                                    static_cast<std::uint32_t>(x.sizes[1]), x.strides[1]};
    launch("conv2d", queue, fill_channels_kernel<kDense>,
           dim3(static_cast<unsigned>(ceil_div(packs, std::int64_t{kBlock} * kPacks))), dim3(kBlock), 0,
           channels, static_cast<std::uint32_t>(packs), static_cast<const Word*>(x.data),
           static_cast<Word*>(y.data));
  };
  if (x.strides[1] == 1)
    fill_with.template operator()<true>();
  else
    fill_with.template operator()<false>();
}

}  // namespace reprise::kernels::cuda
