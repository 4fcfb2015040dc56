// What the race checker remembers of every byte that kernels share: who touched it last, and whether it was
// ever written.
#pragma once

#include <cstddef>
#include <cstdint>

#include "simt/emulator/clocks.h"
#include "simt/emulator/thread.h"

namespace simt::race {

/// Who made an access, and when: launch 10 bits, block 24, thread 10, clock 19, atomic 1. Zero is nobody.
class Stamp {
 public:
  static constexpr std::uint32_t kLaunches = 1u << 10, kBlocks = 1u << 24, kClocks = kMaxClock;

  Stamp() = default;
  Stamp(std::uint32_t launch, std::uint32_t block, std::uint32_t thread, std::uint32_t clock, bool atomic)
      : bits_(std::uint64_t{launch} << 54 | std::uint64_t{block} << 30 | std::uint64_t{thread} << 20 |
              std::uint64_t{clock} << 1 | (atomic ? 1u : 0u)) {}

  bool nobody() const { return bits_ == 0; }
  std::uint32_t launch() const { return static_cast<std::uint32_t>(bits_ >> 54); }
  std::uint32_t block() const { return static_cast<std::uint32_t>(bits_ >> 30) & (kBlocks - 1); }
  std::uint32_t thread() const { return static_cast<std::uint32_t>(bits_ >> 20) & 1023u; }
  std::uint32_t clock() const { return static_cast<std::uint32_t>(bits_ >> 1) & (kClocks - 1); }
  bool atomic() const { return (bits_ & 1u) != 0; }
  bool same_thread(Stamp other) const { return (bits_ ^ other.bits_) >> 20 == 0; }
  bool operator==(const Stamp&) const = default;

 private:
  std::uint64_t bits_ = 0;
};

/// The last accesses to a word, or to a part of one. Two readers are kept, as a writer may be one of them.
/// Program counters keep their lower 32 bits.
struct Cell {
  Stamp write, reads[2];
  std::uint32_t write_pc, read_pcs[2];
  std::uint32_t
      parts;  // 0: the cell stands for its word; 2 or 4: for its first part, the others are elsewhere
};

/// A range of memory that kernels share, with its shadow. The shadow is all zeros until it is used.
class Region {
 public:
  explicit Region(bool is_shared) : shared(is_shared) {}

  const bool shared;  // memory of one block at a time

  bool mapped() const { return base_ != 0; }
  bool contains(std::uintptr_t address) const { return address - base_ < bytes_; }
  void map(const void* base, std::size_t bytes);
  /// Forgets all accesses.
  void clear_cells();

  // Bytes of a word: the lower four bits say which were written, the upper four which are allocated.
  std::uint8_t& state(std::size_t word) { return states_[word]; }
  std::size_t offset(std::uintptr_t address) const { return address - base_; }
  void set_written(std::uintptr_t address, std::size_t bytes, bool written);
  void forget(std::uintptr_t address, std::size_t bytes);

  /// Calls `visit(cell)` for the cells that stand for these bytes (a mask) of a word; splits the word where
  /// it must.
  template <class Visit>
  void visit_cells(std::size_t word, unsigned bytes, Visit visit) {
    Cell& cell = cells_[word];
    if (bytes == 0xfu && cell.parts == 0) {
      visit(cell);
      return;
    }
    Cell* others = parts_ + 3 * word;  // bytes 1, 2 and 3
    if (cell.parts == 0) {
      cell.parts = 2;
      others[1] = cell;
    }
    const bool halves = bytes == 0x3u || bytes == 0xcu || bytes == 0xfu;
    if (cell.parts == 2 && !halves) {
      cell.parts = 4;
      others[0] = cell;
      others[2] = others[1];
    }
    const unsigned step = cell.parts == 2 ? 2 : 1;
    for (unsigned byte = 0; byte < 4; byte += step) {
      if ((bytes >> byte & 1u) != 0) visit(byte == 0 ? cell : others[byte - 1]);
    }
  }

 private:
  void set_states(std::uintptr_t address, std::size_t bytes, std::uint8_t allocated, std::uint8_t written);

  std::uintptr_t base_ = 0;
  std::size_t bytes_ = 0;
  Cell* cells_ = nullptr;
  Cell* parts_ = nullptr;
  std::uint8_t* states_ = nullptr;
};

}  // namespace simt::race
