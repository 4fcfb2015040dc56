// What a kernel sees of a tensor: a pointer, an element type, sizes and strides. Views own nothing.
#pragma once

#include <array>
#include <concepts>
#include <cstdint>
#include <span>

#include "reprise/kernels/dtype.h"

namespace reprise {

inline constexpr int kMaxRank = 8;

/// Where a kernel runs.
enum class DeviceKind : std::uint8_t { cpu, cuda };

}  // namespace reprise

namespace reprise::kernels {

/// One number per axis, indexed by any integer type (axes are `int` everywhere, which std::array takes only
/// with a cast).
struct PerAxis : std::array<std::int64_t, kMaxRank> {
  using Array = std::array<std::int64_t, kMaxRank>;
  constexpr PerAxis& operator=(const std::same_as<Array> auto& values) {
    Array::operator=(values);
    return *this;
  }
  constexpr std::int64_t& operator[](std::integral auto axis) { return data()[axis]; }
  constexpr std::int64_t operator[](std::integral auto axis) const { return data()[axis]; }
};

/// Sizes and strides (in elements) of a view; a broadcast axis has stride 0.
struct Layout {
  int rank = 0;
  PerAxis sizes{}, strides{};

  std::int64_t numel() const {
    std::int64_t n = 1;
    for (int axis = 0; axis < rank; ++axis) n *= sizes[axis];
    return n;
  }
  /// True when the elements lie row-major without gaps (axes of size 1 do not count; no elements always do).
  bool is_contiguous() const {
    bool dense = true;
    std::int64_t expected = 1;
    for (int axis = rank - 1; axis >= 0; --axis) {
      if (sizes[axis] == 0) return true;
      dense &= sizes[axis] == 1 || strides[axis] == expected;
      expected *= sizes[axis];
    }
    return dense;
  }
  /// True for a rank-4 (N, C, H, W) layout whose memory order is N, H, W, C without gaps.
  bool is_channels_last() const {
    if (rank != 4) return false;
    bool dense = true;
    std::int64_t expected = 1;
    for (int axis : {1, 3, 2, 0}) {
      if (sizes[axis] == 0) return true;
      dense &= sizes[axis] == 1 || strides[axis] == expected;
      expected *= sizes[axis];
    }
    return dense;
  }
  bool same_layout(const Layout& other) const {
    if (rank != other.rank) return false;
    for (int axis = 0; axis < rank; ++axis) {
      if (sizes[axis] != other.sizes[axis]) return false;
      if (sizes[axis] != 1 && strides[axis] != other.strides[axis]) return false;
    }
    return true;
  }
};

template <class Pointer>
struct BasicView : Layout {
  Pointer data = nullptr;
  DType dtype = DType::float32;

  explicit operator bool() const { return data != nullptr; }
  template <class T>
  auto as() const {
    if constexpr (std::is_const_v<std::remove_pointer_t<Pointer>>)
      return static_cast<const T*>(data);
    else
      return static_cast<T*>(data);
  }
};

/// Memory that a kernel writes; `data` is null for an output that nobody wants.
using View = BasicView<void*>;

/// Memory that a kernel reads; converts from View; `data` is null for an absent optional input.
struct ConstView : BasicView<const void*> {
  ConstView() = default;
  ConstView(const View& view) {  // NOLINT(google-explicit-constructor): reading what may be written is safe
    static_cast<Layout&>(*this) = view;
    data = view.data;
    dtype = view.dtype;
  }
};

/// Whether a result replaces what is there or is added to it.
enum class Write : std::uint8_t { overwrite, accumulate };

/// A gradient to produce: `view.data` is null when nobody wants it.
struct Target {
  View view;
  Write write = Write::overwrite;
  explicit operator bool() const { return view.data != nullptr; }
};

/// What went wrong in a kernel that nobody waits for.
enum class DeviceFault : std::int32_t { none, embedding_id, cross_entropy_target };

/// What CUDA kernels tell the host, in device memory: the first fault since the host last looked. It is read
/// whenever the host waits for the device anyway.
struct DeviceReport {
  DeviceFault fault = DeviceFault::none;
  std::int32_t found = 0;  // the answer of `any_nan`
  std::int64_t value = 0;  // the id or target at fault
  std::int64_t bound = 0;  // it should have been in [0, bound)
};

/// The queue that a kernel runs on: the device and, on CUDA, its stream and two places in device memory.
struct Queue {
  DeviceKind device = DeviceKind::cpu;
  void* stream = nullptr;
  DeviceReport* report = nullptr;
  /// Added to every RandomKey::node, so that a captured CUDA graph draws new numbers each time; null for 0.
  const std::uint64_t* node_offset = nullptr;
  /// Kernels return at once and touch nothing.
  bool dry = false;
};

/// Scratch memory that the caller provides; every family states how many bytes it needs.
struct Workspace {
  void* data = nullptr;
  std::size_t bytes = 0;
};

/// Key of one node's random numbers: Philox4x32-10 with `seed` as key and `node` as the upper counter half.
struct RandomKey {
  std::uint64_t seed = 0;
  std::uint64_t node = 0;
  bool operator==(const RandomKey&) const = default;
};

}  // namespace reprise::kernels
