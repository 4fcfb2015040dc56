// Rows that a warp or a block works on together: each thread holds packs of them in registers, so that
// several passes over a row read it from memory once; rows that are too long for that are read again in each
// pass.
//
// Packs begin at 16-byte boundaries even where a row does not: its first and last pack then hold elements
// that are not the row's, which are never touched and read as a value of the kernel's choice.
#pragma once

#include <cmath>

#include "cuda/packs.cuh"
#include "cuda/reduce.cuh"

namespace reprise::kernels::cuda {

/// Threads of a block that holds one row, at most.
inline constexpr int kHeldThreads = 512;

/// How a row is shared out. Each thread loads `kPacks` packs of `kVec` elements at once; where `kHeld` that
/// is the whole row. Where `kWhole`, all elements of all packs are the row's.
template <int kVec_, int kPacks_, bool kHeld_, bool kBlock_, bool kWhole_ = false>
struct RowShape {
  static constexpr int kVec = kVec_, kPacks = kPacks_;
  static constexpr bool kHeld = kHeld_;    // else every pass reads the row again
  static constexpr bool kBlock = kBlock_;  // a block per row, else a warp
  static constexpr bool kWhole = kWhole_ || kVec_ == 1;
  static constexpr int kWarpRows = 4;  // rows of a block with a warp per row
  static constexpr int kMaxThreads = !kBlock_ ? kWarp * kWarpRows : kHeld_ ? kHeldThreads : 256;
  static constexpr int kMinBlocks = kHeld_ || !kWhole ? 1 : 2;  // of a multiprocessor

  /// Blocks and threads for rows of so many packs.
  static dim3 block(std::int64_t packs) {
    if (!kBlock) return dim3(kWarp, kWarpRows);
    const std::int64_t threads = kHeld ? ceil_div(packs, kPacks * kWarp) * kWarp : kMaxThreads;
    return dim3(static_cast<unsigned>(threads));
  }
  static dim3 grid(std::int64_t rows) {
    return dim3(static_cast<unsigned>(kBlock ? rows : ceil_div(rows, kWarpRows)));
  }

  __device__ static std::int64_t row() {
    return static_cast<std::int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
  }
  __device__ static float sum(float value) {
    if constexpr (kBlock)
      return block_sum(value);
    else
      return warp_sum(value);
  }
  __device__ static float max(float value) {
    if constexpr (kBlock)
      return block_combine(value, MaxOf{}, -INFINITY);
    else
      return warp_max(value);
  }
};

/// Calls f.template operator()<Shape>() with a shape for rows of so many packs of kVec elements, for a kernel
/// that reads `kTensors` of them. A thread holds at most 64 bytes of a row.
template <int kVec, bool kWhole, int kTensors, class F>
void dispatch_row_shape(std::int64_t packs, F&& f) {
  constexpr bool kSingle = kVec == 1;
  constexpr int kLong = kSingle ? 8 : 4, kOfBlock = kSingle ? 8 : 16 / kVec;
  if (!kSingle && packs <= kWarp)
    f.template operator()<RowShape<kVec, kSingle ? kLong : 1, true, false, kWhole>>();
  else if (packs <= kWarp * kLong)
    f.template operator()<RowShape<kVec, kLong, true, false, kWhole>>();
  else if (packs <= kHeldThreads * kOfBlock)
    f.template operator()<RowShape<kVec, kOfBlock, true, true, kWhole>>();
  else
    f.template operator()<RowShape<kVec, kSingle ? kLong : kLong / kTensors, false, true, kWhole>>();
}

/// How a row lies in packs.
template <class T, class Shape>
class RowPacks {
 public:
  static constexpr int kVec = Shape::kVec;

  __device__ RowPacks(const T* row, int columns)
      : columns_(columns),
        shift_(Shape::kWhole ? 0 : static_cast<int>(reinterpret_cast<std::uintptr_t>(row) % 16 / sizeof(T))) {
  }

  __device__ int count() const { return (shift_ + columns_ + kVec - 1) / kVec; }
  /// Column of the first element of a pack; negative before the row's begin.
  __device__ int column(int pack) const { return pack * kVec - shift_; }

  /// Whether all elements of a pack are the row's.
  __device__ bool is_whole(int pack) const { return Shape::kWhole ? pack < count() : whole(column(pack)); }
  /// Whether the first, or the last pack holds elements that are not the row's.
  __device__ bool begins_before() const { return !Shape::kWhole && shift_ != 0; }
  __device__ bool ends_behind() const { return !Shape::kWhole && (shift_ + columns_) % kVec != 0; }

  /// A pack that is not whole, element by element.
  __device__ __forceinline__ Pack<T, kVec> read_edge(const T* row, int pack, float fill) const {
    const int first = column(pack);
    T values[kVec];
#pragma unroll
    for (int i = 0; i < kVec; ++i) values[i] = inside(first + i) ? row[first + i] : from_compute<T>(fill);
    return join_elements(values);
  }
  /// row (=, +=) values
  __device__ __forceinline__ void write(T* row, int pack, float (&values)[kVec], bool accumulate) const {
    const int first = column(pack);
    T* const to = row + first;
    if constexpr (kVec > 1) {
      if (whole(first)) return simt::store16(to, result_pack(to, values, accumulate));
    }
#pragma unroll
    for (int i = 0; i < kVec; ++i) {
      if (kVec > 1 && !inside(first + i)) continue;
      const float before = accumulate ? to_compute(to[i]) : 0.0f;
      to[i] = from_compute<T>(accumulate ? before + values[i] : values[i]);
    }
  }

 private:
  __device__ bool inside(int column) const { return column >= 0 && column < columns_; }
  __device__ bool whole(int column) const {
    return Shape::kWhole || (column >= 0 && column + kVec <= columns_);
  }

  int columns_, shift_;
};

/// One thread's share of a row.
template <class T, class Shape>
class RowShare {
 public:
  using Packs = RowPacks<T, Shape>;

  /// `fill` stands for what lies before and behind the row.
  __device__ RowShare(const Packs& packs, const T* row, float fill) : row_(row), fill_(fill) {
    if constexpr (Shape::kHeld) load(packs, 0);
  }
  __device__ __forceinline__ void load(const Packs& packs, int base) {
    const int first = base + static_cast<int>(threadIdx.x), step = static_cast<int>(blockDim.x);
#pragma unroll
    for (int slot = 0; slot < Shape::kPacks; ++slot) {
      const int pack = first + slot * step;
      if (packs.is_whole(pack)) held_[slot] = read_pack<Shape::kVec>(row_ + packs.column(pack));
    }
    // Apart from the loads above, which would wait for each other if there were branches between them.
    if (packs.begins_before() && first == 0) held_[0] = packs.read_edge(row_, 0, fill_);
    if (!packs.ends_behind()) return;
    const int last = packs.count() - 1;
    bool own = false;
#pragma unroll
    for (int slot = 0; slot < Shape::kPacks; ++slot) own |= first + slot * step == last;
    if (!own) return;
    const Pack<T, Shape::kVec> edge = packs.read_edge(row_, last, fill_);
#pragma unroll
    for (int slot = 0; slot < Shape::kPacks; ++slot) {
      if (first + slot * step == last) held_[slot] = edge;
    }
  }
  __device__ __forceinline__ void values(int slot, float (&to)[Shape::kVec]) const {
    convert(held_[slot], to);
  }

 private:
  const T* row_;
  float fill_;
  Pack<T, Shape::kVec> held_[Shape::kPacks] = {};
};

/// Calls f(slot, pack) for the packs of this thread in the round from `base` on, which are in their slots.
template <class Shape, class T, class F>
__device__ __forceinline__ void for_each_slot(const RowPacks<T, Shape>& packs, int base, F&& f) {
  const int count = packs.count();
#pragma unroll
  for (int slot = 0; slot < Shape::kPacks; ++slot) {
    const int pack = base + slot * static_cast<int>(blockDim.x) + static_cast<int>(threadIdx.x);
    if (pack < count) f(slot, pack);
  }
}

/// Calls f(slot, pack) for every pack of this thread, after `shares` (of rows that lie alike) have it in
/// `slot`. All loads of a round come before its first call, which may therefore write what the shares read.
template <class Shape, class T, class F, class... Shares>
__device__ __forceinline__ void for_each_pack(const RowPacks<T, Shape>& packs, F&& f, Shares&... shares) {
  const int count = packs.count(), round = Shape::kPacks * static_cast<int>(blockDim.x);
  for (int base = 0; base < count; base += round) {
    if constexpr (!Shape::kHeld) (shares.load(packs, base), ...);
    for_each_slot(packs, base, f);
    if constexpr (Shape::kHeld) break;
  }
}

}  // namespace reprise::kernels::cuda
