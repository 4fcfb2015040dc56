#include "reprise/shape.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "reprise/device_profile.h"
#include "reprise/error.h"

namespace reprise {

namespace {

void require_possible(std::span<const std::int64_t> sizes) {
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
  }
  // Eight bytes an element at most: the byte count must fit as well.
  if (!is_empty && total > INT64_MAX / 8) {
    throw ShapeError(fmt::format("[shape] ({}) is larger than any memory", fmt::join(sizes, ", ")));
  }
}

}  // namespace

Shape::Shape(std::span<const std::int64_t> sizes) {
  require_possible(sizes);
  std::copy(sizes.begin(), sizes.end(), sizes_.begin());
  rank_ = static_cast<int>(sizes.size());
}

void Shape::push_back(std::int64_t size) {
  std::array<std::int64_t, kMaxRank + 1> sizes{};
  std::copy(begin(), end(), sizes.begin());
  sizes[static_cast<std::size_t>(rank_)] = size;
  *this = Shape(std::span<const std::int64_t>(sizes).first(static_cast<std::size_t>(rank_) + 1));
}

void Shape::set(int axis, std::int64_t size) {
  Shape changed = *this;
  changed.sizes_[static_cast<std::size_t>(axis)] = size;
  require_possible(changed.span());
  *this = changed;
}

Shape Shape::without(int axis) const {
  std::array<std::int64_t, kMaxRank> sizes{};
  std::copy(begin() + axis + 1, end(), std::copy(begin(), begin() + axis, sizes.begin()));
  return Shape(std::span<const std::int64_t>(sizes).first(static_cast<std::size_t>(rank_) - 1));
}

std::string to_string(const Shape& shape) { return fmt::format("({})", fmt::join(shape.span(), ", ")); }

int normalise_axis(const char* operation, int axis, int rank) {
  if (rank == 0) throw ShapeError(fmt::format("[{}] axis {} of a tensor without axes", operation, axis));
  if (axis < -rank || axis >= rank) {
    throw ShapeError(fmt::format("[{}] axis {} of a tensor with {} axes; give {} to {}", operation, axis,
                                 rank, -rank, rank - 1));
  }
  return axis < 0 ? axis + rank : axis;
}

int normalise_axis_or_scalar(const char* operation, int axis, int rank) {
  if (rank > 0) return normalise_axis(operation, axis, rank);
  if (axis < -1 || axis > 0) {
    throw ShapeError(fmt::format("[{}] axis {} of a tensor without axes; give 0 or -1", operation, axis));
  }
  return 0;
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
