// What attention's launchers share: one call's sizes and dropout, and the (B, H, T, D) tensors as kernels see
// them.
#pragma once

#include "cuda/element.cuh"
#include "cuda/launch.h"
#include "cuda/workspace/attention.h"
#include "reprise/kernels/attention.h"
#include "reprise/kernels/philox.h"

namespace reprise::kernels::cuda::attention {

/// One call: everything but the tensors.
struct Problem {
  std::int64_t sequences;   // B * H
  int heads, length, size;  // H, T, D
  int group;                // sequences whose blocks are mixed, see `work_of_block`
  bool causal, dropout;
  float scale, exponent;  // exponent = scale * log2(e): exp(scale * x) = exp2(exponent * x)
  float sign, magnitude;  // of the exponent: 1 or -1, and positive; for an exponent of 0: 0 and 1
  RandomKey key;
  const std::uint64_t* node_offset;
  philox::DropRule rule;
  float keep_scale;
};

/// A (B, H, T, D) tensor: where it is and its strides in elements; `packed` when every row can be accessed 16
/// bytes at a time.
template <class T>
struct Heads {
  T* data = nullptr;
  std::int64_t batch = 0, head = 0, row = 0;
  bool packed = false;
  bool accumulate = false;

  /// The (T, D) rows of sequence b * H + h.
  __device__ __forceinline__ T* of(int sequence, int heads) const {
    return data + sequence / heads * batch + sequence % heads * head;
  }
};

template <class T, class AnyView>
Heads<T> heads_of(const AnyView& view, Write write = Write::overwrite) {
  Heads<T> heads{static_cast<T*>(view.data), view.strides[0], view.strides[1], view.strides[2], false,
                 write == Write::accumulate};
  bool packed = view.sizes[3] % kPack<T> == 0;
  for (int axis = 0; axis < 3; ++axis) packed &= view.sizes[axis] == 1 || view.strides[axis] % kPack<T> == 0;
  heads.packed = packed && aligned16(view.data);
  return heads;
}

/// What the forward reads and writes.
template <class T>
struct Forward {
  Heads<const T> q, k, v;
  Heads<T> out;
  float2* statistics;
};

/// What the backward reads and writes.
template <class T>
struct Backward {
  Heads<const T> q, k, v, dout;
  Heads<T> dq, dk, dv;
  const float2* statistics;
  const float* delta;
};

/// What a block does: a part of a sequence, of which the first has the most work where attention is causal.
struct Work {
  int sequence, part;
};

/// The parts with much work come first, so that a grid ends with short ones: over a group of sequences that
/// the L2 cache has room for, as all parts of a sequence read the same rows.
__device__ __forceinline__ Work work_of_block(const Problem& problem, int parts) {
  const int block = static_cast<int>(blockIdx.x), of_group = problem.group * parts;
  const int first = block / of_group * problem.group, rest = block % of_group;
  const int sequences = min(problem.group, static_cast<int>(problem.sequences) - first);
  return {first + rest % sequences, rest / sequences};
}

/// Sequences of a group: enough to fill a device, and no more than 16 MiB of keys and values.
inline int group_of(std::int64_t sequences, std::int64_t length, std::int64_t size, DType dtype) {
  constexpr std::int64_t kGroupBytes = std::int64_t{16} << 20, kMost = 64;
  const std::int64_t bytes = 2 * length * size * static_cast<std::int64_t>(size_of(dtype));
  return static_cast<int>(std::clamp<std::int64_t>(kGroupBytes / std::max<std::int64_t>(bytes, 1), 1,
                                                   std::clamp<std::int64_t>(sequences, 1, kMost)));
}

/// Blocks of a grid that takes `rows_of_block` rows of every sequence, all in one dimension.
inline unsigned blocks_of(const Problem& problem, int rows_of_block) {
  return static_cast<unsigned>(problem.sequences * ceil_div(problem.length, rows_of_block));
}

/// Calls `f.template operator()<kWidth, kDropout>()` with the head size rounded up to whole tiles.
template <class F>
void dispatch_width(const Problem& problem, F&& f) {
  const auto with_width = [&]<int kWidth>() {
    if (problem.dropout)
      f.template operator()<kWidth, true>();
    else
      f.template operator()<kWidth, false>();
  };
  if (problem.size <= 32)
    with_width.template operator()<32>();
  else if (problem.size <= 64)
    with_width.template operator()<64>();
  else if (problem.size <= 96)
    with_width.template operator()<96>();
  else
    with_width.template operator()<128>();
}

/// dispatch_width for kernels with tiles of two sizes: calls `f.template operator()<kWidth, kDropout,
/// kLean>()`, lean where this device has too little shared memory for a block with the large ones. Only
/// widths that need a lean form have one.
template <class T, template <int kWidth, bool kLean> class Shape, class F>
void dispatch_shape(const Problem& problem, F&& f) {
  dispatch_width(problem, [&]<int kWidth, bool kDropout>() {
    constexpr std::size_t kBytes = Shape<kWidth, false>::template shared_bytes<T>();
    if constexpr (kBytes > kLeastSharedBytes) {
      static_assert(Shape<kWidth, true>::template shared_bytes<T>() <= kLeastSharedBytes);
      if (max_shared_bytes("attention") < kBytes) return f.template operator()<kWidth, kDropout, true>();
    }
    f.template operator()<kWidth, kDropout, false>();
  });
}

/// Launches a kernel whose blocks take `rows_of_block` rows of a sequence each, in `shared_bytes` of tiles.
template <class Tensors>
void launch_tiles(const Queue& queue, const Problem& problem, void (*kernel)(Problem, Tensors),
                  int rows_of_block, int threads, std::size_t shared_bytes, const Tensors& tensors) {
  allow_shared_bytes("attention", "head size " + std::to_string(problem.size), kernel, shared_bytes);
  launch("attention", queue, kernel, blocks_of(problem, rows_of_block), threads, shared_bytes, problem,
         tensors);
}

/// The largest head whose tiles fit the registers and the shared memory of a multiprocessor.
inline constexpr std::int64_t kLargestHead = 128;

// Forward, dk and dv, and dq; float has kernels of its own.
template <class T>
void launch_forward(const Queue& queue, const Problem& problem, const Forward<T>& tensors);
template <>
void launch_forward(const Queue& queue, const Problem& problem, const Forward<float>& tensors);

template <class T>
void launch_key_gradients(const Queue& queue, const Problem& problem, const Backward<T>& tensors);
template <>
void launch_key_gradients(const Queue& queue, const Problem& problem, const Backward<float>& tensors);

template <class T>
void launch_query_gradient(const Queue& queue, const Problem& problem, const Backward<T>& tensors);
template <>
void launch_query_gradient(const Queue& queue, const Problem& problem, const Backward<float>& tensors);

}  // namespace reprise::kernels::cuda::attention
