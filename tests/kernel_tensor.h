// A tensor for tests of kernels: any dtype and layout, read and written as doubles, with guard bytes around
// and between its elements.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <limits>
#include <numeric>
#include <vector>

#include "reprise/kernels/threads.h"
#include "reprise/kernels/view.h"

namespace reprise::kernels {

class KernelTensor {
 public:
  /// `order` names the axes from the outermost to the innermost in memory (empty: row-major); `gap` elements
  /// lie between the runs of the innermost axis. All elements start as NaN (floating) or as guard bytes.
  KernelTensor(DType dtype, std::vector<std::int64_t> sizes, std::vector<int> order = {},
               std::int64_t gap = 0) {
    view_.rank = static_cast<int>(sizes.size());
    view_.dtype = dtype;
    if (order.empty()) {
      order.resize(sizes.size());
      std::iota(order.begin(), order.end(), 0);
    }
    std::int64_t span = 1;
    for (int axis = 0; axis < view_.rank; ++axis) view_.sizes[axis] = sizes[static_cast<std::size_t>(axis)];
    for (std::size_t i = order.size(); i-- > 0;) {
      view_.strides[order[i]] = span;
      span *= std::max<std::int64_t>(view_.sizes[order[i]], 1);
      if (i + 1 == order.size()) span += gap;
    }
    bytes_.assign(static_cast<std::size_t>(span) * size_of(dtype) + 2 * kGuard, kPattern);
    view_.data = bytes_.data() + kGuard;
    for (std::int64_t i = 0; i < numel() && is_floating(dtype); ++i)
      set(i, std::numeric_limits<double>::quiet_NaN());
  }
  KernelTensor(const KernelTensor& other) : bytes_(other.bytes_), view_(other.view_) {
    view_.data = bytes_.data() + kGuard;
  }
  KernelTensor& operator=(const KernelTensor&) = delete;

  const View& view() const { return view_; }
  operator const View&() const { return view_; }
  operator ConstView() const { return view_; }
  std::int64_t numel() const { return view_.numel(); }

  /// Element i in row-major order of the sizes.
  double get(std::int64_t i) const {
    double value = 0;
    dispatch_all(view_.dtype, [&]<class T>() { value = static_cast<double>(view_.as<T>()[offset(i)]); });
    return value;
  }
  void set(std::int64_t i, double value) {
    dispatch_all(view_.dtype,
                 [&]<class T>() { view_.as<T>()[offset(i)] = static_cast<T>(Rounded<T>(value)); });
  }
  /// Sets element i to f(i).
  template <class F>
  KernelTensor& fill(F&& f) {
    for (std::int64_t i = 0; i < numel(); ++i) set(i, f(i));
    return *this;
  }
  std::vector<double> values() const {
    std::vector<double> all;
    for (std::int64_t i = 0; i < numel(); ++i) all.push_back(get(i));
    return all;
  }

  /// Position of element i in memory, in elements.
  std::int64_t offset(std::int64_t i) const {
    std::int64_t at = 0;
    for (int axis = view_.rank - 1; axis >= 0; --axis) {
      at += i % view_.sizes[axis] * view_.strides[axis];
      i /= view_.sizes[axis];
    }
    return at;
  }

  bool same_bytes(const KernelTensor& other) const { return bytes_ == other.bytes_; }

  /// False when anything but elements was written.
  bool guards_intact() const {
    std::vector<unsigned char> seen = bytes_;
    const std::size_t width = size_of(view_.dtype);
    for (std::int64_t i = 0; i < numel(); ++i) {
      std::memset(seen.data() + kGuard + static_cast<std::size_t>(offset(i)) * width, kPattern, width);
    }
    return std::all_of(seen.begin(), seen.end(), [](unsigned char byte) { return byte == kPattern; });
  }

 private:
  static constexpr std::size_t kGuard = 64;
  static constexpr unsigned char kPattern = 0xA5;
  template <class T>
  using Rounded = std::conditional_t<sizeof(T) == 2, float, T>;

  std::vector<unsigned char> bytes_;
  View view_;
};

/// Sets the number of kernel threads for a scope.
class ThreadsScope {
 public:
  explicit ThreadsScope(int threads) : before_(num_threads()) { set_num_threads(threads); }
  ThreadsScope(const ThreadsScope&) = delete;
  ThreadsScope& operator=(const ThreadsScope&) = delete;
  ~ThreadsScope() { set_num_threads(before_); }

 private:
  int before_;
};

/// Relative rounding error of one operation in this dtype.
inline double unit_roundoff(DType dtype) {
  switch (dtype) {
    case DType::float64:
      return 0x1p-53;
    case DType::bfloat16:
      return 0x1p-8;
    case DType::float16:
      return 0x1p-11;
    default:
      return 0x1p-24;
  }
}

}  // namespace reprise::kernels
