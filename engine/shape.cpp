#include "reprise/shape.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "reprise/device_profile.h"
#include "reprise/error.h"

namespace reprise {

Shape::Shape(std::span<const std::int64_t> sizes) {
  if (sizes.size() > kMaxRank) {
    throw ShapeError(
        fmt::format("[shape] {} axes asked for; a tensor has at most {}", sizes.size(), kMaxRank));
  }
  std::int64_t total = 1;
  bool is_empty = false;
  for (const std::int64_t size : sizes) {
    if (size < 0) throw ShapeError(fmt::format("[shape] negative size in ({})", fmt::join(sizes, ", ")));
    if (size == 0)
      is_empty = true;
    else if (__builtin_mul_overflow(total, size, &total)) {
      throw ShapeError(fmt::format("[shape] ({}) has more than 2^63 - 1 elements", fmt::join(sizes, ", ")));
    }
    sizes_[static_cast<std::size_t>(rank_++)] = size;
  }
  // Eight bytes an element at most: the byte count must fit as well.
  if (!is_empty && total > INT64_MAX / 8) {
    throw ShapeError(fmt::format("[shape] ({}) is larger than any memory", fmt::join(sizes, ", ")));
  }
}

void Shape::push_back(std::int64_t size) {
  if (rank_ == kMaxRank) throw ShapeError(fmt::format("[shape] a tensor has at most {} axes", kMaxRank));
  sizes_[static_cast<std::size_t>(rank_++)] = size;
}

std::string to_string(const Shape& shape) { return fmt::format("({})", fmt::join(shape.span(), ", ")); }

int normalise_axis(const char* operation, int axis, int rank) {
  if (axis < -rank || axis >= rank) {
    throw ShapeError(fmt::format("[{}] axis {} of a tensor with {} axes; give {} to {}", operation, axis,
                                 rank, -rank, rank - 1));
  }
  return axis < 0 ? axis + rank : axis;
}

std::array<std::int64_t, kMaxRank> row_major_strides(const Shape& shape) {
  std::array<std::int64_t, kMaxRank> strides{};
  std::int64_t stride = 1;
  for (int axis = shape.rank() - 1; axis >= 0; --axis) {
    strides[static_cast<std::size_t>(axis)] = stride;
    stride *= std::max<std::int64_t>(shape[axis], 1);
  }
  return strides;
}

std::array<std::int64_t, kMaxRank> channels_last_strides(const Shape& shape) {
  std::array<std::int64_t, kMaxRank> strides{};
  std::int64_t stride = 1;
  for (const int axis : {1, 3, 2, 0}) {
    strides[static_cast<std::size_t>(axis)] = stride;
    stride *= std::max<std::int64_t>(shape[axis], 1);
  }
  return strides;
}

std::string to_string(Device device) {
  if (device.is_dry) return fmt::format("{} (dry)", profile_of(device).name);
  return device.kind == DeviceKind::cpu ? "cpu" : fmt::format("cuda:{}", device.index);
}

}  // namespace reprise
