// Faults of barriers, warp operations and spinning: reported in every build.
#include "support.h"

using namespace simt_test;

namespace {

constexpr int kDivergentLine = __LINE__ + 5;
__global__ void divergent_barrier_kernel(float* out) {
  if (threadIdx.x < 40) {
    __syncthreads();
  } else {
    __syncthreads();
  }
  out[threadIdx.x] = 1.0f;
}

__global__ void exit_before_barrier_kernel(float* out, unsigned count) {
  if (threadIdx.x >= count) return;
  __syncthreads();
  out[threadIdx.x] = 1.0f;
}

constexpr int kDeadlockLine = __LINE__ + 3;
__global__ void deadlock_kernel(float* out) {
  if (threadIdx.x < 16) {
    out[threadIdx.x] = __shfl_xor_sync(0xffffffffu, 1.0f, 1);
  } else {
    __syncthreads();
  }
}

__global__ void spin_kernel(unsigned* flag) {
  while (atomicAdd(flag, 0u) == 0u) {
  }
}

__global__ void spin_until_released_kernel(unsigned* flag) {
  if (threadIdx.x == 0) {
    while (atomicAdd(flag, 0u) == 0u) {
    }
  } else if (threadIdx.x == 33) {
    atomicExch(flag, 1u);
  }
}

constexpr int kLoopLine = __LINE__ + 4;
__global__ void endless_loop_kernel(unsigned* out) {
  volatile unsigned steps = 1;
  while (steps != 0) {
    steps = steps | 1u;
  }
  out[0] = steps;
}

constexpr int kAbsentLaneLine = __LINE__ + 3;
__global__ void absent_lane_kernel(float* out, unsigned count) {
  if (threadIdx.x >= count) return;
  out[threadIdx.x] = __shfl_xor_sync(0xffffffffu, 1.0f, 16);
}

constexpr int kWarpDivergenceLine = __LINE__ + 4;
__global__ void warp_divergence_kernel(float* out) {
  float value;
  if ((threadIdx.x & 1u) == 0) {
    value = __shfl_xor_sync(0xffffffffu, 1.0f, 2);
  } else {
    value = __shfl_xor_sync(0xffffffffu, 2.0f, 2);
  }
  out[threadIdx.x] = value;
}

constexpr int kWarpMaskLine = __LINE__ + 1;
__global__ void warp_mask_kernel(float* out) { out[threadIdx.x] = __shfl_xor_sync(0xffff0000u, 1.0f, 1); }

constexpr int kOverlapLine = __LINE__ + 2;
__global__ void overlapping_masks_kernel() {
  if (threadIdx.x == 0) __syncwarp(0x3u);
  if (threadIdx.x == 1) __syncwarp(0x7u);
}

constexpr int kWidthLine = __LINE__ + 1;
__global__ void shuffle_width_kernel(float* out) { out[threadIdx.x] = __shfl_sync(0xffffffffu, 1.0f, 0, 12); }

constexpr int kHalfWarpLine = __LINE__ + 4;
__global__ void half_warp_product_kernel(float* out) {
  if (threadIdx.x >= 16) return;
  float d[4] = {};
  simt::mma_m16n8k16(d, {0, 0, 0, 0}, {0, 0});
  out[threadIdx.x] = d[0];
}

}  // namespace

TEST_CASE("threads that meet at different barriers are reported", "[simt]") {
  DeviceArray<float> out(64);
  const Outcome outcome = run(divergent_barrier_kernel, 1, 64, 0, out);
  check_fault(outcome, {"divergent-barrier", "(anonymous namespace)::divergent_barrier_kernel", "(0,0,0)",
                        "(63,0,0)", SIMT_TEST_LINE(kDivergentLine)});
  CHECK_THAT(outcome.report, Catch::Matchers::Contains("threads 0..39: wait in __syncthreads at"));
  CHECK_THAT(outcome.report, Catch::Matchers::Contains("threads 40..63: wait in __syncthreads at"));
}

TEST_CASE("an exit before a barrier is a fault in strict mode only", "[simt]") {
  DeviceArray<float> out(64);
  check_clean(run(exit_before_barrier_kernel, 1, 64, 0, out, 40u));
  const ConfigGuard guard;
  simt::config.strict_exit = true;
  check_fault(run(exit_before_barrier_kernel, 1, 64, 0, out, 40u),
              {"exit-before-barrier", "(anonymous namespace)::exit_before_barrier_kernel", "(0,0,0)", "(", "",
               "exited"});
}

TEST_CASE("a deadlock names who waits where", "[simt]") {
  DeviceArray<float> out(32);
  check_fault(run(deadlock_kernel, 1, 32, 0, out),
              {"deadlock", "(anonymous namespace)::deadlock_kernel", "(0,0,0)", "(31,0,0)",
               SIMT_TEST_LINE(kDeadlockLine), "threads 0..15: wait in __shfl_xor_sync"});
}

TEST_CASE("threads that spin on atomics for ever are reported, and those that are released are not",
          "[simt]") {
  const ConfigGuard guard;
  simt::config.livelock_spins = 20'000;
  DeviceArray<unsigned> flag(zeros<unsigned>(1));
  check_fault(run(spin_kernel, 1, 32, 0, flag), {"livelock", "(anonymous namespace)::spin_kernel", "(0,0,0)",
                                                 "(", "", "atomics without progress"});
  check_clean(run(spin_until_released_kernel, 1, 64, 0, flag));
}

TEST_CASE("a loop without end is stopped by the watchdog", "[simt]") {
  const ConfigGuard guard;
  simt::config.watchdog_seconds = 1;
  DeviceArray<unsigned> out(1);
  const Outcome outcome = run(endless_loop_kernel, 1, 1, 0, out);
  check_fault(outcome, {"livelock", "(anonymous namespace)::endless_loop_kernel", "(0,0,0)", "(0,0,0)", "",
                        "loop for ever"});
  const bool in_the_loop = outcome.report.find(SIMT_TEST_LINE(kLoopLine)) != std::string::npos ||
                           outcome.report.find(SIMT_TEST_LINE(kLoopLine - 1)) != std::string::npos;
  CHECK((in_the_loop || in_asan_mode() || in_race_mode()));  // sanitizers add calls of their own
}

TEST_CASE("a shuffle that reads an absent lane is reported", "[simt]") {
  DeviceArray<float> out(32);
  const std::string kernel = "(anonymous namespace)::absent_lane_kernel",
                    line = SIMT_TEST_LINE(kAbsentLaneLine);
  check_fault(run(absent_lane_kernel, 1, 32, 0, out, 10u),
              {"absent-lane", kernel, "(0,0,0)", "(0,0,0)", line, "lane 0 reads lane 16"});
  check_fault(run(absent_lane_kernel, 1, 16, 0, out, 16u),  // a warp of 16 threads
              {"absent-lane", kernel, "(0,0,0)", "(15,0,0)", line, "lane 15 reads lane 31"});
  check_clean(run(absent_lane_kernel, 1, 32, 0, out, 32u));
}

TEST_CASE("lanes that do not meet at one warp operation are reported", "[simt]") {
  DeviceArray<float> out(32);
  check_fault(run(warp_divergence_kernel, 1, 32, 0, out),
              {"warp-divergence", "(anonymous namespace)::warp_divergence_kernel", "(0,0,0)", "(1,0,0)",
               SIMT_TEST_LINE(kWarpDivergenceLine)});
  check_fault(run(warp_mask_kernel, 1, 32, 0, out),
              {"warp-mask", "(anonymous namespace)::warp_mask_kernel", "(0,0,0)", "(0,0,0)",
               SIMT_TEST_LINE(kWarpMaskLine), "lacks the calling lane 0"});
  check_fault(run(overlapping_masks_kernel, 1, 32, 0),
              {"warp-mask", "(anonymous namespace)::overlapping_masks_kernel", "(0,0,0)", "(1,0,0)",
               SIMT_TEST_LINE(kOverlapLine)});
  check_fault(run(shuffle_width_kernel, 1, 32, 0, out),
              {"warp-operation", "(anonymous namespace)::shuffle_width_kernel", "(0,0,0)", "(0,0,0)",
               SIMT_TEST_LINE(kWidthLine), "width 12"});
  check_fault(run(half_warp_product_kernel, 1, 32, 0, out),
              {"absent-lane", "(anonymous namespace)::half_warp_product_kernel", "(0,0,0)", "(",
               SIMT_TEST_LINE(kHalfWarpLine), "needs all 32 lanes"});
}
