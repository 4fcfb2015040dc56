// Sizes of a tensor, and what is known of a tensor before it has a value.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

#include "reprise/kernels/view.h"

namespace reprise {

/// Up to eight sizes, outermost first, that a tensor can have: none is negative, and the bytes of any element
/// type fit 64 bits.
class Shape {
 public:
  Shape() = default;
  /// Throws ShapeError for a negative size, more than eight axes or more elements than any memory holds.
  Shape(std::initializer_list<std::int64_t> sizes)  // NOLINT(google-explicit-constructor): written as {2, 3}
      : Shape(std::span<const std::int64_t>(sizes.begin(), sizes.size())) {}
  explicit Shape(std::span<const std::int64_t> sizes);

  int rank() const { return rank_; }
  std::int64_t operator[](int axis) const { return sizes_[static_cast<std::size_t>(axis)]; }
  std::int64_t numel() const {
    std::int64_t n = 1;
    for (int axis = 0; axis < rank_; ++axis) n *= (*this)[axis];
    return n;
  }
  const std::int64_t* begin() const { return sizes_.data(); }
  const std::int64_t* end() const { return sizes_.data() + rank_; }
  std::span<const std::int64_t> span() const { return {sizes_.data(), static_cast<std::size_t>(rank_)}; }
  /// One more axis behind the others. Throws as the constructor does, and leaves the shape as it was.
  void push_back(std::int64_t size);
  /// Gives an axis another size. Throws as the constructor does, and leaves the shape as it was.
  void set(int axis, std::int64_t size);
  /// The other axes of a shape with at least one.
  Shape without(int axis) const;
  bool operator==(const Shape& other) const {
    if (rank_ != other.rank_) return false;
    for (int axis = 0; axis < rank_; ++axis) {
      if ((*this)[axis] != other[axis]) return false;
    }
    return true;
  }

 private:
  int rank_ = 0;
  std::array<std::int64_t, kMaxRank> sizes_{};
};

/// "(4, 3)"; "()" for a scalar.
std::string to_string(const Shape& shape);

/// The axis counted from the front; negative ones count from the back. Throws ShapeError naming `operation`.
int normalise_axis(const char* operation, int axis, int rank);

/// The same for an operation that takes a tensor without axes, too: its axis is 0 or -1, as if it had one.
int normalise_axis_or_scalar(const char* operation, int axis, int rank);

/// Row-major strides in elements.
std::array<std::int64_t, kMaxRank> row_major_strides(const Shape& shape);

/// Strides of a (N, C, H, W) tensor whose memory order is N, H, W, C.
std::array<std::int64_t, kMaxRank> channels_last_strides(const Shape& shape);

struct DeviceProfile;

/// A place where tensors live. Those on a dry device have sizes and take memory of a simulated capacity, but
/// no values: everything runs on it except the kernels.
struct Device {
  DeviceKind kind = DeviceKind::cpu;  // of a dry one: that of the device which it stands for
  int index = 0;
  bool is_dry = false;
  static constexpr Device cpu() { return {}; }
  static constexpr Device cuda(int index = 0) { return {DeviceKind::cuda, index}; }
  /// Stands for a device of that profile; equal profiles give equal devices.
  static Device dry(const DeviceProfile& profile);
  bool operator==(const Device&) const = default;
};

/// "cpu", "cuda:0", "h200 (dry)".
std::string to_string(Device device);

/// The device that new tensors of this thread are made on, where nothing else is said: the CPU at first.
Device default_device();

/// What is known of a tensor before it has a value.
struct Spec {
  DType dtype = DType::float32;
  Device device;
  bool channels_last = false;  // memory order of a rank-4 tensor
  Shape shape;

  std::size_t bytes() const { return static_cast<std::size_t>(shape.numel()) * size_of(dtype); }
};

}  // namespace reprise
