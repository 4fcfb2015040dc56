// What the stand-in device can take: an H100's limits, with few multiprocessors so that persistent grids stay
// small.
#pragma once

#include <cstddef>

namespace simt::runtime {

constexpr const char* kDeviceName = "Reprise stand-in";
constexpr int kComputeMajor = 9, kComputeMinor = 0;
constexpr unsigned kMultiprocessors = 4;
constexpr unsigned kWarpThreads = 32;
constexpr unsigned kMaxBlockThreads = 1024, kMaxBlockZ = 64;
constexpr unsigned kMaxGridX = 0x7fffffff, kMaxGridYZ = 65535;
constexpr unsigned kThreadsPerMultiprocessor = 2048, kMaxBlocksPerMultiprocessor = 32;
constexpr unsigned kRegisters = 65536;
constexpr std::size_t kDefaultSharedBytes = std::size_t{48} << 10;
constexpr std::size_t kSharedBytesPerMultiprocessor = std::size_t{228} << 10;
constexpr std::size_t kReservedSharedBytes = 1024;
constexpr std::size_t kCacheBytes = std::size_t{50} << 20;

}  // namespace simt::runtime
