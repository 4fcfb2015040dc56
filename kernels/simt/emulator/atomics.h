// Atomics. One OS thread runs all fibers, so a plain read and write is atomic; the race checker is told
// apart.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstring>

#include "simt/emulator/thread.h"

namespace simt {

[[noreturn, gnu::cold]] void fail_misaligned(const char* what, const void* address, std::size_t alignment,
                                             Site site);

template <class T>
SIMT_PRIMITIVE inline void check_aligned(const char* what, const T* address, Site site) {
  if ((reinterpret_cast<std::uintptr_t>(address) & (sizeof(T) - 1)) != 0) {
    fail_misaligned(what, address, sizeof(T), site);
  }
}

}  // namespace simt

// The site is a last parameter with a default, so that the message of a misaligned atomic has a line.
#define SIMT_ATOMIC(name, type, expression)                               \
  SIMT_PRIMITIVE inline type name(type* address, type value, SIMT_SITE) { \
    simt::check_aligned(#name, address, simt_site);                       \
    simt::preempt_point();                                                \
    SIMT_OBSERVE(address, sizeof(type), simt::Access::atomic);            \
    const type old = *address;                                            \
    *address = (expression);                                              \
    return old;                                                           \
  }
#define SIMT_ATOMIC_WORDS(name, expression) \
  SIMT_ATOMIC(name, int, expression)        \
  SIMT_ATOMIC(name, unsigned, expression)   \
  SIMT_ATOMIC(name, unsigned long long, expression)

SIMT_ATOMIC(atomicAdd, int, static_cast<int>(static_cast<unsigned>(old) + static_cast<unsigned>(value)))
SIMT_ATOMIC(atomicAdd, unsigned, old + value)
SIMT_ATOMIC(atomicAdd, unsigned long long, old + value)
SIMT_ATOMIC(atomicAdd, float, old + value)
SIMT_ATOMIC(atomicAdd, double, old + value)
SIMT_ATOMIC(atomicAdd, __half, __hadd(old, value))
SIMT_ATOMIC(atomicAdd, __half2, __hadd2(old, value))
SIMT_ATOMIC(atomicAdd, __nv_bfloat16, __hadd(old, value))
SIMT_ATOMIC(atomicAdd, __nv_bfloat162, __hadd2(old, value))
SIMT_ATOMIC(atomicSub, int, static_cast<int>(static_cast<unsigned>(old) - static_cast<unsigned>(value)))
SIMT_ATOMIC(atomicSub, unsigned, old - value)
SIMT_ATOMIC_WORDS(atomicMin, old < value ? old : value)
SIMT_ATOMIC_WORDS(atomicMax, old > value ? old : value)
SIMT_ATOMIC_WORDS(atomicAnd, old& value)
SIMT_ATOMIC_WORDS(atomicOr, old | value)
SIMT_ATOMIC_WORDS(atomicXor, old ^ value)
SIMT_ATOMIC_WORDS(atomicExch, value)
SIMT_ATOMIC(atomicExch, float, value)
SIMT_ATOMIC(atomicInc, unsigned, old >= value ? 0u : old + 1u)
SIMT_ATOMIC(atomicDec, unsigned, old == 0u || old > value ? value : old - 1u)
#undef SIMT_ATOMIC_WORDS
#undef SIMT_ATOMIC

#define SIMT_ATOMIC_CAS(type)                                                                   \
  SIMT_PRIMITIVE inline type atomicCAS(type* address, type expected, type desired, SIMT_SITE) { \
    simt::check_aligned("atomicCAS", address, simt_site);                                       \
    simt::preempt_point();                                                                      \
    SIMT_OBSERVE(address, sizeof(type), simt::Access::atomic);                                  \
    const type old = *address;                                                                  \
    if (old == expected) *address = desired;                                                    \
    return old;                                                                                 \
  }
SIMT_ATOMIC_CAS(int)
SIMT_ATOMIC_CAS(unsigned)
SIMT_ATOMIC_CAS(unsigned long long)
SIMT_ATOMIC_CAS(unsigned short)
#undef SIMT_ATOMIC_CAS
