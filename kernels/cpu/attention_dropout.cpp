// The random words of a tile of attention probabilities. Vectors run over queries, whose elements lie a row
// apart: a vector of counters then gives the words of four neighbouring keys, already in the order of the
// transposed tile.
#include "attention_tiles.h"

namespace reprise::kernels::cpu::attention {

namespace {

constexpr std::int64_t kLanes = kPhiloxCounters;
static_assert(kTile % kLanes == 0 && kTile % 4 == 0);

/// y[r] = x[r] where a lane's shift lacks the bit kMask, else x[r + kMask]: `kRows` rows of kLanes words.
template <int kRows, std::uint32_t kMask>
void shift_rows(const std::uint32_t (*x)[kLanes], const std::uint32_t* shift, std::uint32_t (*y)[kLanes]) {
  for (int r = 0; r < kRows; ++r) {
#pragma omp simd
    for (std::int64_t lane = 0; lane < kLanes; ++lane) {
      const std::uint32_t here = x[r][lane], there = x[r + static_cast<int>(kMask)][lane];
      y[r][lane] = (shift[lane] & kMask) != 0 ? there : here;
    }
  }
}

/// Rows of queries that all begin with a block: its words are those of four keys.
void aligned_columns(RandomKey key, const std::uint64_t* elements, std::int64_t keys, std::uint32_t* words) {
  std::uint64_t counters[kLanes];
  for (std::int64_t lane = 0; lane < kLanes; ++lane) counters[lane] = elements[lane] / 4;
  for (std::int64_t j = 0; j < keys; j += 4) {
    philox_lanes(key, counters, words + j * kTile, kTile);
    for (std::uint64_t& counter : counters) ++counter;
  }
}

/// Rows of queries of which some begin inside a block: each group of four keys takes words of two
/// neighbouring blocks.
void unaligned_columns(RandomKey key, const std::uint64_t* elements, std::int64_t keys,
                       std::uint32_t* words) {
  std::uint64_t counters[kLanes];
  std::uint32_t shift[kLanes], two[8][kLanes], once[6][kLanes], out[4][kLanes];
  for (std::int64_t lane = 0; lane < kLanes; ++lane) {
    counters[lane] = elements[lane] / 4;
    shift[lane] = static_cast<std::uint32_t>(elements[lane] % 4);
  }
  philox_lanes(key, counters, two[0], kLanes);
  for (std::int64_t j = 0; j < keys; j += 4) {
    for (std::uint64_t& counter : counters) ++counter;
    philox_lanes(key, counters, two[4], kLanes);
    shift_rows<6, 1>(two, shift, once);
    shift_rows<4, 2>(once, shift, out);
    for (int r = 0; r < 4; ++r) {
      std::copy(out[r], out[r] + kLanes, words + (j + r) * kTile);
      std::copy(two[4 + r], two[4 + r] + kLanes, two[r]);
    }
  }
}

}  // namespace

void DropoutTile::words(std::uint64_t first, std::int64_t length, const TileShape& shape,
                        std::uint32_t* words) const {
  const bool aligned = first % 4 == 0 && length % 4 == 0;
  for (std::int64_t i = 0; i < shape.queries; i += kLanes) {
    std::uint64_t elements[kLanes];
    for (std::int64_t lane = 0; lane < kLanes; ++lane) {
      elements[lane] = first + static_cast<std::uint64_t>((i + lane) * length);
    }
    const std::int64_t keys = shape.masked ? std::min(shape.keys, i + kLanes) : shape.keys;
    if (aligned)
      aligned_columns(key_, elements, keys, words + i);
    else
      unaligned_columns(key_, elements, keys, words + i);
  }
}

}  // namespace reprise::kernels::cpu::attention
