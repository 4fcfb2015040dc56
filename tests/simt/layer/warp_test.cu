// Shuffles, votes, matches and reductions of a warp.
#include "support.h"

using namespace simt_test;

namespace {

__global__ void shuffle_kernel(int* out) {
  const int lane = static_cast<int>(threadIdx.x);
  out[lane] = __shfl_sync(0xffffffffu, lane, 5);
  out[32 + lane] = __shfl_up_sync(0xffffffffu, lane, 3);
  out[64 + lane] = __shfl_down_sync(0xffffffffu, lane, 3);
  out[96 + lane] = __shfl_xor_sync(0xffffffffu, lane, 9);
  out[128 + lane] = __shfl_sync(0xffffffffu, lane, 5, 8);
  out[160 + lane] = static_cast<int>(__shfl_xor_sync(0xffffffffu, static_cast<double>(lane), 1));
  out[192 + lane] = static_cast<int>(
      __bfloat162float(__shfl_xor_sync(0xffffffffu, __float2bfloat16(static_cast<float>(lane)), 2)));
}

__global__ void vote_kernel(unsigned* out) {
  const unsigned lane = threadIdx.x;
  out[lane] = __ballot_sync(0xffffffffu, lane % 3 == 0);
  out[32 + lane] = static_cast<unsigned>(__any_sync(0xffffffffu, lane == 7) + 2 * __any_sync(0xffffffffu, 0));
  out[64 + lane] =
      static_cast<unsigned>(__all_sync(0xffffffffu, lane < 32) + 2 * __all_sync(0xffffffffu, lane != 7));
  out[96 + lane] = __match_any_sync(0xffffffffu, lane / 8);
  int all = 0;
  out[128 + lane] = __match_all_sync(0xffffffffu, 4u, &all) + static_cast<unsigned>(all);
  out[160 + lane] = __match_all_sync(0xffffffffu, lane, &all) + static_cast<unsigned>(all);
}

__global__ void reduce_kernel(int* out) {
  const int lane = static_cast<int>(threadIdx.x);
  out[lane] = __reduce_add_sync(0xffffffffu, lane);
  out[32 + lane] = __reduce_max_sync(0xffffffffu, -lane);
  out[64 + lane] = static_cast<int>(__reduce_or_sync(0xffffffffu, 1u << (lane % 5)));
}

// Halves of a warp go their own ways, and meet again.
__global__ void halves_kernel(int* out) {
  const int lane = static_cast<int>(threadIdx.x);
  int sum = lane;
  if (lane < 16) {
    for (int step = 8; step > 0; step /= 2) sum += __shfl_xor_sync(0x0000ffffu, sum, step);
  } else {
    for (int step = 8; step > 0; step /= 2) sum += __shfl_xor_sync(0xffff0000u, sum, step);
  }
  __syncwarp();
  out[lane] = __shfl_xor_sync(0xffffffffu, sum, 16);
}

__global__ void whole_warp_exit_kernel(float* out, unsigned rows) {
  const unsigned row = threadIdx.x / 32;
  if (row >= rows) return;
  float value = 1.0f;
  for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(0xffffffffu, value, step);
  if (threadIdx.x % 32 == 0) out[row] = value;
}

}  // namespace

TEST_CASE("shuffles move values as CUDA says, in every order", "[simt]") {
  const ConfigGuard guard;
  for (const simt::Order order : {simt::Order::forward, simt::Order::reverse, simt::Order::random}) {
    simt::config.order = order;
    const DeviceArray<int> out(224);
    check_clean(run(shuffle_kernel, 1, 32, 0, out));
    const std::vector<int> values = out.host();
    for (int lane = 0; lane < 32; lane++) {
      const auto at = [&](int row) { return values[static_cast<std::size_t>(row * 32 + lane)]; };
      CHECK(at(0) == 5);
      CHECK(at(1) == (lane < 3 ? lane : lane - 3));
      CHECK(at(2) == (lane > 28 ? lane : lane + 3));
      CHECK(at(3) == (lane ^ 9));
      CHECK(at(4) == lane / 8 * 8 + 5);
      CHECK(at(5) == (lane ^ 1));
      CHECK(at(6) == (lane ^ 2));
    }
  }
}

TEST_CASE("votes and matches", "[simt]") {
  const DeviceArray<unsigned> out(192);
  check_clean(run(vote_kernel, 1, 32, 0, out));
  const std::vector<unsigned> values = out.host();
  for (unsigned lane = 0; lane < 32; lane++) {
    CHECK(values[lane] == 0x49249249u);
    CHECK(values[32 + lane] == 1u);
    CHECK(values[64 + lane] == 1u);
    CHECK(values[96 + lane] == 0xffu << (lane / 8 * 8));
    CHECK(values[128 + lane] == 0u);  // all lanes plus one
    CHECK(values[160 + lane] == 0u);
  }
}

TEST_CASE("reductions of a warp", "[simt]") {
  const DeviceArray<int> out(96);
  check_clean(run(reduce_kernel, 1, 32, 0, out));
  const std::vector<int> values = out.host();
  for (std::size_t lane = 0; lane < 32; lane++) {
    CHECK(values[lane] == 496);
    CHECK(values[32 + lane] == 0);
    CHECK(values[64 + lane] == 31);
  }
}

TEST_CASE("parts of a warp may diverge and meet again", "[simt]") {
  const DeviceArray<int> out(32);
  check_clean(run(halves_kernel, 1, 32, 0, out));
  const std::vector<int> values = out.host();
  for (std::size_t lane = 0; lane < 32; lane++) CHECK(values[lane] == (lane < 16 ? 376 : 120));
}

TEST_CASE("whole warps may leave early", "[simt]") {
  const DeviceArray<float> out(3);
  check_clean(run(whole_warp_exit_kernel, 1, 128, 0, out, 3u));
  CHECK(out.host() == std::vector<float>(3, 32.0f));
}
