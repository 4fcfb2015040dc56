// Tensor-core products and ldmatrix against plain loops in double.
#include <cmath>

#include "support.h"

using namespace simt_test;

namespace {

template <class T>
float to_float(T x) {
  if constexpr (std::is_same_v<T, __nv_bfloat16>) {
    return __bfloat162float(x);
  } else if constexpr (std::is_same_v<T, __half>) {
    return __half2float(x);
  } else {
    return __uint_as_float(__float_as_uint(x) & 0xffffe000u);  // tf32
  }
}

template <class T>
T from_float(float x) {
  if constexpr (std::is_same_v<T, __nv_bfloat16>) {
    return __float2bfloat16(x);
  } else if constexpr (std::is_same_v<T, __half>) {
    return __float2half(x);
  } else {
    return x;
  }
}

/// Fragments as the PTX manual lays them out; a is 16 x 16, b is 16 x 8, both row-major.
template <class T>
__global__ void product_kernel(const T* a, const T* b, float* c) {
  const unsigned lane = threadIdx.x, row = lane / 4, column = lane % 4 * 2;
  const auto pack = [](T low, T high) {
    std::uint16_t bits[2];
    std::memcpy(&bits[0], &low, 2);
    std::memcpy(&bits[1], &high, 2);
    return static_cast<std::uint32_t>(bits[0]) | static_cast<std::uint32_t>(bits[1]) << 16;
  };
  const auto a_pair = [&](unsigned r, unsigned k) { return pack(a[r * 16 + k], a[r * 16 + k + 1]); };
  const auto b_pair = [&](unsigned k) { return pack(b[k * 8 + row], b[(k + 1) * 8 + row]); };
  const std::uint32_t fragment_a[4] = {a_pair(row, column), a_pair(row + 8, column), a_pair(row, column + 8),
                                       a_pair(row + 8, column + 8)};
  const std::uint32_t fragment_b[2] = {b_pair(column), b_pair(column + 8)};
  float d[4] = {1.0f, 1.0f, 1.0f, 1.0f};
  if constexpr (std::is_same_v<T, __nv_bfloat16>) {
    simt::mma_m16n8k16(d, fragment_a, fragment_b);
  } else {
    simt::mma_m16n8k16_f16(d, fragment_a, fragment_b);
  }
  c[row * 8 + column] = d[0];
  c[row * 8 + column + 1] = d[1];
  c[(row + 8) * 8 + column] = d[2];
  c[(row + 8) * 8 + column + 1] = d[3];
}

/// a is 16 x 8, b is 8 x 8.
__global__ void tf32_product_kernel(const float* a, const float* b, float* c) {
  const unsigned lane = threadIdx.x, row = lane / 4, column = lane % 4;
  const auto bits = [](float x) { return __float_as_uint(x); };
  const std::uint32_t fragment_a[4] = {bits(a[row * 8 + column]), bits(a[(row + 8) * 8 + column]),
                                       bits(a[row * 8 + column + 4]), bits(a[(row + 8) * 8 + column + 4])};
  const std::uint32_t fragment_b[2] = {bits(b[column * 8 + row]), bits(b[(column + 4) * 8 + row])};
  float d[4] = {1.0f, 1.0f, 1.0f, 1.0f};
  simt::mma_m16n8k8_tf32(d, fragment_a, fragment_b);
  c[row * 8 + 2 * column] = d[0];
  c[row * 8 + 2 * column + 1] = d[1];
  c[(row + 8) * 8 + 2 * column] = d[2];
  c[(row + 8) * 8 + 2 * column + 1] = d[3];
}

/// Writes the registers of every load one after another: x4, x4 transposed, x2, x2 transposed.
__global__ void ldmatrix_kernel(std::uint32_t* out) {
  SIMT_SHARED(std::uint16_t, tiles, [4][8][8]);
  for (unsigned i = threadIdx.x; i < 256; i += 32)
    tiles[i / 64][i / 8 % 8][i % 8] = static_cast<std::uint16_t>(i);
  __syncthreads();
  const std::uint16_t* row = tiles[threadIdx.x / 8][threadIdx.x % 8];
  std::uint32_t four[4], two[2];
  unsigned next = 0;
  const auto keep = [&](std::uint32_t r) { out[32 * next++ + threadIdx.x] = r; };
  simt::ldmatrix_x4(four, row);
  for (const std::uint32_t r : four) keep(r);
  simt::ldmatrix_x4_trans(four, row);
  for (const std::uint32_t r : four) keep(r);
  simt::ldmatrix_x2(two, row);
  for (const std::uint32_t r : two) keep(r);
  simt::ldmatrix_x2_trans(two, row);
  for (const std::uint32_t r : two) keep(r);
}

constexpr int kMisalignedRowLine = __LINE__ + 4;
__global__ void misaligned_row_kernel() {
  SIMT_SHARED(std::uint16_t, tile, [8][8]);
  std::uint32_t r[2];
  simt::ldmatrix_x2(r, &tile[0][1]);
}

template <class T>
void check_product(std::size_t k, void (*kernel)(const T*, const T*, float*)) {
  std::vector<T> a(16 * k), b(k * 8);
  std::uint32_t state = 1;
  const auto next = [&] {
    state = state * 1664525u + 1013904223u;
    return static_cast<float>(state >> 8) / 16777216.0f - 0.5f;
  };
  for (T& x : a) x = from_float<T>(next());
  for (T& x : b) x = from_float<T>(next());
  const DeviceArray<T> device_a(a), device_b(b);
  const DeviceArray<float> c(128);
  check_clean(run(kernel, 1, 32, 0, device_a, device_b, c));
  const std::vector<float> values = c.host();
  for (std::size_t i = 0; i < 16; i++) {
    for (std::size_t j = 0; j < 8; j++) {
      double sum = 1.0;
      for (std::size_t n = 0; n < k; n++) {
        sum += static_cast<double>(to_float(a[i * k + n])) * static_cast<double>(to_float(b[n * 8 + j]));
      }
      CHECK(std::abs(static_cast<double>(values[i * 8 + j]) - sum) < 1e-6);
    }
  }
}

}  // namespace

TEST_CASE("mma multiplies tiles of bfloat16, float16 and tf32", "[simt]") {
  check_product<__nv_bfloat16>(16, product_kernel<__nv_bfloat16>);
  check_product<__half>(16, product_kernel<__half>);
  check_product<float>(8, tf32_product_kernel);
}

TEST_CASE("ldmatrix distributes tiles, transposed or not", "[simt]") {
  const DeviceArray<std::uint32_t> out(12 * 32);
  check_clean(run(ldmatrix_kernel, 1, 32, 0, out));
  const std::vector<std::uint32_t> values = out.host();
  for (std::size_t block = 0; block < 12; block++) {
    const bool transposed = (block >= 4 && block < 8) || block >= 10;
    const auto tile = static_cast<std::uint32_t>(block < 8 ? block % 4 : block % 2);
    for (std::uint32_t lane = 0; lane < 32; lane++) {
      const auto element = [&](std::uint32_t i, std::uint32_t j) {
        return tile * 64 + (transposed ? j * 8 + i : i * 8 + j);
      };
      const std::uint32_t low = element(lane / 4, lane % 4 * 2), high = element(lane / 4, lane % 4 * 2 + 1);
      CHECK(values[block * 32 + lane] == (low | high << 16));
    }
  }
}

TEST_CASE("ldmatrix of a misaligned row is reported", "[simt]") {
  check_fault(run(misaligned_row_kernel, 1, 32, 0),
              {"misaligned", "(anonymous namespace)::misaligned_row_kernel", "(0,0,0)", "(0,0,0)",
               SIMT_TEST_LINE(kMisalignedRowLine), "ldmatrix"});
}
