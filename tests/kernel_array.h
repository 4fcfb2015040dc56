// A tensor for tests of kernels: any dtype and layout, read and written as doubles, with guard bytes around
// and between its elements.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <stdexcept>
#include <vector>

#include "reprise/kernels/view.h"

namespace reprise::kernels {

/// How the elements lie: row-major; the axes in reverse order (for rank 4: channels-last); or with gaps.
enum class Placement { row_major, permuted, gaps };

inline constexpr Placement kPlacements[] = {Placement::row_major, Placement::permuted, Placement::gaps};
inline constexpr DType kFloatingTypes[] = {DType::float32, DType::float64, DType::bfloat16, DType::float16};
inline constexpr DType kAllTypes[] = {DType::float32, DType::float64, DType::bfloat16, DType::float16,
                                      DType::int32,   DType::int64,   DType::boolean};

/// Relative error of one rounding to this type.
inline double epsilon_of(DType dtype) {
  switch (dtype) {
    case DType::float32:
      return 0x1p-24;
    case DType::float64:
      return 0x1p-53;
    case DType::bfloat16:
      return 0x1p-9;
    case DType::float16:
      return 0x1p-11;
    default:
      return 0;
  }
}

class KernelArray {
 public:
  using Sizes = std::vector<std::int64_t>;

  explicit KernelArray(DType dtype, const Sizes& sizes, Placement placement = Placement::row_major) {
    if (sizes.size() > kMaxRank) throw std::logic_error("rank too large");
    view_.dtype = dtype;
    view_.rank = static_cast<int>(sizes.size());
    std::vector<std::size_t> order(sizes.size());
    for (std::size_t axis = 0; axis < sizes.size(); ++axis) {
      view_.sizes[axis] = sizes[axis];
      order[axis] = sizes.size() - 1 - axis;  // the innermost axis first
    }
    if (placement == Placement::permuted) {
      if (sizes.size() == 4)
        order = {1, 3, 2, 0};
      else
        for (std::size_t axis = 0; axis < sizes.size(); ++axis) order[axis] = axis;
    }
    std::int64_t extent = placement == Placement::gaps ? 2 : 1;
    for (const std::size_t axis : order) {
      view_.strides[axis] = extent;
      extent *= sizes[axis];
      if (placement == Placement::gaps) extent += 1;
    }
    bytes_.assign((static_cast<std::size_t>(extent) + 2 * kGuard) * size_of(dtype), kPoison);
    view_.data = bytes_.data() + kGuard * size_of(dtype);
  }

  KernelArray(const KernelArray&) = delete;
  KernelArray& operator=(const KernelArray&) = delete;

  const View& view() const { return view_; }
  std::int64_t numel() const { return view_.numel(); }

  /// This array with its axes of size 1 repeated to `sizes`.
  ConstView broadcast(const Sizes& sizes) const {
    View view = view_;
    for (std::size_t axis = 0; axis < sizes.size(); ++axis) {
      if (view.sizes[axis] == sizes[axis]) continue;
      view.sizes[axis] = sizes[axis];
      view.strides[axis] = 0;
    }
    return view;
  }

  /// Element i in row-major order of the sizes of `view`, which looks at any array.
  static double get(const ConstView& view, std::int64_t i) {
    double value = 0;
    dispatch_all(view.dtype, [&]<class T>() {
      value = static_cast<double>(static_cast<Compute<T>>(view.as<T>()[offset(view, i)]));
    });
    return value;
  }
  double operator[](std::int64_t i) const { return get(view_, i); }

  void set(std::int64_t i, double value) {
    dispatch_all(view_.dtype, [&]<class T>() {
      view_.as<T>()[offset(view_, i)] = static_cast<T>(static_cast<Compute<T>>(value));
    });
  }
  template <class F>
  KernelArray& fill(F&& value_of) {
    for (std::int64_t i = 0; i < numel(); ++i) set(i, value_of(i));
    return *this;
  }
  KernelArray& fill_uniform(double low, double high, unsigned seed) {
    std::mt19937 generator(seed);
    std::uniform_real_distribution<double> uniform(low, high);
    return fill([&](std::int64_t) { return uniform(generator); });
  }

  std::vector<double> values() const {
    std::vector<double> result(static_cast<std::size_t>(numel()));
    for (std::int64_t i = 0; i < numel(); ++i) result[static_cast<std::size_t>(i)] = (*this)[i];
    return result;
  }

  /// True while no byte outside the elements was written.
  bool guards_intact() const {
    std::vector<bool> element(bytes_.size(), false);
    for (std::int64_t i = 0; i < numel(); ++i) {
      const std::size_t at = (static_cast<std::size_t>(offset(view_, i)) + kGuard) * size_of(view_.dtype);
      for (std::size_t byte = 0; byte < size_of(view_.dtype); ++byte) element[at + byte] = true;
    }
    for (std::size_t i = 0; i < bytes_.size(); ++i) {
      if (!element[i] && bytes_[i] != kPoison) return false;
    }
    return true;
  }

  const std::vector<std::byte>& bytes() const { return bytes_; }

 private:
  static constexpr std::size_t kGuard = 64;
  static constexpr std::byte kPoison{0xA5};

  static std::int64_t offset(const Layout& layout, std::int64_t i) {
    std::int64_t result = 0;
    for (auto axis = static_cast<std::size_t>(layout.rank); axis-- > 0;) {
      result += i % layout.sizes[axis] * layout.strides[axis];
      i /= layout.sizes[axis];
    }
    return result;
  }

  View view_;
  std::vector<std::byte> bytes_;
};

}  // namespace reprise::kernels
