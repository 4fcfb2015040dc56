#include "reprise/ops/broadcast.h"

#include <fmt/format.h>

#include "reprise/kernels/elementwise.h"
#include "reprise/kernels/reduce.h"

namespace reprise::ops {

Shape broadcast_shapes(std::string_view operation, const Shape& a, const Shape& b) {
  if (a == b) return a;
  const int rank = std::max(a.rank(), b.rank());
  detail::InlineVector<std::int64_t, kMaxRank> sizes;
  for (int axis = 0; axis < rank; ++axis) {
    const int in_a = axis - (rank - a.rank());
    const int in_b = axis - (rank - b.rank());
    const std::int64_t size_a = in_a < 0 ? 1 : a[in_a];
    const std::int64_t size_b = in_b < 0 ? 1 : b[in_b];
    if (size_a != size_b && size_a != 1 && size_b != 1) {
      throw ShapeError(
          fmt::format("[{}] sizes do not broadcast: {} with {}; axis {} from the back has {} and {}",
                      operation, to_string(a), to_string(b), rank - axis, size_a, size_b));
    }
    sizes.push_back(size_a == 1 ? size_b : size_a);
  }
  return Shape({sizes.data(), sizes.size()});
}

kernels::ConstView broadcast_to(const kernels::ConstView& view, const kernels::Layout& like) {
  kernels::ConstView stretched = view;
  stretched.rank = like.rank;
  for (int axis = 0; axis < like.rank; ++axis) {
    const auto to = static_cast<std::size_t>(axis);
    const int from = axis - (like.rank - view.rank);
    stretched.sizes[to] = like.sizes[to];
    const bool own = from >= 0 && (view.sizes[static_cast<std::size_t>(from)] != 1 || like.sizes[to] == 1);
    stretched.strides[to] = own ? view.strides[static_cast<std::size_t>(from)] : 0;
  }
  return stretched;
}

void sum_to(const Exec& exec, const kernels::ConstView& x, const kernels::Target& target) {
  kernels::Target full = target;  // the target with x's rank: size 1 where it was stretched
  const int missing = x.rank - target.view.rank;
  full.view.rank = x.rank;
  bool reduces = false;
  for (int axis = x.rank - 1; axis >= 0; --axis) {
    const auto to = static_cast<std::size_t>(axis);
    const int from = axis - missing;
    full.view.sizes[to] = from < 0 ? 1 : target.view.sizes[static_cast<std::size_t>(from)];
    full.view.strides[to] = from < 0 ? 0 : target.view.strides[static_cast<std::size_t>(from)];
    reduces |= full.view.sizes[to] != x.sizes[to];
  }
  if (!reduces) {
    kernels::copy(exec.queue(), x, full);
    return;
  }
  const std::size_t bytes =
      kernels::reduce_workspace_bytes(exec.queue().device, kernels::Reduce::sum, x, full.view);
  kernels::reduce(exec.queue(), kernels::Reduce::sum, x, full, exec.scratch(bytes));
}

void require_same_dtype(std::string_view operation, const Spec& a, const Spec& b) {
  if (a.dtype == b.dtype) return;
  throw TypeError(fmt::format("[{}] dtypes differ: {} {} and {} {}; convert one with to(DType::...)",
                              operation, name_of(a.dtype), to_string(a.shape), name_of(b.dtype),
                              to_string(b.shape)));
}

void require_floating(std::string_view operation, const Spec& x) {
  if (is_floating(x.dtype)) return;
  throw TypeError(fmt::format("[{}] takes floating tensors, not {} {}; convert it with to(DType::float32)",
                              operation, name_of(x.dtype), to_string(x.shape)));
}

}  // namespace reprise::ops
