#include <algorithm>
#include <cstdlib>

#include "reprise/detail/inline_vector.h"
#include "reprise/in_place.h"

namespace reprise {

bool has_distinct_elements(const Tensor& tensor) {
  struct Axis {
    std::int64_t stride, steps;
  };
  if (tensor.numel() == 0) return true;
  detail::InlineVector<Axis, kMaxRank> axes;
  for (int axis = 0; axis < tensor.rank(); ++axis) {
    const std::int64_t steps = tensor.shape()[axis] - 1;
    if (steps > 0) axes.push_back({std::abs(tensor.strides()[static_cast<std::size_t>(axis)]), steps});
  }
  std::sort(axes.begin(), axes.end(), [](const Axis& a, const Axis& b) { return a.stride < b.stride; });
  std::int64_t reach = 0;  // of the smaller strides together
  for (const Axis& axis : axes) {
    if (axis.stride <= reach) return false;
    reach += axis.stride * axis.steps;
  }
  return true;
}

}  // namespace reprise
