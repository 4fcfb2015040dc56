// How a reduction is cut into blocks, and the partial results of those that share a result.
#pragma once

#include "cuda/workspace/reduction_axes.h"

namespace reprise::kernels::cuda {

/// Threads of a block that reduces, and loads that each of them has under way.
inline constexpr int kReduceThreads = 256, kReduceLoads = 4;

using ReductionSplit = ReductionAxes<2>;  // x, y

inline ReductionSplit split_of(const Layout& x, const Layout& y) {
  const Layout result = expanded(y, x);
  return split_axes<2>({&x, &result});
}

/// How a reduction is cut; depends on the shape, the alignment and the device.
struct ReductionPlan {
  bool packed = false;
  std::int64_t kept = 0, reduced = 0;  // packs count as one
  unsigned tail = 0;
  int group = 1;  // threads of a row, or lanes across columns
  std::uint32_t each = 0, splits = 1;
};

inline bool multiples(const PerAxis& strides, int begin, int end, std::int64_t width) {
  for (int axis = begin; axis < end; ++axis) {
    if (strides[axis] % width != 0) return false;
  }
  return true;
}

/// Whether packs of `width` elements lie along the innermost axis of an aligned x; with `rest`, a few more
/// may follow.
inline bool can_pack(const ReductionSplit& split, std::int64_t width, bool rest) {
  const Axes<2>&along = split.inner_reduced ? split.reduced : split.kept,
        &other = split.inner_reduced ? split.kept : split.reduced;
  const int inner = along.inner();
  const bool whole = along.sizes[inner] % width == 0 || (rest && along.rank == 1);
  return whole && along.strides[0][inner] == 1 && along.sizes[inner] >= width &&
         multiples(along.strides[0], 0, inner, width) && multiples(other.strides[0], 0, other.rank, width);
}

inline ReductionPlan plan_of(int multiprocessors, const ReductionSplit& split, bool aligned, DType dtype) {
  ReductionPlan plan;
  plan.kept = split.kept.numel();
  plan.reduced = split.reduced.numel();
  const bool trained = is_floating(dtype) && dtype != DType::float64;
  const std::int64_t width = trained ? pack_of(dtype) : 1;
  plan.packed = trained && aligned && can_pack(split, width, split.inner_reduced);
  if (plan.packed && split.inner_reduced) plan.tail = static_cast<unsigned>(plan.reduced % width);
  if (plan.packed) (split.inner_reduced ? plan.reduced : plan.kept) /= width;
  require_countable("reduce", plan.reduced);

  const std::int64_t many = std::int64_t{multiprocessors} * 8;  // blocks that keep the device busy
  std::int64_t blocks = 0, threads = 0;                         // those without a split; threads of a result
  if (split.inner_reduced) {
    const bool wide = plan.reduced > 8 * kWarp || (plan.reduced >= 2 * kWarp && plan.kept < many);
    plan.group = wide ? kReduceThreads : lanes_for(plan.reduced, kWarp);
    blocks = ceil_div(plan.kept, kReduceThreads / plan.group);
    threads = plan.group;
  } else {
    plan.group = lanes_for(plan.kept, kWarp);
    blocks = ceil_div(plan.kept, plan.group);
    threads = kReduceThreads / plan.group;
  }
  // A split is worth its second launch where every thread still has two rounds of loads.
  const std::int64_t most = plan.reduced / (threads * kReduceLoads * 2);
  const bool can_split = !split.inner_reduced || plan.group == kReduceThreads;
  const std::int64_t splits =
      can_split ? std::clamp<std::int64_t>(std::min(many / blocks, most), 1, 1024) : 1;
  plan.each = static_cast<std::uint32_t>(ceil_div(plan.reduced, splits));
  plan.splits = static_cast<std::uint32_t>(ceil_div(plan.reduced, std::int64_t{plan.each}));
  return plan;
}

/// Partial results of a reduction, on any device and however x is aligned.
inline std::size_t partial_results_bytes(const ConstView& x, const Layout& y) {
  if (x.numel() == 0) return 0;
  const ReductionSplit split = split_of(x, y);
  std::uint32_t splits = 1;
  for (const bool aligned : {true, false})
    splits = std::max(splits, plan_of(kMostMultiprocessors, split, aligned, x.dtype).splits);
  const bool wide = x.dtype == DType::float64 || !is_floating(x.dtype);
  const std::size_t results = static_cast<std::size_t>(split.kept.numel());
  return splits == 1 ? 0 : splits * results * (wide ? sizeof(double) : sizeof(float));
}

}  // namespace reprise::kernels::cuda
