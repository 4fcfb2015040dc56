// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011) and the distributions
// made from its words. Everything here gives the same bits on every device: only integers, fma, division and
// square root are used, which IEEE 754 fixes to the last bit.
#pragma once

#include <cmath>
#include <cstdint>

#include "reprise/kernels/host_device.h"

namespace reprise::kernels::philox {

inline constexpr int kRounds = 10;
inline constexpr std::uint32_t kMultiplier0 = 0xD2511F53u, kMultiplier1 = 0xCD9E8D57u;
inline constexpr std::uint32_t kWeyl0 = 0x9E3779B9u, kWeyl1 = 0xBB67AE85u;

/// Four words: a counter, or the random block that belongs to it.
struct Block {
  std::uint32_t word[4];
};

/// Philox4x32-10 of a 128-bit counter and a 64-bit key, least significant words first.
REPRISE_HD constexpr Block block(Block counter, std::uint32_t key0, std::uint32_t key1) {
  std::uint32_t c0 = counter.word[0], c1 = counter.word[1], c2 = counter.word[2], c3 = counter.word[3];
  for (int round = 0; round < kRounds; ++round) {
    const std::uint64_t product0 = std::uint64_t{kMultiplier0} * c0;
    const std::uint64_t product1 = std::uint64_t{kMultiplier1} * c2;
    c0 = static_cast<std::uint32_t>(product1 >> 32) ^ c1 ^ key0;
    c1 = static_cast<std::uint32_t>(product1);
    c2 = static_cast<std::uint32_t>(product0 >> 32) ^ c3 ^ key1;
    c3 = static_cast<std::uint32_t>(product0);
    key0 += kWeyl0;
    key1 += kWeyl1;
  }
  return {{c0, c1, c2, c3}};
}

/// The random words of elements 4 * index .. 4 * index + 3 of the node `node` under the seed `seed`.
REPRISE_HD constexpr Block block_of(std::uint64_t seed, std::uint64_t node, std::uint64_t index) {
  const Block counter{{static_cast<std::uint32_t>(index), static_cast<std::uint32_t>(index >> 32),
                       static_cast<std::uint32_t>(node), static_cast<std::uint32_t>(node >> 32)}};
  return block(counter, static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32));
}

/// The random word of one element.
REPRISE_HD constexpr std::uint32_t word_of(std::uint64_t seed, std::uint64_t node, std::uint64_t element) {
  return block_of(seed, node, element / 4).word[element % 4];
}

/// Which words drop an element: those below `threshold`, or all of them.
struct DropRule {
  std::uint32_t threshold = 0;
  bool everything = false;

  REPRISE_HD constexpr bool drops(std::uint32_t word) const { return everything || word < threshold; }
};

/// The rule `word < p * 2^32` for 0 <= p <= 1, in integers.
REPRISE_HD constexpr DropRule drop_rule(double p) {
  const double bound = p * 4294967296.0;
  auto threshold = static_cast<std::uint64_t>(bound);
  if (static_cast<double>(threshold) < bound) ++threshold;
  return {static_cast<std::uint32_t>(threshold), threshold > 0xFFFFFFFFu};
}

/// What a kept element is multiplied by; 0 where everything is dropped.
REPRISE_HD constexpr double keep_scale(double p) { return p < 1.0 ? 1.0 / (1.0 - p) : 0.0; }

/// Uniform in [0, 1) from the 24 upper bits of a word.
REPRISE_HD constexpr float unit_float(std::uint32_t word) {
  return static_cast<float>(static_cast<std::int32_t>(word >> 8)) * 0x1p-24f;
}

/// Uniform in [0, 1) from all bits of a word.
REPRISE_HD constexpr double unit_double(std::uint32_t word) { return static_cast<double>(word) * 0x1p-32; }

/// log(u) for 2^-33 <= u <= 1: 2 atanh((m - 1) / (m + 1)) by its series, m being u's mantissa in [sqrt(1/2),
/// sqrt(2)).
REPRISE_HD inline float log_of_unit(float u) {
  constexpr std::uint32_t kSqrtHalf = 0x3F3504F3u;
  const auto bits = __builtin_bit_cast(std::uint32_t, u);
  const std::int32_t exponent = static_cast<std::int32_t>(bits - kSqrtHalf) >> 23;
  const float mantissa = __builtin_bit_cast(float, bits - (static_cast<std::uint32_t>(exponent) << 23));
  const float s = (mantissa - 1.0f) / (mantissa + 1.0f);
  const float square = s * s;
  float series = fmaf(square, 1.0f / 9.0f, 1.0f / 7.0f);
  series = fmaf(square, series, 1.0f / 5.0f);
  series = fmaf(square, series, 1.0f / 3.0f);
  series = fmaf(square * s, series, s);
  return fmaf(static_cast<float>(exponent), 0.693147181f, 2.0f * series);
}

/// Two independent standard normal deviates.
struct NormalPair {
  float first, second;
};

/// Box and Muller (1958): sqrt(-2 log u) times the cosine and the sine of a uniform angle; |deviate| < 6.8.
REPRISE_HD inline NormalPair normal_pair(std::uint32_t radius_word, std::uint32_t angle_word) {
  const float u = fmaf(static_cast<float>(radius_word), 0x1p-32f, 0x1p-33f);
  const float radius = sqrtf(-2.0f * log_of_unit(u));
  // The angle in units of 2^-32 turns is the nearest multiple of a quarter turn plus a rest of at most an
  // eighth.
  const std::uint32_t quarter = (angle_word + 0x20000000u) >> 30;
  const auto rest = static_cast<std::int32_t>(angle_word - (quarter << 30));
  const float x = static_cast<float>(rest) * 1.46291807926716e-9f;  // 2 pi / 2^32
  const float square = x * x;
  float sine = fmaf(square, 1.0f / 362880.0f, -1.0f / 5040.0f);
  sine = fmaf(square, sine, 1.0f / 120.0f);
  sine = fmaf(square, sine, -1.0f / 6.0f);
  sine = fmaf(square * x, sine, x);
  float cosine = fmaf(square, -1.0f / 3628800.0f, 1.0f / 40320.0f);
  cosine = fmaf(square, cosine, -1.0f / 720.0f);
  cosine = fmaf(square, cosine, 1.0f / 24.0f);
  cosine = fmaf(square, cosine, -0.5f);
  cosine = fmaf(square, cosine, 1.0f);
  const bool odd = (quarter & 1u) != 0;
  const float first = odd ? sine : cosine, second = odd ? cosine : sine;
  const bool first_negative = quarter == 1 || quarter == 2, second_negative = quarter >= 2;
  return {radius * (first_negative ? -first : first), radius * (second_negative ? -second : second)};
}

}  // namespace reprise::kernels::philox
