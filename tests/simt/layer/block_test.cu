// Blocks, grids, atomics and orders; launches that cannot be; and the environment.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "simt/seam.h"
#include "support.h"

using namespace simt_test;

namespace {

__global__ void indices_kernel(unsigned* out) {
  const unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  const unsigned thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  out[block * blockDim.x * blockDim.y * blockDim.z + thread] = block * 1000 + thread;
}

constexpr int kSumBarrierLine = __LINE__ + 7;
__global__ void block_sum_kernel(const float* in, float* out, unsigned count) {
  SIMT_SHARED(float, partial, [256]);
  float sum = 0.0f;
  for (unsigned i = threadIdx.x; i < count; i += blockDim.x) sum += in[blockIdx.x * count + i];
  partial[threadIdx.x] = sum;
  for (unsigned half = blockDim.x / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) partial[threadIdx.x] += partial[threadIdx.x + half];
  }
  if (threadIdx.x == 0) out[blockIdx.x] = partial[0];
}

__global__ void votes_kernel(int* out, unsigned leave) {
  if (threadIdx.x >= leave) return;
  const int odd = static_cast<int>(threadIdx.x & 1u);
  const int count = __syncthreads_count(odd), any = __syncthreads_or(threadIdx.x == 3),
            none = __syncthreads_or(0), all = __syncthreads_and(1), not_all = __syncthreads_and(odd);
  if (threadIdx.x == 0) {
    out[0] = count;
    out[1] = any;
    out[2] = none;
    out[3] = all;
    out[4] = not_all;
  }
}

__global__ void atomics_kernel(int* ints, unsigned* words, unsigned long long* wide, float* floats,
                               double* doubles, __nv_bfloat162* bf16, __half2* f16) {
  const int i = static_cast<int>(threadIdx.x);
  atomicAdd(&ints[0], i);
  atomicMax(&ints[1], i);
  atomicMin(&ints[2], -i);
  atomicSub(&ints[3], 1);
  atomicAdd(&words[0], 1u);
  atomicInc(&words[1], 4u);
  atomicOr(&words[2], 1u << (threadIdx.x % 32));
  atomicXor(&words[3], 1u);
  unsigned seen = words[4], old;
  do {
    old = seen;
    seen = atomicCAS(&words[4], old, old + 2);
  } while (seen != old);
  atomicAdd(&wide[0], 1ull << 33);
  atomicAdd(&floats[0], 0.5f);
  atomicAdd(&doubles[0], 0.25);
  atomicAdd(&bf16[0], __floats2bfloat162_rn(1.0f, 2.0f));
  atomicAdd(&f16[0], __floats2half2_rn(1.0f, 2.0f));
}

__global__ void empty_kernel() {}

simt::Launch empty_launch(dim3 grid, dim3 block, std::size_t shared_bytes) {
  simt::Launch launch;
  launch.call = [](const void*) {};
  launch.grid = grid;
  launch.block = block;
  launch.shared_bytes = shared_bytes;
  launch.name = "empty";
  return launch;
}

std::vector<float> sums(simt::Order order, std::uint64_t seed) {
  const ConfigGuard guard;
  simt::config.order = order;
  simt::config.seed = seed;
  std::vector<float> in(7 * 1000);
  for (std::size_t i = 0; i < in.size(); i++) in[i] = 1.0f / static_cast<float>(i + 1);
  const DeviceArray<float> device_in(in), out(7);
  check_clean(run(block_sum_kernel, 7, 256, 0, device_in, out, 1000u));
  return out.host();
}

}  // namespace

TEST_CASE("every thread of every block runs once, with its indices", "[simt]") {
  const DeviceArray<unsigned> out(24 * 60);
  check_clean(run(indices_kernel, dim3(2, 3, 4), dim3(5, 4, 3), 0, out));
  const std::vector<unsigned> values = out.host();
  for (unsigned i = 0; i < values.size(); i++) CHECK(values[i] == i / 60 * 1000 + i % 60);
}

TEST_CASE("a correct kernel gives the same bits in every order", "[simt]") {
  const std::vector<float> forward = sums(simt::Order::forward, 1);
  CHECK(sums(simt::Order::reverse, 1) == forward);
  for (std::uint64_t seed = 1; seed <= 5; seed++) CHECK(sums(simt::Order::random, seed) == forward);
}

TEST_CASE("block votes count the threads that are left", "[simt]") {
  for (const unsigned leave : {64u, 40u}) {
    const DeviceArray<int> out(5);
    check_clean(run(votes_kernel, 1, 64, 0, out, leave));
    CHECK(out.host() == std::vector<int>{static_cast<int>(leave / 2), 1, 0, 1, 0});
  }
}

TEST_CASE("atomics of every type", "[simt]") {
  const DeviceArray<int> ints(zeros<int>(4));
  const DeviceArray<unsigned> words(zeros<unsigned>(5));
  const DeviceArray<unsigned long long> wide(zeros<unsigned long long>(1));
  const DeviceArray<float> floats(zeros<float>(1));
  const DeviceArray<double> doubles(zeros<double>(1));
  const DeviceArray<__nv_bfloat162> bf16(zeros<__nv_bfloat162>(1));
  const DeviceArray<__half2> f16(zeros<__half2>(1));
  run(atomics_kernel, 1, 64, 0, ints, words, wide, floats, doubles, bf16,
      f16);  // reads words[4] beside atomics
  CHECK(ints.host() == std::vector<int>{2016, 63, -63, -64});
  CHECK(words.host() == std::vector<unsigned>{64, 64 % 5, 0xffffffffu, 0, 128});
  CHECK(wide.host()[0] == 64ull << 33);
  CHECK(floats.host()[0] == 32.0f);
  CHECK(doubles.host()[0] == 16.0);
  CHECK(__bfloat162float(bf16.host()[0].x) == 64.0f);
  CHECK(__half2float(f16.host()[0].y) == 128.0f);
}

TEST_CASE("launches that a device cannot take are refused", "[simt]") {
  CHECK(run(empty_kernel, 1, 2000, 0).error != cudaSuccess);
  const ConfigGuard guard;
  const auto refused = [](dim3 grid, dim3 block, std::size_t shared_bytes, const char* text) {
    CHECK(simt::run_kernel(empty_launch(grid, block, shared_bytes)) == cudaErrorInvalidConfiguration);
    check_report(simt::last_error, {"launch-shape", "empty", "", "", "", text});
  };
  refused(1, 1025, 0, "1 to 1,024");
  refused(1, dim3(1, 1, 65), 0, "at most 64 in z");
  refused(0, 32, 0, "grid of 0");
  refused(dim3(1, 65536), 32, 0, "65,535");
  refused(1, 32, 227 * 1024 + 1, "232,448");
  CHECK(simt::run_kernel(empty_launch(dim3(3, 2), dim3(4, 4), 227 * 1024)) == cudaSuccess);
  simt::runtime::reset();
}

TEST_CASE("barrier sites can be listed and skipped from the environment", "[simt]") {
  const char* name = "a correct kernel gives the same bits in every order";
  std::string list = (std::filesystem::temp_directory_path() / "simt_sites_XXXXXX").string();
  const int descriptor = mkstemp(list.data());
  REQUIRE(descriptor >= 0);
  using Catch::Matchers::Contains;
  CHECK_THAT(output_of_test(std::string("SIMT_LIST_BARRIERS=") + list, name), Contains("All tests passed"));
  char text[512] = {};
  CHECK(read(descriptor, text, sizeof text - 1) > 0);
  close(descriptor);
  std::remove(list.c_str());
  const std::string site = SIMT_TEST_LINE(kSumBarrierLine);
  CHECK_THAT(text, Contains(site + ":") && Contains(" __syncthreads\n"));
  // The order shows this one even where no race checker looks.
  const std::string output = output_of_test("SIMT_SKIP_BARRIER=" + site, name);
  CHECK_THAT(output, Contains("FAILED"));
  if (in_race_mode()) CHECK_THAT(output, Contains("[race]") || Contains("[uninitialised-read]"));
}
