#include "simt/race/shadow.h"

#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace simt::race {

namespace {

/// Address space that takes memory only where it is written.
void* reserve(std::size_t bytes) {
  void* memory =
      mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    std::perror("SIMT: no address space for the race checker");
    std::abort();
  }
  return memory;
}

}  // namespace

void Region::map(const void* base, std::size_t bytes) {
  base_ = reinterpret_cast<std::uintptr_t>(base);
  bytes_ = bytes;
  const std::size_t words = bytes / 4 + 1;
  cells_ = static_cast<Cell*>(reserve(words * sizeof(Cell)));
  parts_ = static_cast<Cell*>(reserve(words * 3 * sizeof(Cell)));
  states_ = static_cast<std::uint8_t*>(reserve(words));
}

void Region::clear_cells() {
  if (!mapped()) return;
  const std::size_t words = bytes_ / 4 + 1;
  madvise(cells_, words * sizeof(Cell), MADV_DONTNEED);
  madvise(parts_, words * 3 * sizeof(Cell), MADV_DONTNEED);
}

void Region::set_states(std::uintptr_t address, std::size_t bytes, std::uint8_t allocated,
                        std::uint8_t written) {
  std::size_t first = offset(address);
  const std::size_t end = first + bytes;
  const auto set_byte = [&](std::size_t at) {
    const unsigned bit = at & 3;
    std::uint8_t& s = states_[at >> 2];
    const auto mask = static_cast<std::uint8_t>(0x11u << bit);
    s = static_cast<std::uint8_t>((s & ~mask) | ((allocated & 0x10u) << bit) | ((written & 0x1u) << bit));
  };
  while (first < end && (first & 3) != 0) set_byte(first++);
  const std::size_t words = (end - first) / 4;
  if (first < end) std::memset(states_ + first / 4, allocated | written, words);
  for (first += words * 4; first < end; first++) set_byte(first);
}

void Region::set_written(std::uintptr_t address, std::size_t bytes, bool written) {
  set_states(address, bytes, 0xf0, written ? 0x0f : 0x00);
}

void Region::forget(std::uintptr_t address, std::size_t bytes) { set_states(address, bytes, 0x00, 0x00); }

}  // namespace simt::race
