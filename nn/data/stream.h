// Random numbers for data: SplitMix64 (Steele, Lea and Flood 2014) started from a hash of what names the
// stream.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <limits>

namespace reprise::nn::data {

/// What a stream is drawn for, so that the same seed gives unrelated numbers to unrelated purposes.
enum class Purpose : std::uint64_t { text_batch = 1, image_order, augmentation, train_shapes, test_shapes };

class Stream {
 public:
  Stream(Purpose purpose, std::initializer_list<std::uint64_t> keys)
      : state_(static_cast<std::uint64_t>(purpose)) {
    for (const std::uint64_t key : keys) state_ = mix(state_ + kGolden) ^ key;
    state_ = mix(state_);
  }

  std::uint64_t next() {
    state_ += kGolden;
    return mix(state_);
  }

  /// Uniform in [0, bound), without bias; bound must be positive.
  std::uint64_t below(std::uint64_t bound) {
    constexpr std::uint64_t max = std::numeric_limits<std::uint64_t>::max();
    const std::uint64_t limit = max - max % bound;
    std::uint64_t word = next();
    while (word >= limit) word = next();
    return word % bound;
  }

  /// Uniform in [low, high].
  int between(int low, int high) {
    return low + static_cast<int>(below(static_cast<std::uint64_t>(std::int64_t{high} - low + 1)));
  }

 private:
  static constexpr std::uint64_t kGolden = 0x9E3779B97F4A7C15u;

  static constexpr std::uint64_t mix(std::uint64_t word) {
    word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9u;
    word = (word ^ (word >> 27)) * 0x94D049BB133111EBu;
    return word ^ (word >> 31);
  }

  std::uint64_t state_;
};

}  // namespace reprise::nn::data
