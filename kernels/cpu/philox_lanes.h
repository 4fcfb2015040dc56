// Philox4x32-10 for many counters at once. Each 64-bit lane holds one 32-bit word of the state in its lower
// half, because the hardware multiplies the lower halves of 64-bit lanes; what the upper halves hold never
// matters.
#pragma once

#include <cstdint>
#include <cstring>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "reprise/kernels/philox.h"
#include "reprise/kernels/view.h"

namespace reprise::kernels::cpu {

namespace philox_detail {

#if defined(__AVX512F__)
inline constexpr int kLanes = 8;
#elif defined(__AVX2__)
inline constexpr int kLanes = 4;
#else
inline constexpr int kLanes = 2;
#endif
using Lanes = std::uint64_t __attribute__((vector_size(8 * kLanes)));
inline constexpr std::uint64_t kLower = 0xFFFFFFFFu;

inline Lanes broadcast(std::uint32_t word) { return Lanes{} + std::uint64_t{word}; }

/// Products of the lower halves.
inline Lanes multiply(Lanes a, Lanes b) {
#if defined(__AVX512F__)
  // The masked form, because g++ 12 warns about its own header in the plain one; both are the same
  // instruction.
  return reinterpret_cast<Lanes>(
      _mm512_maskz_mul_epu32(0xFF, reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b)));
#elif defined(__AVX2__)
  return reinterpret_cast<Lanes>(
      _mm256_mul_epu32(reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(b)));
#else
  return (a & kLower) * (b & kLower);
#endif
}

/// a0 b0 a1 b1 ... of the lower and of the upper halves.
inline Lanes interleave_low(Lanes a, Lanes b) {
#if defined(__AVX512F__)
  return __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
#elif defined(__AVX2__)
  return __builtin_shufflevector(a, b, 0, 4, 1, 5);
#else
  return __builtin_shufflevector(a, b, 0, 2);
#endif
}
inline Lanes interleave_high(Lanes a, Lanes b) {
#if defined(__AVX512F__)
  return __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
#elif defined(__AVX2__)
  return __builtin_shufflevector(a, b, 2, 6, 3, 7);
#else
  return __builtin_shufflevector(a, b, 1, 3);
#endif
}

/// Two vectors of states, so that the processor has something to do while a multiplication is under way.
struct State {
  Lanes word[4][2];
};

inline State start(const std::uint64_t* counters, RandomKey key) {
  State s;
  std::memcpy(s.word[0], counters, sizeof s.word[0]);
  for (int half = 0; half < 2; ++half) {
    s.word[1][half] = s.word[0][half] >> 32;
    s.word[2][half] = broadcast(static_cast<std::uint32_t>(key.node));
    s.word[3][half] = broadcast(static_cast<std::uint32_t>(key.node >> 32));
  }
  return s;
}

inline void rounds(State& s, RandomKey key) {
  const Lanes multiplier0 = broadcast(philox::kMultiplier0), multiplier1 = broadcast(philox::kMultiplier1);
  auto key0 = static_cast<std::uint32_t>(key.seed), key1 = static_cast<std::uint32_t>(key.seed >> 32);
  for (int round = 0; round < philox::kRounds; ++round) {
    for (int half = 0; half < 2; ++half) {
      const Lanes product0 = multiply(s.word[0][half], multiplier0);
      const Lanes product1 = multiply(s.word[2][half], multiplier1);
      s.word[0][half] = (product1 >> 32) ^ s.word[1][half] ^ broadcast(key0);
      s.word[1][half] = product1;
      s.word[2][half] = (product0 >> 32) ^ s.word[3][half] ^ broadcast(key1);
      s.word[3][half] = product0;
    }
    key0 += philox::kWeyl0;
    key1 += philox::kWeyl1;
  }
}

}  // namespace philox_detail

/// Counters that one call of the functions below takes.
inline constexpr int kPhiloxCounters = 16;
inline constexpr int kPhiloxWords = 4 * kPhiloxCounters;

/// words[w][lane] = word w of the block with counter counters[lane]; a row of `words` has `stride` elements.
inline void philox_lanes(RandomKey key, const std::uint64_t* counters, std::uint32_t* words,
                         std::int64_t stride) {
  using namespace philox_detail;
  for (int first = 0; first < kPhiloxCounters; first += 2 * kLanes) {
    State s = start(counters + first, key);
    rounds(s, key);
    for (int w = 0; w < 4; ++w) {
      for (int half = 0; half < 2; ++half) {
        using Half = std::uint32_t __attribute__((vector_size(4 * kLanes)));
        const Half low = __builtin_convertvector(s.word[w][half], Half);
        std::memcpy(words + w * stride + first + half * kLanes, &low, sizeof low);
      }
    }
  }
}

/// The 64 words of the blocks first_block .. first_block + 15, in the order of their elements.
inline void philox_words(RandomKey key, std::uint64_t first_block, std::uint32_t* words) {
  using namespace philox_detail;
  std::uint64_t counters[kPhiloxCounters];
  for (int i = 0; i < kPhiloxCounters; ++i) counters[i] = first_block + static_cast<std::uint64_t>(i);
  for (int first = 0; first < kPhiloxCounters; first += 2 * kLanes) {
    State s = start(counters + first, key);
    rounds(s, key);
    for (int half = 0; half < 2; ++half) {
      const Lanes a = (s.word[0][half] & kLower) | (s.word[1][half] << 32);
      const Lanes b = (s.word[2][half] & kLower) | (s.word[3][half] << 32);
      const Lanes out[2] = {interleave_low(a, b), interleave_high(a, b)};
      std::memcpy(words + 4 * (first + half * kLanes), out, sizeof out);
    }
  }
}

}  // namespace reprise::kernels::cpu
