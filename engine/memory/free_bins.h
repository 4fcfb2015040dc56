// The free blocks of a pool by size: lists of one size each up to 2 MiB, 16 lists per power of two above.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "memory/block_record.h"

namespace reprise::detail {

inline constexpr std::size_t kGranularity = 256;

inline std::size_t round_up(std::size_t bytes, std::size_t multiple) {
  return (bytes + multiple - 1) / multiple * multiple;
}

class FreeBins {
 public:
  void insert(BlockRecord* block) noexcept {
    const std::size_t bin = bin_of(block->allocated);
    BlockRecord* const next = heads_[bin];
    block->previous_free = nullptr;
    block->next_free = next;
    if (next != nullptr) next->previous_free = block;
    heads_[bin] = block;
    words_[bin / 64] |= bit(bin);
    summary_[bin / 4096] |= bit(bin / 64);
  }

  void remove(BlockRecord* block) noexcept {
    BlockRecord* const next = block->next_free;
    if (next != nullptr) next->previous_free = block->previous_free;
    if (block->previous_free != nullptr) {
      block->previous_free->next_free = next;
      return;
    }
    const std::size_t bin = bin_of(block->allocated);
    heads_[bin] = next;
    if (next != nullptr) return;
    words_[bin / 64] &= ~bit(bin);
    if (words_[bin / 64] == 0) summary_[bin / 4096] &= ~bit(bin / 64);
  }

  /// The smallest free block of at least `bytes` (among equals the one freed last), taken out; null when
  /// there is none.
  BlockRecord* take_best(std::size_t bytes) noexcept {
    std::size_t bin = bin_of(bytes);
    BlockRecord* best = smallest(bin, bytes);
    if (best == nullptr) {
      bin = next_filled(bin + 1);
      if (bin == kBins) return nullptr;
      best = smallest(bin, bytes);
    }
    remove(best);
    return best;
  }

  /// The same among those that `accepts(const BlockRecord&)`.
  template <class Accepts>
  BlockRecord* take_best(std::size_t bytes, Accepts&& accepts) noexcept {
    for (std::size_t bin = next_filled(bin_of(bytes)); bin != kBins; bin = next_filled(bin + 1)) {
      BlockRecord* best = nullptr;
      for (BlockRecord* b = heads_[bin]; b != nullptr; b = b->next_free) {
        const bool better = best == nullptr || b->allocated < best->allocated;
        if (b->allocated >= bytes && better && accepts(*b)) best = b;
      }
      if (best == nullptr) continue;
      remove(best);
      return best;
    }
    return nullptr;
  }

  /// Bytes of the largest free block, 0 when there is none.
  std::size_t largest() const noexcept {
    std::size_t result = 0;
    for (std::size_t bin = next_filled(0); bin != kBins; bin = next_filled(bin + 1)) {
      for (const BlockRecord* b = heads_[bin]; b != nullptr; b = b->next_free) {
        if (b->allocated > result) result = b->allocated;
      }
    }
    return result;
  }

 private:
  static constexpr std::size_t kExactBits = 13;  // one bin per size below 2^13 granules
  static constexpr std::size_t kExact = std::size_t{1} << kExactBits;
  static constexpr std::size_t kStepBits = 4;
  static constexpr std::size_t kBins = kExact + ((64 - 8 - kExactBits) << kStepBits);
  static constexpr std::size_t kWords = kBins / 64 + 1;
  static constexpr std::size_t kSummaries = kWords / 64 + 1;

  static std::uint64_t bit(std::size_t i) noexcept { return std::uint64_t{1} << (i % 64); }

  static std::size_t bin_of(std::size_t bytes) noexcept {
    const std::size_t granules = bytes / kGranularity;
    if (granules < kExact) return granules;
    const auto exponent = static_cast<std::size_t>(std::bit_width(granules)) - 1;
    const std::size_t step = (granules >> (exponent - kStepBits)) & ((std::size_t{1} << kStepBits) - 1);
    return kExact + ((exponent - kExactBits) << kStepBits) + step;
  }

  BlockRecord* smallest(std::size_t bin, std::size_t at_least) const noexcept {
    if (bin < kExact) return heads_[bin];
    BlockRecord* best = nullptr;
    for (BlockRecord* b = heads_[bin]; b != nullptr; b = b->next_free) {
      if (b->allocated < at_least || (best != nullptr && b->allocated >= best->allocated)) continue;
      best = b;
      if (best->allocated == at_least) break;
    }
    return best;
  }

  /// The first bin from `bin` on that holds a block, kBins when there is none.
  std::size_t next_filled(std::size_t bin) const noexcept {
    const std::size_t word = bin / 64;
    if (const std::uint64_t here = words_[word] & (~std::uint64_t{0} << (bin % 64)))
      return word * 64 + lowest(here);
    std::size_t group = (word + 1) / 64;
    std::uint64_t words = group < kSummaries ? summary_[group] & (~std::uint64_t{0} << ((word + 1) % 64)) : 0;
    while (words == 0) {
      if (++group >= kSummaries) return kBins;
      words = summary_[group];
    }
    const std::size_t found = group * 64 + lowest(words);
    return found * 64 + lowest(words_[found]);
  }

  static std::size_t lowest(std::uint64_t bits) noexcept {
    return static_cast<std::size_t>(std::countr_zero(bits));
  }

  std::array<std::uint64_t, kSummaries> summary_{};
  std::array<std::uint64_t, kWords> words_{};
  std::array<BlockRecord*, kBins> heads_{};
};

}  // namespace reprise::detail
