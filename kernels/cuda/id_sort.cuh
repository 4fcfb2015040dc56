// A stable sort of (id, position) by id: least significant digit first, 8 bits a pass (Satish et al. 2009).
//
// Each pass: blocks count the digits of their tiles, one block per digit scans its counts over the tiles, and
// blocks move their tiles' items. Within a tile, warps take consecutive items 32 at a time, and equal digits
// of a warp are ranked by lane, so that equal ids stay in order. Integer atomics only count.
#pragma once

#include <bit>

#include "cuda/indices.cuh"
#include "cuda/launch.h"
#include "cuda/reduce.cuh"
#include "cuda/workspace/runs.h"

namespace reprise::kernels::cuda {

/// Items being sorted; before the first pass, the ids themselves. An id outside [0, bound) becomes `bound`,
/// which comes last.
struct SortItems {
  const std::uint32_t* keys;  // null in the first pass
  const std::int32_t* positions;
  Indices ids;
  std::int64_t bound;

  __device__ std::uint32_t key(int i) const {
    if (keys != nullptr) return keys[i];
    const std::int64_t id = ids[i];
    return static_cast<std::uint32_t>(id >= 0 && id < bound ? id : bound);
  }
  __device__ std::int32_t position(int i) const { return keys != nullptr ? positions[i] : i; }
};

__device__ inline int digit_of(std::uint32_t key, int shift) {
  return static_cast<int>(key >> shift & (kDigits - 1));
}

/// counts[digit * tiles + tile] = items of the tile with that digit.
static __global__ void __launch_bounds__(kSortThreads, 1)
    count_digits_kernel(SortItems items, int count, int shift, int tiles, int* __restrict__ counts) {
  SIMT_SHARED(int, of_digit, [kDigits]);
  const int thread = static_cast<int>(threadIdx.x), tile = static_cast<int>(blockIdx.x);
  of_digit[thread] = 0;
  __syncthreads();
#pragma unroll
  for (int round = 0; round < kSortRounds; ++round) {
    const int i = tile * kSortTile + round * kSortThreads + thread;
    if (i < count) atomicAdd(&of_digit[digit_of(items.key(i), shift)], 1);
  }
  __syncthreads();
  counts[thread * tiles + tile] = of_digit[thread];
}

/// Sum over the threads before this one; `total` is that over all of them.
__device__ inline int exclusive_scan(int value, int& total) {
  SIMT_SHARED(int, of_warp, [kSortWarps]);
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  int inclusive = value;
#pragma unroll
  for (int offset = 1; offset < kWarp; offset *= 2) {
    const int before = __shfl_up_sync(kAllLanes, inclusive, static_cast<unsigned>(offset));
    if (lane >= offset) inclusive += before;
  }
  if (lane == kWarp - 1) of_warp[warp] = inclusive;
  __syncthreads();
  int before = 0;
  total = 0;
#pragma unroll
  for (int i = 0; i < kSortWarps; ++i) {
    if (i < warp) before += of_warp[i];
    total += of_warp[i];
  }
  __syncthreads();
  return before + inclusive - value;
}

/// Replaces the counts of one digit by their sums over the tiles before; totals[digit] = all of them.
static __global__ void __launch_bounds__(kSortThreads, 1)
    scan_tiles_kernel(int tiles, int* __restrict__ counts, int* __restrict__ totals) {
  int* const of_tile = counts + static_cast<int>(blockIdx.x) * tiles;
  int before = 0;
  for (int first = 0; first < tiles; first += kSortThreads) {
    const int tile = first + static_cast<int>(threadIdx.x);
    int total = 0;
    const int value = exclusive_scan(tile < tiles ? of_tile[tile] : 0, total);
    if (tile < tiles) of_tile[tile] = before + value;
    before += total;
  }
  if (threadIdx.x == 0) totals[blockIdx.x] = before;
}

/// Moves the items of a tile to where they belong.
static __global__ void __launch_bounds__(kSortThreads, 1)
    move_items_kernel(SortItems items, int count, int shift, int tiles, const int* __restrict__ counts,
                      const int* __restrict__ totals, std::uint32_t* __restrict__ keys,
                      std::int32_t* __restrict__ positions) {
  SIMT_SHARED(int, place, [kSortWarps][kDigits]);  // counts of a warp, then where its first item goes
  const int thread = static_cast<int>(threadIdx.x), lane = thread % kWarp, warp = thread / kWarp;
  for (int i = 0; i < kSortWarps; ++i) place[i][thread] = 0;
  __syncthreads();
  const int first = static_cast<int>(blockIdx.x) * kSortTile + warp * kSortRounds * kWarp + lane;
  int rank[kSortRounds];
#pragma unroll
  for (int round = 0; round < kSortRounds; ++round) {
    const int i = first + round * kWarp;
    const int digit = i < count ? digit_of(items.key(i), shift) : kDigits;
    const unsigned peers = __match_any_sync(kAllLanes, digit);
    const int before = digit < kDigits ? place[warp][digit] : 0;
    rank[round] = before + __popc(peers & ((1u << lane) - 1));
    __syncwarp();
    if (digit < kDigits && (peers >> lane) == 1)
      place[warp][digit] = rank[round] + 1;  // the last of its peers
    __syncwarp();
  }
  int all = 0;  // the scan's barriers stand between the counts above and their readers below
  int next = exclusive_scan(totals[thread], all) + counts[thread * tiles + static_cast<int>(blockIdx.x)];
  for (int i = 0; i < kSortWarps; ++i) {
    const int items_of_warp = place[i][thread];
    place[i][thread] = next;
    next += items_of_warp;
  }
  __syncthreads();
#pragma unroll
  for (int round = 0; round < kSortRounds; ++round) {
    const int i = first + round * kWarp;
    if (i >= count) continue;
    const std::uint32_t key = items.key(i);
    const int to = place[warp][digit_of(key, shift)] + rank[round];
    keys[to] = key;
    positions[to] = items.position(i);
  }
}

/// Sorts ids[0 .. count); the result is in keys[side] and positions[side] of the side returned.
inline int sort_ids(const char* operation, const Queue& queue, const Indices& ids, int count,
                    std::int64_t bound, const SortSpace& space) {
  const int tiles = static_cast<int>(ceil_div(count, kSortTile));
  const int bits = static_cast<int>(std::bit_width(static_cast<std::uint64_t>(bound)));
  const dim3 grid(static_cast<unsigned>(tiles)), block(kSortThreads);
  SortItems items{nullptr, nullptr, ids, bound};
  int side = 1;
  for (int shift = 0; shift < bits; shift += kDigitBits) {
    side = 1 - side;
    launch(operation, queue, count_digits_kernel, grid, block, 0, items, count, shift, tiles, space.counts);
    launch(operation, queue, scan_tiles_kernel, dim3(kDigits), block, 0, tiles, space.counts, space.totals);
    launch(operation, queue, move_items_kernel, grid, block, 0, items, count, shift, tiles, space.counts,
           space.totals, space.keys[side], space.positions[side]);
    items.keys = space.keys[side];
    items.positions = space.positions[side];
  }
  return side;
}

}  // namespace reprise::kernels::cuda
