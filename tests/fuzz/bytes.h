// Decisions read from bytes: the same bytes make the same decisions, and every byte string is legal.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace reprise::fuzz {

class Bytes {
 public:
  explicit Bytes(std::span<const std::uint8_t> bytes) : bytes_(bytes) {}

  /// The next byte; 0 once they have run out.
  int byte() { return at_ < bytes_.size() ? bytes_[at_++] : 0; }
  bool exhausted() const { return at_ >= bytes_.size(); }

  /// 0 ... n - 1; reads nothing when there is no choice.
  int below(int n) { return n <= 1 ? 0 : byte() % n; }
  int between(int least, int most) { return least + below(most - least + 1); }
  /// True in about `per_256` of 256 cases; false once bytes have run out.
  bool chance(int per_256) { return byte() >= 256 - per_256; }

 private:
  std::span<const std::uint8_t> bytes_;
  std::size_t at_ = 0;
};

/// A stream of numbers for what is no part of a program: SplitMix64.
class Numbers {
 public:
  explicit Numbers(std::uint64_t seed) : state_(seed) {}
  std::uint64_t next() {
    std::uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }

 private:
  std::uint64_t state_;
};

inline std::vector<std::uint8_t> random_bytes(std::uint64_t seed, std::size_t most) {
  Numbers numbers(seed);
  std::vector<std::uint8_t> bytes(most / 4 + numbers.next() % (most - most / 4));
  for (std::uint8_t& byte : bytes) byte = static_cast<std::uint8_t>(numbers.next() >> 24);
  return bytes;
}

}  // namespace reprise::fuzz
