// Questions about all elements of a tensor: the sum of squares, and whether there is a NaN.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstddef>

#include "axes.h"
#include "parallel.h"
#include "reprise/error.h"
#include "reprise/kernels/reduce.h"

namespace reprise::kernels::cpu {

namespace {

constexpr std::int64_t kGroupElements = 32768;
constexpr std::int64_t kMaxGroups = 256;
constexpr std::int64_t kTileElements = 4096;

/// Calls f(row, count, stride) for the rows that hold the elements [begin, end) in the order of memory.
template <class T, class F>
void for_each_row(const Axes<1>& axes, const T* data, std::int64_t begin, std::int64_t end, F&& f) {
  const auto inner = static_cast<std::size_t>(axes.rank) - 1;
  const std::int64_t row_stride = inner > 0 ? axes.strides[0][inner - 1] : 0;
  for_each_tile(axes, begin, end, kTileElements, [&](const Tile<1>& tile) {
    for (std::int64_t r = 0; r < tile.rows; ++r) {
      f(data + tile.offsets[0] + r * row_stride, tile.cols, axes.strides[0][inner]);
    }
  });
}

template <class T>
double squares(const T* row, std::int64_t n, std::int64_t stride) {
  double sum = 0;
  if (stride == 1) {
    const std::int64_t half = n / 2;
    double s0 = 0, s1 = 0;
#pragma omp simd reduction(+ : s0, s1)
    for (std::int64_t i = 0; i < half; ++i) {
      const auto a = static_cast<double>(static_cast<Compute<T>>(row[i]));
      const auto b = static_cast<double>(static_cast<Compute<T>>(row[i + half]));
      s0 += a * a;
      s1 += b * b;
    }
    sum = s0 + s1;
    row += 2 * half;
    n -= 2 * half;
  }
  for (std::int64_t i = 0; i < n; ++i) {
    const auto value = static_cast<double>(static_cast<Compute<T>>(row[i * stride]));
    sum += value * value;
  }
  return sum;
}

template <class T>
double sum_of_squares(const ConstView& x) {
  const Axes<1> axes = collapse<1>({&x});
  const std::int64_t n = axes.numel();
  // Groups depend on the size alone, so that the order of additions does too.
  const std::int64_t group = std::max(kGroupElements, (n + kMaxGroups - 1) / kMaxGroups);
  const std::int64_t groups = (n + group - 1) / group;
  double partial[kMaxGroups];
  parallel_for(groups, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      double sum = 0;
      for_each_row(
          axes, x.as<T>(), i * group, std::min(n, (i + 1) * group),
          [&](const T* row, std::int64_t count, std::int64_t stride) { sum += squares(row, count, stride); });
      partial[i] = sum;
    }
  });
  double total = 0;
  for (std::int64_t i = 0; i < groups; ++i) total += partial[i];
  return total;
}

template <class T>
bool row_has_nan(const T* row, std::int64_t n, std::int64_t stride) {
  int found = 0;
  if (stride == 1) {
#pragma omp simd reduction(| : found)
    for (std::int64_t i = 0; i < n; ++i) {
      const Compute<T> value = row[i];
      found |= value != value ? 1 : 0;
    }
  } else {
    for (std::int64_t i = 0; i < n; ++i) {
      const Compute<T> value = row[i * stride];
      found |= value != value ? 1 : 0;
    }
  }
  return found != 0;
}

}  // namespace

std::size_t global_norm_workspace_bytes(DeviceKind, std::span<const ConstView>) { return 0; }

void global_norm(const Queue&, std::span<const ConstView> tensors, double max_norm, const View& norm,
                 const View& scale, const Workspace&) {
  double total = 0;
  for (const ConstView& tensor : tensors) {
    if (tensor.numel() == 0) continue;
    if (!dispatch_floating(tensor.dtype, [&]<class T>() { total += sum_of_squares<T>(tensor); }))
      throw TypeError("[global_norm] the tensors must be floating");
  }
  const double root = std::sqrt(total);
  *norm.as<double>() = root;
  if (scale) *scale.as<double>() = max_norm > 0 && !(root <= max_norm) ? max_norm / root : 1.0;
}

bool any_nan(const Queue&, const ConstView& x) {
  if (x.numel() == 0) return false;
  std::atomic<bool> found{false};
  dispatch_floating(x.dtype, [&]<class T>() {
    const Axes<1> axes = collapse<1>({&x});
    parallel_for(axes.numel(), kGroupElements, [&](std::int64_t begin, std::int64_t end) {
      for_each_row(axes, x.as<T>(), begin, end, [&](const T* row, std::int64_t count, std::int64_t stride) {
        if (!found.load(std::memory_order_relaxed) && row_has_nan(row, count, stride)) {
          found.store(true, std::memory_order_relaxed);
        }
      });
    });
  });
  return found.load(std::memory_order_relaxed);
}

}  // namespace reprise::kernels::cpu
