#include "reprise/nn/digest.h"

#include <fmt/format.h>

#include <array>
#include <bit>
#include <cstring>

#include "reprise/tape.h"

namespace reprise::nn {
namespace {

// XXH64 (Collet), for little-endian machines. Each word is multiplied, rotated and multiplied again before
// the next meets it: a product alone moves a difference only towards the high bits, and two in the highest
// would take each other back.
constexpr std::uint64_t kPrime1 = 0x9E3779B185EBCA87ull;
constexpr std::uint64_t kPrime2 = 0xC2B2AE3D27D4EB4Full;
constexpr std::uint64_t kPrime3 = 0x165667B19E3779F9ull;
constexpr std::uint64_t kPrime4 = 0x85EBCA77C2B2AE63ull;
constexpr std::uint64_t kPrime5 = 0x27D4EB2F165667C5ull;
constexpr std::size_t kLanes = 4;  // that do not wait for each other

template <class Word>
std::uint64_t read(const std::byte* at) {
  Word word = 0;
  std::memcpy(&word, at, sizeof(Word));
  return word;
}

std::uint64_t mixed(std::uint64_t state, std::uint64_t word) {
  return std::rotl(state + word * kPrime2, 31) * kPrime1;
}

/// The four lanes over all whole blocks, joined; `at` and `left` go past them.
std::uint64_t mix_blocks(std::uint64_t seed, const std::byte*& at, std::size_t& left) {
  constexpr std::size_t kBlockBytes = kLanes * sizeof(std::uint64_t);
  std::array<std::uint64_t, kLanes> lanes{seed + kPrime1 + kPrime2, seed + kPrime2, seed, seed - kPrime1};
  for (; left >= kBlockBytes; at += kBlockBytes, left -= kBlockBytes) {
    for (std::size_t i = 0; i < kLanes; ++i)
      lanes[i] = mixed(lanes[i], read<std::uint64_t>(at + i * sizeof(std::uint64_t)));
  }
  std::uint64_t state =
      std::rotl(lanes[0], 1) + std::rotl(lanes[1], 7) + std::rotl(lanes[2], 12) + std::rotl(lanes[3], 18);
  for (const std::uint64_t lane : lanes) state = (state ^ mixed(0, lane)) * kPrime1 + kPrime4;
  return state;
}

std::uint64_t xxh64(const void* data, std::size_t bytes, std::uint64_t seed) {
  const auto* at = static_cast<const std::byte*>(data);
  std::size_t left = bytes;
  std::uint64_t state = left >= kLanes * sizeof(std::uint64_t) ? mix_blocks(seed, at, left) : seed + kPrime5;
  state += bytes;
  for (; left >= 8; at += 8, left -= 8)
    state = std::rotl(state ^ mixed(0, read<std::uint64_t>(at)), 27) * kPrime1 + kPrime4;
  for (; left >= 4; at += 4, left -= 4)
    state = std::rotl(state ^ read<std::uint32_t>(at) * kPrime1, 23) * kPrime2 + kPrime3;
  for (; left > 0; ++at, --left) state = std::rotl(state ^ read<std::uint8_t>(at) * kPrime5, 11) * kPrime1;
  state = (state ^ (state >> 33)) * kPrime2;
  state = (state ^ (state >> 29)) * kPrime3;
  return state ^ (state >> 32);
}

/// The type and the sizes; one word that is no type for an undefined tensor.
std::vector<std::uint64_t> header_of(const Tensor& tensor) {
  if (!tensor.defined()) return {~std::uint64_t{0}};
  std::vector<std::uint64_t> header{static_cast<std::uint64_t>(tensor.dtype())};
  for (const std::int64_t size : tensor.shape()) header.push_back(static_cast<std::uint64_t>(size));
  return header;
}

}  // namespace

std::string digest(std::span<const Tensor> tensors) {
  const NoGrad no_grad;
  std::uint64_t state = 0;
  for (const Tensor& tensor : tensors) {
    const std::vector<std::uint64_t> header = header_of(tensor);
    state = xxh64(header.data(), header.size() * sizeof(std::uint64_t), state);
    if (!tensor.defined()) continue;
    const Tensor dense = tensor.detach().contiguous().to(Device::cpu());
    state = xxh64(dense.value()->data(), dense.spec().bytes(), state);
  }
  return fmt::format("{:016x}", state);
}

}  // namespace reprise::nn
