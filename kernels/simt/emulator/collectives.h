// Warp operations: lanes named by a mask meet, exchange values, and go on.
#pragma once

#include <cstring>
#include <type_traits>

#include "simt/emulator/thread.h"

namespace simt {

/// One meeting of the lanes in `mask`.
struct Rendezvous {
  enum class Kind : std::uint8_t { exchange, sync, whole_warp };
  std::uint32_t mask = 0, arrived = 0, to_leave = 0;
  Kind kind = Kind::exchange;
  const char* what = "";
  Site site{};
  void (*last)(Rendezvous&) = nullptr;  // run once, when everyone is there
  alignas(16) unsigned char data[32][32];
  alignas(16) float out[16][8];
};

/// Joins, or opens, the meeting that the current lane takes part in.
Rendezvous& enter_rendezvous(std::uint32_t mask, Rendezvous::Kind kind, const char* what, Site site);
/// Waits until all lanes of the mask that have not exited are there.
void meet(Rendezvous& rendezvous);
/// Gives the record back; it must not be read afterwards.
void leave(Rendezvous& rendezvous);
/// __syncwarp: meets, and orders the memory accesses of the lanes.
void warp_barrier(std::uint32_t mask, Site site);
/// Lanes of the current warp that have not exited.
std::uint32_t live_lanes();

[[noreturn, gnu::cold]] void fail_absent_lane(const Rendezvous& rendezvous, int source);
[[noreturn, gnu::cold]] void fail_width(const char* what, int width, Site site);

enum class Shuffle { index, up, down, exclusive_or };

template <class T>
SIMT_PRIMITIVE inline T shuffle(std::uint32_t mask, T value, Shuffle how, int argument, int width,
                                const char* what, Site site) {
  static_assert(sizeof(T) <= 16 && std::is_trivially_copyable_v<T>);
  if (width < 1 || width > 32 || (width & (width - 1)) != 0) fail_width(what, width, site);
  Rendezvous& r = enter_rendezvous(mask, Rendezvous::Kind::exchange, what, site);
  const int lane = static_cast<int>(current->lane());
  std::memcpy(r.data[lane], &value, sizeof(T));
  meet(r);
  const int base = lane & ~(width - 1);
  int source = lane;
  switch (how) {
    case Shuffle::index:
      source = base + (argument & (width - 1));
      break;
    case Shuffle::up:
      source = lane - argument < base ? lane : lane - argument;
      break;
    case Shuffle::down:
      source = lane + argument >= base + width ? lane : lane + argument;
      break;
    case Shuffle::exclusive_or:
      source = (lane ^ argument) >= base + width ? lane : lane ^ argument;
      break;
  }
  if (((r.arrived >> source) & 1u) == 0) fail_absent_lane(r, source);
  T result;
  std::memcpy(static_cast<void*>(&result), r.data[source], sizeof(T));
  leave(r);
  return result;
}

template <class T, class Combine>
SIMT_PRIMITIVE inline T reduce(std::uint32_t mask, T value, Combine combine, const char* what, Site site) {
  Rendezvous& r = enter_rendezvous(mask, Rendezvous::Kind::exchange, what, site);
  std::memcpy(r.data[current->lane()], &value, sizeof(T));
  meet(r);
  const std::uint32_t arrived = r.arrived;
  T result{};
  bool first = true;
  for (int i = 0; i < 32; i++) {
    if (((arrived >> i) & 1u) == 0) continue;
    T other;
    std::memcpy(&other, r.data[i], sizeof(T));
    result = first ? other : combine(result, other);
    first = false;
  }
  leave(r);
  return result;
}

/// Bit i holds the predicate of lane i.
inline std::uint32_t ballot(std::uint32_t mask, int predicate, const char* what, Site site) {
  const std::uint32_t bit = predicate != 0 ? 1u << current->lane() : 0u;
  return reduce(
      mask, bit, [](std::uint32_t a, std::uint32_t b) { return a | b; }, what, site);
}

/// Lanes that hold the same bytes as the current one, and how many lanes took part.
template <class T>
SIMT_PRIMITIVE inline std::uint32_t match(std::uint32_t mask, T value, std::uint32_t* arrived,
                                          const char* what, Site site) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8);
  Rendezvous& r = enter_rendezvous(mask, Rendezvous::Kind::exchange, what, site);
  std::memcpy(r.data[current->lane()], &value, sizeof(T));
  meet(r);
  std::uint32_t same = 0;
  for (int i = 0; i < 32; i++) {
    if (((r.arrived >> i) & 1u) != 0 && std::memcmp(r.data[i], &value, sizeof(T)) == 0) same |= 1u << i;
  }
  *arrived = r.arrived;
  leave(r);
  return same;
}

}  // namespace simt

SIMT_PRIMITIVE inline void __syncwarp(unsigned mask = 0xffffffffu, SIMT_SITE) {
  simt::warp_barrier(mask, simt_site);
}

template <class T>
SIMT_PRIMITIVE inline T __shfl_sync(unsigned mask, T value, int source, int width = 32, SIMT_SITE) {
  return simt::shuffle(mask, value, simt::Shuffle::index, source, width, "__shfl_sync", simt_site);
}
template <class T>
SIMT_PRIMITIVE inline T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, SIMT_SITE) {
  return simt::shuffle(mask, value, simt::Shuffle::up, static_cast<int>(delta), width, "__shfl_up_sync",
                       simt_site);
}
template <class T>
SIMT_PRIMITIVE inline T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, SIMT_SITE) {
  return simt::shuffle(mask, value, simt::Shuffle::down, static_cast<int>(delta), width, "__shfl_down_sync",
                       simt_site);
}
template <class T>
SIMT_PRIMITIVE inline T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = 32, SIMT_SITE) {
  return simt::shuffle(mask, value, simt::Shuffle::exclusive_or, lane_mask, width, "__shfl_xor_sync",
                       simt_site);
}

SIMT_PRIMITIVE inline unsigned __ballot_sync(unsigned mask, int predicate, SIMT_SITE) {
  return simt::ballot(mask, predicate, "__ballot_sync", simt_site);
}
SIMT_PRIMITIVE inline int __any_sync(unsigned mask, int predicate, SIMT_SITE) {
  return simt::ballot(mask, predicate, "__any_sync", simt_site) != 0;
}
SIMT_PRIMITIVE inline int __all_sync(unsigned mask, int predicate, SIMT_SITE) {
  return simt::ballot(mask, predicate == 0, "__all_sync", simt_site) == 0;
}
template <class T>
SIMT_PRIMITIVE inline unsigned __match_any_sync(unsigned mask, T value, SIMT_SITE) {
  std::uint32_t arrived = 0;
  return simt::match(mask, value, &arrived, "__match_any_sync", simt_site);
}
template <class T>
SIMT_PRIMITIVE inline unsigned __match_all_sync(unsigned mask, T value, int* predicate, SIMT_SITE) {
  std::uint32_t arrived = 0;
  const std::uint32_t same = simt::match(mask, value, &arrived, "__match_all_sync", simt_site);
  *predicate = same == arrived;
  return same == arrived ? same : 0u;
}

#define SIMT_WARP_REDUCE(name, expression)                                                   \
  template <class T>                                                                         \
  SIMT_PRIMITIVE inline T name(unsigned mask, T value, SIMT_SITE) {                          \
    static_assert(std::is_integral_v<T> && sizeof(T) == 4, #name " takes int and unsigned"); \
    return simt::reduce(                                                                     \
        mask, value, [](T a, T b) { return static_cast<T>(expression); }, #name, simt_site); \
  }
SIMT_WARP_REDUCE(__reduce_add_sync, static_cast<unsigned>(a) + static_cast<unsigned>(b))
SIMT_WARP_REDUCE(__reduce_min_sync, a < b ? a : b)
SIMT_WARP_REDUCE(__reduce_max_sync, a < b ? b : a)
SIMT_WARP_REDUCE(__reduce_and_sync, a& b)
SIMT_WARP_REDUCE(__reduce_or_sync, a | b)
SIMT_WARP_REDUCE(__reduce_xor_sync, a ^ b)
#undef SIMT_WARP_REDUCE

/// A hint only, here as on a device: kernels pass the mask they mean.
inline unsigned __activemask() { return simt::live_lanes(); }
