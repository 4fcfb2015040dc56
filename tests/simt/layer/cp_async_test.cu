// Copies that complete later: what arrives, and what a kernel must not do with them.
#include <cmath>

#include "support.h"

using namespace simt_test;

namespace {

enum class Wait { all, all_but_one, none_before_read };

constexpr int kReadLine = __LINE__ + 12;
template <Wait wait, bool barrier = true>
__global__ void double_buffer_kernel(const float* in, float* out, int tiles) {
  SIMT_SHARED(float4, buffer, [2][32]);
  const auto load = [&](int tile) {
    simt::cp_async16(&buffer[tile & 1][threadIdx.x],
                     in + (static_cast<unsigned>(tile) * 32 + threadIdx.x) * 4);
    simt::cp_async_commit();
  };
  load(0);
  for (int tile = 0; tile < tiles; tile++) {
    if (tile + 1 < tiles) load(tile + 1);
    if (wait == Wait::all || (wait == Wait::all_but_one && tile + 1 == tiles)) simt::cp_async_wait<0>();
    if (wait == Wait::all_but_one && tile + 1 < tiles) simt::cp_async_wait<1>();
    if (barrier) __syncthreads();
    const float* row = reinterpret_cast<const float*>(buffer[tile & 1]);
    for (unsigned i = threadIdx.x; i < 128; i += 32) {
      out[static_cast<unsigned>(tile) * 128 + i] = row[127 - i];
    }
    __syncthreads();
  }
  simt::cp_async_wait<0>();
}

__global__ void zero_fill_kernel(const float* in, float* out, unsigned valid) {
  SIMT_SHARED(float4, wide, [32]);
  SIMT_SHARED(float, narrow, [32]);
  // The source of a copy that is not valid may lie anywhere.
  simt::cp_async16(&wide[threadIdx.x], threadIdx.x < valid ? in + threadIdx.x * 4 : nullptr,
                   threadIdx.x < valid);
  simt::cp_async4(&narrow[threadIdx.x], in + threadIdx.x, threadIdx.x < valid);
  simt::cp_async_commit();
  simt::cp_async_wait<0>();
  __syncthreads();
  out[threadIdx.x] = wide[31 - threadIdx.x].w;
  out[32 + threadIdx.x] = narrow[31 - threadIdx.x];
}

__global__ void never_waited_kernel(const float* in) {
  SIMT_SHARED(float4, buffer, [32]);
  simt::cp_async16(&buffer[threadIdx.x], in + threadIdx.x * 4);
  simt::cp_async_commit();
}

constexpr int kMisalignedLine = __LINE__ + 3;
__global__ void misaligned_copy_kernel(const float* in) {
  SIMT_SHARED(float4, buffer, [32]);
  simt::cp_async16(&buffer[threadIdx.x], in + threadIdx.x * 4 + 1);
}

constexpr int kDestinationLine = __LINE__ + 2;
__global__ void copy_to_global_kernel(const float* in, float* out) {
  simt::cp_async4(out + threadIdx.x, in + threadIdx.x);
}

std::vector<float> counting(std::size_t count) {
  std::vector<float> values(count);
  for (std::size_t i = 0; i < count; i++) values[i] = static_cast<float>(i);
  return values;
}

}  // namespace

TEST_CASE("a double buffer of asynchronous copies works, whenever they complete", "[simt]") {
  const ConfigGuard guard;
  const int tiles = 5;
  const DeviceArray<float> in(counting(128 * tiles));
  for (const bool late : {false, true}) {
    simt::config.late_cp_async = late;
    for (auto* kernel : {double_buffer_kernel<Wait::all>, double_buffer_kernel<Wait::all_but_one>}) {
      const DeviceArray<float> out(128 * tiles);
      check_clean(run(kernel, 1, 32, 0, in, out, tiles));
      const std::vector<float> values = out.host();
      for (std::size_t i = 0; i < values.size(); i++) {
        REQUIRE(values[i] == static_cast<float>(i / 128 * 128 + 127 - i % 128));
      }
    }
  }
}

TEST_CASE("a copy that is read before the wait is NaN, and a fault in the race build", "[simt]") {
  const ConfigGuard guard;
  const int tiles = 3;
  const DeviceArray<float> in(counting(128 * tiles)), out(128 * tiles);
  for (const bool late : {false, true}) {
    simt::config.late_cp_async = late;
    const Outcome outcome = run(double_buffer_kernel<Wait::none_before_read>, 1, 32, 0, in, out, tiles);
    if (late) CHECK(std::isnan(out.host()[0]));
    if (in_race_mode()) {
      check_fault(outcome, {"uninitialised-read", "(anonymous namespace)::double_buffer_kernel<", "(0,0,0)",
                            "(0,0,0)", SIMT_TEST_LINE(kReadLine + 5)});
    } else {
      check_clean(outcome);
    }
  }
}

TEST_CASE("a wait orders a thread's own copies only", "[simt]") {
  const DeviceArray<float> in(counting(128)), out(128);
  const Outcome outcome = run(double_buffer_kernel<Wait::all, false>, 1, 32, 0, in, out, 1);
  if (in_race_mode()) {
    check_fault(outcome, {"race", "(anonymous namespace)::double_buffer_kernel<", "(0,0,0)", "(",
                          "cp_async_test.cu:", "no __syncwarp"});
  } else {
    check_clean(outcome);
  }
}

TEST_CASE("a copy that is not valid writes zeros and reads nothing", "[simt]") {
  const DeviceArray<float> in(counting(4 * 20)), out(64);
  check_clean(run(zero_fill_kernel, 1, 32, 0, in, out, 20u));
  const std::vector<float> values = out.host();
  for (unsigned i = 0; i < 32; i++) {
    const unsigned lane = 31 - i;
    CHECK(values[i] == (lane < 20 ? static_cast<float>(4 * lane + 3) : 0.0f));
    CHECK(values[32 + i] == (lane < 20 ? static_cast<float>(lane) : 0.0f));
  }
}

TEST_CASE("copies that are misplaced, misaligned or never waited for are reported", "[simt]") {
  const DeviceArray<float> in(counting(256)), out(32);
  check_fault(run(never_waited_kernel, 1, 32, 0, in),
              {"cp-async", "(anonymous namespace)::never_waited_kernel", "(0,0,0)", "(0,0,0)", "",
               "never waited for"});
  check_fault(run(misaligned_copy_kernel, 1, 32, 0, in),
              {"misaligned", "(anonymous namespace)::misaligned_copy_kernel", "(0,0,0)", "(0,0,0)",
               SIMT_TEST_LINE(kMisalignedLine)});
  check_fault(run(copy_to_global_kernel, 1, 32, 0, in, out),
              {"cp-async", "(anonymous namespace)::copy_to_global_kernel", "(0,0,0)", "(0,0,0)",
               SIMT_TEST_LINE(kDestinationLine), "not in shared memory"});
}
