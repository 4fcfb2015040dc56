// Faults of ordering: only the race build sees them all, and every correct twin must pass it.
#include "support.h"

using namespace simt_test;

namespace {

enum class Order { none, warp, block };

template <Order order>
__device__ void synchronise() {
  if constexpr (order == Order::warp) __syncwarp();
  if constexpr (order == Order::block) __syncthreads();
}

// Each thread reads what its mirror image wrote.
constexpr int kExchangeLine = __LINE__ + 6;
template <Order order, unsigned Count, class T>
__global__ void exchange_kernel(T* out) {
  SIMT_SHARED(T, s, [Count]);
  s[threadIdx.x] = static_cast<T>(threadIdx.x & 1u);
  synchronise<order>();
  out[threadIdx.x] = s[Count - 1 - threadIdx.x];
}

// The buffer is written again while others may still read it.
constexpr int kReuseLine = __LINE__ + 6;
template <Order order>
__global__ void reuse_kernel(float* out) {
  SIMT_SHARED(float, s, [64]);
  float sum = 0.0f;
  for (int round = 0; round < 2; round++) {
    s[threadIdx.x] = static_cast<float>(round);
    __syncthreads();
    sum += s[63 - threadIdx.x];
    synchronise<order>();
  }
  out[threadIdx.x] = sum;
}

constexpr int kPlainAddLine = __LINE__ + 2;
__global__ void plain_add_kernel(float* sum) {
  if (threadIdx.x == 0) *sum += 1.0f;
}
__global__ void atomic_add_kernel(float* sum) { atomicAdd(sum, 1.0f); }

constexpr int kPlainReadLine = __LINE__ + 4;
__global__ void plain_read_of_atomic_kernel(unsigned* counter, unsigned* out) {
  atomicAdd(counter, 1u);
  if (threadIdx.x == 40) {
    out[0] = *counter;
  }
}

enum class Fence { none, block, early, device };

// The last block to arrive adds what the others wrote.
constexpr int kLastBlockLine = __LINE__ + 17;
template <Fence fence>
__global__ void last_block_kernel(float* parts, unsigned* counter, float* out) {
  SIMT_SHARED(bool, last, [1]);
  if (threadIdx.x < 2) parts[blockIdx.x * 2 + threadIdx.x] = 1.0f;
  if constexpr (fence == Fence::early) {
    if (threadIdx.x == 0) __threadfence();
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    if constexpr (fence == Fence::device) __threadfence();
    if constexpr (fence == Fence::block) __threadfence_block();
    last[0] = atomicInc(counter, gridDim.x - 1) == gridDim.x - 1;
  }
  __syncthreads();
  if (last[0] && threadIdx.x == 1) {
    float sum = 0.0f;
    for (unsigned i = 0; i < gridDim.x; i++) sum += parts[2 * i] + parts[2 * i + 1];
    out[0] = sum;
  }
}

// Neighbours share words, never bytes.
template <class T>
__global__ void neighbours_kernel(T* data) {
  SIMT_SHARED(T, s, [64]);
  s[threadIdx.x] = static_cast<T>(threadIdx.x & 1u);
  data[threadIdx.x] = s[threadIdx.x];
}

__global__ void write_one_element_kernel(float* data) {
  data[threadIdx.x & 1u] = static_cast<float>(blockIdx.x);
}

void check_race(const Outcome& outcome, const Expected& expected) {
  if (in_race_mode()) {
    check_fault(outcome, expected);
  } else {
    check_clean(outcome);
  }
}

}  // namespace

TEST_CASE("a missing barrier is a race", "[simt]") {
  DeviceArray<float> out(64);
  check_clean(run(exchange_kernel<Order::block, 64, float>, 1, 64, 0, out));
  check_race(run(exchange_kernel<Order::none, 64, float>, 1, 64, 0, out),
             {"race", "(anonymous namespace)::exchange_kernel<", "(0,0,0)", "(32,0,0)",
              SIMT_TEST_LINE(kExchangeLine), "no __syncthreads lies between"});
  check_race(
      run(exchange_kernel<Order::warp, 64, float>, 1, 64, 0, out),  // two warps
      {"race", "(anonymous namespace)::exchange_kernel<", "(0,0,0)", "(", SIMT_TEST_LINE(kExchangeLine)});
}

TEST_CASE("a missing __syncwarp is a race", "[simt]") {
  DeviceArray<float> out(32);
  check_clean(run(exchange_kernel<Order::warp, 32, float>, 1, 32, 0, out));
  check_race(run(exchange_kernel<Order::none, 32, float>, 1, 32, 0, out),
             {"race", "(anonymous namespace)::exchange_kernel<", "(0,0,0)", "(16,0,0)",
              SIMT_TEST_LINE(kExchangeLine), "the same warp"});
}

TEST_CASE("a buffer that is reused too early is a race", "[simt]") {
  DeviceArray<float> out(64);
  check_clean(run(reuse_kernel<Order::block>, 1, 64, 0, out));
  check_race(run(reuse_kernel<Order::none>, 1, 64, 0, out),
             {"race", "(anonymous namespace)::reuse_kernel<", "(0,0,0)", "(", SIMT_TEST_LINE(kReuseLine),
              "conflicts with the read"});
}

TEST_CASE("a plain addition in place of an atomic is a race", "[simt]") {
  DeviceArray<float> sum(zeros<float>(1));
  check_clean(run(atomic_add_kernel, 4, 64, 0, sum));
  CHECK(sum.host()[0] == 256.0f);
  check_race(run(plain_add_kernel, 4, 64, 0, sum),
             {"race", "(anonymous namespace)::plain_add_kernel", "(1,0,0)", "(0,0,0)",
              SIMT_TEST_LINE(kPlainAddLine), "thread 0 of block 0"});
  DeviceArray<float> data(2);
  check_race(run(write_one_element_kernel, 2, 2, 0, data), {"race", "", "(1,0,0)", "(0,0,0)"});
}

TEST_CASE("a plain read beside atomics is a race", "[simt]") {
  DeviceArray<unsigned> counter(zeros<unsigned>(1)), out(1);
  check_race(run(plain_read_of_atomic_kernel, 1, 64, 0, counter, out),
             {"race", "(anonymous namespace)::plain_read_of_atomic_kernel", "(0,0,0)", "(41,0,0)",
              SIMT_TEST_LINE(kPlainReadLine), "conflicts with the read by thread 40"});
}

TEST_CASE("the last block needs a __threadfence, after the writes and as wide as the device", "[simt]") {
  DeviceArray<float> parts(16), out(1);
  DeviceArray<unsigned> counter(zeros<unsigned>(1));
  check_clean(run(last_block_kernel<Fence::device>, 8, 64, 0, parts, counter, out));
  CHECK(out.host()[0] == 16.0f);
  for (auto* kernel :
       {last_block_kernel<Fence::none>, last_block_kernel<Fence::block>, last_block_kernel<Fence::early>}) {
    DeviceArray<float> new_parts(16);
    check_race(run(kernel, 8, 64, 0, new_parts, counter, out),
               {"race", "(anonymous namespace)::last_block_kernel<", "(7,0,0)", "(1,0,0)",
                SIMT_TEST_LINE(kLastBlockLine), "__threadfence"});
  }
}

TEST_CASE("elements smaller than a word do not race with their neighbours", "[simt]") {
  DeviceArray<unsigned char> bytes(64);
  DeviceArray<unsigned short> halves(64);
  check_clean(run(neighbours_kernel<unsigned char>, 1, 64, 0, bytes));
  check_clean(run(neighbours_kernel<unsigned short>, 1, 64, 0, halves));
  check_clean(run(exchange_kernel<Order::block, 64, unsigned char>, 1, 64, 0, bytes));
  check_race(run(exchange_kernel<Order::none, 64, unsigned char>, 1, 64, 0, bytes), {"race"});
  check_race(run(exchange_kernel<Order::none, 64, unsigned short>, 1, 64, 0, halves), {"race"});
}

TEST_CASE("a fault is found again in the next launch", "[simt]") {
  DeviceArray<float> out(64);
  for (int launch = 0; launch < 3; launch++) {
    check_race(run(exchange_kernel<Order::none, 64, float>, 1, 64, 0, out), {"race"});
    check_clean(run(exchange_kernel<Order::block, 64, float>, 1, 64, 0, out));
  }
}

TEST_CASE("a planted fault goes unnoticed", "[simt][canary][!shouldfail]") {
  // Fails when the checker works, as it must: a blind one turns this test red.
  DeviceArray<float> out(64);
  if (in_race_mode()) {
    check_clean(run(exchange_kernel<Order::none, 64, float>, 1, 64, 0, out));
  } else {
    check_clean(run(exchange_kernel<Order::block, 64, float>, 1, 2000, 0, out));
  }
}
