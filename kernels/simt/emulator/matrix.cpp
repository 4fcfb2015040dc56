#include "simt/emulator/matrix.h"

#include <cuda_fp16.h>

#include <cstring>

#include "simt/emulator/block.h"
#include "simt/emulator/diagnostics.h"

namespace simt {

namespace {

float as_float(std::uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

constexpr std::size_t kRowBytes = 16;  // of an 8x8 tile of 16-bit elements

/// A pair of elements in one register.
struct Bf16Pair {
  static void unpack(std::uint32_t r, float& low, float& high) {
    low = as_float(r << 16);
    high = as_float(r & 0xffff0000u);
  }
};
struct F16Pair {
  static float one(std::uint32_t bits) {
    return __half2float(__ushort_as_half(static_cast<unsigned short>(bits & 0xffffu)));
  }
  static void unpack(std::uint32_t r, float& low, float& high) {
    low = one(r);
    high = one(r >> 16);
  }
};

template <std::size_t K>
void multiply(Rendezvous& r, const float (&a)[16][K], const float (&b)[K][8]) {
  for (int i = 0; i < 16; i++) {
    float sum[8] = {};
    for (std::size_t k = 0; k < K; k++) {
      for (int j = 0; j < 8; j++) sum[j] += a[i][k] * b[k][j];
    }
    std::memcpy(r.out[i], sum, sizeof sum);
  }
}

// The fragment layouts are those of the PTX manual, "Matrix Fragments for mma.m16n8k16" and "mma.m16n8k8".
template <class Pair>
void multiply_pairs(Rendezvous& r) {
  float a[16][16], b[16][8];
  for (int lane = 0; lane < 32; lane++) {
    const int row = lane >> 2, column = (lane & 3) * 2;
    std::uint32_t x[6];
    std::memcpy(x, r.data[lane], sizeof x);
    Pair::unpack(x[0], a[row][column], a[row][column + 1]);
    Pair::unpack(x[1], a[row + 8][column], a[row + 8][column + 1]);
    Pair::unpack(x[2], a[row][column + 8], a[row][column + 9]);
    Pair::unpack(x[3], a[row + 8][column + 8], a[row + 8][column + 9]);
    Pair::unpack(x[4], b[column][row], b[column + 1][row]);
    Pair::unpack(x[5], b[column + 8][row], b[column + 9][row]);
  }
  multiply(r, a, b);
}

void multiply_tf32(Rendezvous& r) {
  float a[16][8], b[8][8];
  for (int lane = 0; lane < 32; lane++) {
    const int row = lane >> 2, column = lane & 3;
    std::uint32_t x[6];
    std::memcpy(x, r.data[lane], sizeof x);
    for (std::uint32_t& bits : x) bits &= 0xffffe000u;  // the device ignores the lower bits
    a[row][column] = as_float(x[0]);
    a[row + 8][column] = as_float(x[1]);
    a[row][column + 4] = as_float(x[2]);
    a[row + 8][column + 4] = as_float(x[3]);
    b[column][row] = as_float(x[4]);
    b[column + 4][row] = as_float(x[5]);
  }
  multiply(r, a, b);
}

void mma(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2],
         void (*product)(Rendezvous&), const char* what, Site site) {
  Rendezvous& r = enter_rendezvous(0xffffffffu, Rendezvous::Kind::whole_warp, what, site);
  const std::uint32_t lane = current->lane();
  std::memcpy(r.data[lane], a, sizeof a);
  std::memcpy(r.data[lane] + sizeof a, b, sizeof b);
  r.last = product;
  meet(r);
  const std::uint32_t row = lane >> 2, column = (lane & 3u) * 2;
  d[0] += r.out[row][column];
  d[1] += r.out[row][column + 1];
  d[2] += r.out[row + 8][column];
  d[3] += r.out[row + 8][column + 1];
  leave(r);
}

/// Reads every row at once, as the device does: lanes may write them again as soon as they go on.
template <int Tiles>
void gather_rows(Rendezvous& r) {
  static_assert(sizeof r.out >= Tiles * 8 * kRowBytes);
  for (int lane = 0; lane < Tiles * 8; lane++) {
    const void* row;
    std::memcpy(&row, r.data[lane], sizeof row);
    std::memcpy(reinterpret_cast<unsigned char*>(r.out) + lane * static_cast<int>(kRowBytes), row, kRowBytes);
  }
}

}  // namespace

void mma_bf16(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2], Site site) {
  mma(d, a, b, multiply_pairs<Bf16Pair>, "mma.m16n8k16 (bfloat16)", site);
}

void mma_f16(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2], Site site) {
  mma(d, a, b, multiply_pairs<F16Pair>, "mma.m16n8k16 (float16)", site);
}

void mma_tf32(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2], Site site) {
  mma(d, a, b, multiply_tf32, "mma.m16n8k8 (tf32)", site);
}

void load_matrix(std::uint32_t* registers, int tiles, bool transposed, const void* row, Site site,
                 void* program_counter) {
  const int lane = static_cast<int>(current->lane());
  // Only these lanes' addresses are used.
  if (lane < tiles * 8) {
    if ((reinterpret_cast<std::uintptr_t>(row) & (kRowBytes - 1)) != 0) {
      fail("misaligned", site, format("ldmatrix of the row at %p, which is not a multiple of 16", row));
    }
    if (!in_shared_memory(row, kRowBytes)) {
      fail("out-of-bounds", site, format("ldmatrix of the row at %p, which is not in shared memory", row));
    }
    if (race_hooks.access != nullptr)
      race_hooks.access(row, kRowBytes, static_cast<int>(Access::read), program_counter);
  }
  Rendezvous& r = enter_rendezvous(0xffffffffu, Rendezvous::Kind::whole_warp, "ldmatrix", site);
  std::memcpy(r.data[lane], &row, sizeof row);
  r.last = tiles == 4 ? gather_rows<4> : gather_rows<2>;
  meet(r);
  const auto* rows = reinterpret_cast<const unsigned char*>(r.out);
  const int line = lane >> 2, pair = 2 * (lane & 3);
  for (int tile = 0; tile < tiles; tile++) {
    std::uint16_t elements[2];
    for (int k = 0; k < 2; k++) {
      const int tile_row = transposed ? pair + k : line, column = transposed ? line : pair + k;
      std::memcpy(&elements[k], rows + (8 * tile + tile_row) * 16 + column * 2, sizeof elements[k]);
    }
    registers[tile] = static_cast<std::uint32_t>(elements[0]) | static_cast<std::uint32_t>(elements[1]) << 16;
  }
  leave(r);
}

}  // namespace simt
