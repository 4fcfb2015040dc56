// Faults of addresses: out of bounds, misaligned, never written, too much stack or shared memory.
#include <cmath>

#include "support.h"

using namespace simt_test;

namespace {

constexpr int kStaticReadLine = __LINE__ + 5;
__global__ void static_shared_read_kernel(float* out, unsigned offset) {
  SIMT_SHARED(float, s, [32]);
  s[threadIdx.x] = 1.0f;
  __syncthreads();
  out[threadIdx.x] = *(&s[0] + threadIdx.x + offset);
}

constexpr int kStaticWriteLine = __LINE__ + 4;
__global__ void static_shared_write_kernel(unsigned offset) {
  SIMT_SHARED(float, values, [32]);
  float* p = &values[0];
  p[threadIdx.x + offset] = 1.0f;
}

constexpr int kDynamicReadLine = __LINE__ + 4;
__global__ void dynamic_shared_read_kernel(float* out, unsigned offset) {
  SIMT_DYN_SHARED(bytes);
  const float* p = reinterpret_cast<const float*>(bytes);
  out[threadIdx.x] = p[threadIdx.x + offset];
}

constexpr int kDynamicWriteLine = __LINE__ + 3;
__global__ void dynamic_shared_write_kernel(unsigned offset) {
  SIMT_DYN_SHARED(bytes);
  reinterpret_cast<float*>(bytes)[threadIdx.x + offset] = 1.0f;
}

__global__ void large_static_kernel() {
  SIMT_SHARED(float, a, [8 * 1024]);
  SIMT_SHARED(float, b, [4 * 1024 + 1]);
  a[threadIdx.x] = 1.0f;
  b[threadIdx.x] = 1.0f;
}

__global__ void static_and_dynamic_kernel() {
  SIMT_SHARED(float, a, [1024]);
  a[threadIdx.x] = 1.0f;
}

constexpr int kGlobalReadLine = __LINE__ + 3;
__global__ void global_read_kernel(const float* in, float* out, int index) {
  if (threadIdx.x == 3 && blockIdx.x == 1) {
    out[0] = in[index];
  }
}

constexpr int kUninitialisedLine = __LINE__ + 4;
__global__ void uninitialised_shared_kernel(float* out) {
  SIMT_SHARED(float, s, [32]);
  if (threadIdx.x != 5) s[threadIdx.x] = 0.0f;
  out[threadIdx.x] = s[threadIdx.x];
}

__global__ void last_blocks_shared_memory_kernel(float* out) {
  SIMT_SHARED(float, s, [1]);
  if (blockIdx.x == 0) s[0] = 3.0f;
  out[blockIdx.x] = s[0];
}

constexpr int kMisalignedLine = __LINE__ + 2;
__global__ void misaligned_vector_kernel(const float* in, float4* out) {
  out[threadIdx.x] = *reinterpret_cast<const float4*>(in + 1);
}

constexpr int kMisalignedAtomicLine = __LINE__ + 2;
__global__ void misaligned_atomic_kernel(unsigned char* bytes) {
  atomicAdd(reinterpret_cast<float*>(bytes + 2), 1.0f);
}

struct Indirect {
  const float* pointer;
};
constexpr int kHostMemoryLine = __LINE__ + 1;
__global__ void host_memory_kernel(Indirect in, float* out) { out[threadIdx.x] = in.pointer[threadIdx.x]; }

__attribute__((noinline)) int recurse(int depth) {  // NOLINT: deep on purpose
  volatile char local[1024];
  local[depth & 1023] = 1;
  return depth == 0 ? 0 : recurse(depth - 1) + local[(depth * 7) & 1023];
}
__global__ void deep_recursion_kernel(int* out, int depth) { out[threadIdx.x] = recurse(depth); }

constexpr int kDivisionLine = __LINE__ + 1;
__global__ void division_kernel(int* out, int divisor) { out[threadIdx.x] = 7 / divisor; }

}  // namespace

TEST_CASE("a read past a shared variable is reported by ASan and the race build", "[simt]") {
  DeviceArray<float> out(32);
  check_clean(run(static_shared_read_kernel, 1, 32, 0, out, 0u));
  if (simt::mode() == simt::Mode::fast) {
    run(static_shared_read_kernel, 1, 32, 0, out, 1u);
    CHECK(std::isnan(out.host()[31]));
  } else if (in_asan_mode()) {
    const std::string text = stderr_of_child([&] { run(static_shared_read_kernel, 1, 32, 0, out, 1u); });
    check_report(text, {"sanitizer", "(anonymous namespace)::static_shared_read_kernel", "(0,0,0)",
                        "(31,0,0)", SIMT_TEST_LINE(kStaticReadLine), "use-after-poison"});
  } else if (in_race_mode()) {
    check_fault(run(static_shared_read_kernel, 1, 32, 0, out, 1u),
                {"out-of-bounds", "(anonymous namespace)::static_shared_read_kernel", "(0,0,0)", "(31,0,0)",
                 SIMT_TEST_LINE(kStaticReadLine), "no shared variable"});
  }
}

TEST_CASE("a write past a shared variable is reported in every build", "[simt]") {
  check_clean(run(static_shared_write_kernel, 1, 32, 0, 0u));
  if (in_asan_mode()) {
    const std::string text = stderr_of_child([] { run(static_shared_write_kernel, 1, 32, 0, 1u); });
    check_report(text, {"sanitizer", "(anonymous namespace)::static_shared_write_kernel", "(0,0,0)",
                        "(31,0,0)", SIMT_TEST_LINE(kStaticWriteLine), "use-after-poison"});
    return;
  }
  const Outcome outcome = run(static_shared_write_kernel, 1, 32, 0, 1u);
  check_fault(outcome, {"shared-memory", "(anonymous namespace)::static_shared_write_kernel", "(0,0,0)", "",
                        "", "0 bytes past the end of shared variable 'values' of 128 bytes"});
  if (in_race_mode())
    check_fault(outcome, {"out-of-bounds", "", "", "(31,0,0)", SIMT_TEST_LINE(kStaticWriteLine)});
}

TEST_CASE("an access past the dynamic shared memory that the launch asked for is reported in every build",
          "[simt]") {
  DeviceArray<float> out(32);
  const std::string kernel = "(anonymous namespace)::dynamic_shared_read_kernel";
  check_clean(run(dynamic_shared_write_kernel, 1, 32, 128, 0u));
  // The memory ends at a guard page.
  check_fault(run(dynamic_shared_read_kernel, 1, 32, 128, out, 32u),
              {"bad-address", kernel, "(0,0,0)", "(0,0,0)", SIMT_TEST_LINE(kDynamicReadLine),
               "0 bytes past the end of the 128 bytes of dynamic shared memory"});
  check_fault(run(dynamic_shared_read_kernel, 1, 32, 0, out, 0u),
              {"bad-address", kernel, "(0,0,0)", "(0,0,0)", SIMT_TEST_LINE(kDynamicReadLine)});
  // Less than the alignment past the end: a red zone.
  if (in_asan_mode()) {
    check_report(stderr_of_child([] { run(dynamic_shared_write_kernel, 1, 32, 124, 0u); }),
                 {"sanitizer", "(anonymous namespace)::dynamic_shared_write_kernel", "(0,0,0)", "(31,0,0)",
                  SIMT_TEST_LINE(kDynamicWriteLine)});
    return;
  }
  const Outcome outcome = run(dynamic_shared_write_kernel, 1, 32, 124, 0u);
  check_fault(outcome, {"shared-memory", "(anonymous namespace)::dynamic_shared_write_kernel", "(0,0,0)", "",
                        "", "past the end of the 124 bytes of dynamic shared memory"});
  if (in_race_mode())
    check_fault(outcome, {"out-of-bounds", "", "", "(31,0,0)", SIMT_TEST_LINE(kDynamicWriteLine)});
}

TEST_CASE("more shared memory than a device has is reported", "[simt]") {
  check_fault(run(large_static_kernel, 1, 32, 0),
              {"shared-memory", "(anonymous namespace)::large_static_kernel", "(0,0,0)", "(0,0,0)", "",
               "49156 bytes of static shared memory with 'b'"});
  const std::size_t most = 227 * 1024;
  REQUIRE(cudaFuncSetAttribute(reinterpret_cast<const void*>(static_and_dynamic_kernel),
                               cudaFuncAttributeMaxDynamicSharedMemorySize,
                               static_cast<int>(most)) == cudaSuccess);
  check_clean(run(static_and_dynamic_kernel, 1, 32, most - 4096));
  check_fault(run(static_and_dynamic_kernel, 1, 32, most),
              {"shared-memory", "(anonymous namespace)::static_and_dynamic_kernel", "(0,0,0)", "(0,0,0)", "",
               "for both"});
}

TEST_CASE("a read out of bounds of device memory is reported", "[simt]") {
  DeviceArray<float> in(zeros<float>(10)), out(1);
  const std::string kernel = "(anonymous namespace)::global_read_kernel";
  check_clean(run(global_read_kernel, 2, 32, 0, in, out, 9));
  const auto past_the_end = [&] { return run(global_read_kernel, 2, 32, 0, in, out, 10); };
  if (in_asan_mode()) {
    check_report(stderr_of_child(past_the_end),
                 {"sanitizer", kernel, "(1,0,0)", "(3,0,0)", SIMT_TEST_LINE(kGlobalReadLine)});
  } else if (in_race_mode()) {
    check_fault(past_the_end(),
                {"out-of-bounds", kernel, "(1,0,0)", "(3,0,0)", SIMT_TEST_LINE(kGlobalReadLine)});
  }
  const auto null = [&] { return run(global_read_kernel, 2, 32, 0, nullptr, out, 16); };
  check_fault(null(), {"bad-address", kernel, "(1,0,0)", "(3,0,0)", SIMT_TEST_LINE(kGlobalReadLine), "0x40"});
}

TEST_CASE("memory that nothing wrote reads as NaN, and is reported in the race build", "[simt]") {
  DeviceArray<float> out(32), never_written(32);
  const Outcome outcome = run(uninitialised_shared_kernel, 1, 32, 0, out);
  CHECK(std::isnan(out.host()[5]));
  CHECK(out.host()[6] == 0.0f);
  const Outcome global = run(global_read_kernel, 2, 32, 0, never_written, out, 4);
  CHECK(std::isnan(out.host()[0]));
  if (!in_race_mode()) {
    check_clean(outcome);
    check_clean(global);
    return;
  }
  check_fault(outcome, {"uninitialised-read", "(anonymous namespace)::uninitialised_shared_kernel", "(0,0,0)",
                        "(5,0,0)", SIMT_TEST_LINE(kUninitialisedLine)});
  check_fault(global, {"uninitialised-read", "(anonymous namespace)::global_read_kernel", "(1,0,0)",
                       "(3,0,0)", SIMT_TEST_LINE(kGlobalReadLine)});
}

TEST_CASE("shared memory does not survive its block", "[simt]") {
  DeviceArray<float> out(2);
  const Outcome outcome = run(last_blocks_shared_memory_kernel, 2, 1, 0, out);
  CHECK(out.host()[0] == 3.0f);
  CHECK(std::isnan(out.host()[1]));
  if (in_race_mode()) check_fault(outcome, {"uninitialised-read", "", "(1,0,0)", "(0,0,0)"});
}

TEST_CASE("a misaligned vector is reported by UBSan and the race build, a misaligned atomic by all",
          "[simt]") {
  DeviceArray<float> in(zeros<float>(8));
  DeviceArray<float4> out(1);
  const std::string kernel = "(anonymous namespace)::misaligned_vector_kernel";
  if (in_asan_mode()) {
    check_report(
        stderr_of_child([&] { run(misaligned_vector_kernel, 1, 1, 0, in, out); }),
        {"sanitizer", kernel, "(0,0,0)", "(0,0,0)", SIMT_TEST_LINE(kMisalignedLine), "misaligned address"});
  } else if (in_race_mode()) {
    check_fault(run(misaligned_vector_kernel, 1, 1, 0, in, out),
                {"misaligned", kernel, "(0,0,0)", "(0,0,0)", SIMT_TEST_LINE(kMisalignedLine)});
  }
  DeviceArray<unsigned char> bytes(zeros<unsigned char>(8));
  check_fault(run(misaligned_atomic_kernel, 1, 1, 0, bytes),
              {"misaligned", "(anonymous namespace)::misaligned_atomic_kernel", "(0,0,0)", "(0,0,0)",
               SIMT_TEST_LINE(kMisalignedAtomicLine)});
}

TEST_CASE("a host pointer inside a structure is reported in the race build", "[simt]") {
  DeviceArray<float> out(4);
  const std::vector<float> host(4, 2.0f);
  const Outcome outcome = run(host_memory_kernel, 1, 4, 0, Indirect{host.data()}, out);
  if (in_race_mode()) {
    check_fault(outcome, {"host-memory", "(anonymous namespace)::host_memory_kernel", "(0,0,0)", "(0,0,0)",
                          SIMT_TEST_LINE(kHostMemoryLine)});
    CHECK(outcome.report.find('\n') == std::string::npos);  // one fault, one report
  } else {
    check_clean(outcome);
  }
}

TEST_CASE("a kernel may use page-locked memory, but not the host's memory behind it", "[simt]") {
  DeviceArray<float> out(4);
  std::vector<float> host(4, 2.0f);
  REQUIRE(cudaHostRegister(host.data(), 3 * sizeof(float), cudaHostRegisterDefault) == cudaSuccess);
  check_clean(run(host_memory_kernel, 1, 3, 0, Indirect{host.data()}, out));
  const Outcome outcome = run(host_memory_kernel, 1, 4, 0, Indirect{host.data()}, out);
  if (in_race_mode()) {
    check_fault(outcome, {"host-memory", "(anonymous namespace)::host_memory_kernel", "(0,0,0)", "(3,0,0)",
                          SIMT_TEST_LINE(kHostMemoryLine)});
    CHECK(outcome.report.find('\n') == std::string::npos);  // one fault, one report
  } else {
    check_clean(outcome);
  }
  CHECK(cudaHostUnregister(host.data()) == cudaSuccess);
}

TEST_CASE("a stack overflow is reported in every build", "[simt]") {
  DeviceArray<int> out(32);
  const std::string kernel = "(anonymous namespace)::deep_recursion_kernel";
  check_clean(run(deep_recursion_kernel, 1, 32, 0, out, 10));
  check_fault(run(deep_recursion_kernel, 1, 32, 0, out, 2000),
              {"stack-overflow", kernel, "(0,0,0)", "(0,0,0)",
               "memory_faults_test.cu:", in_asan_mode() ? "262144 bytes of stack" : "65536 bytes of stack"});
  check_clean(run(deep_recursion_kernel, 1, 32, 0, out, 10));
}

TEST_CASE("a division by zero is reported in every build", "[simt]") {
  DeviceArray<int> out(1);
  const std::string kernel = "(anonymous namespace)::division_kernel";
  const auto divide = [&] { return run(division_kernel, 1, 1, 0, out, 0); };
  if (in_asan_mode()) {
    check_report(stderr_of_child(divide), {"sanitizer", kernel, "(0,0,0)", "(0,0,0)",
                                           SIMT_TEST_LINE(kDivisionLine), "division by zero"});
  } else {
    check_fault(divide(), {"arithmetic", kernel, "(0,0,0)", "(0,0,0)", SIMT_TEST_LINE(kDivisionLine)});
  }
}
