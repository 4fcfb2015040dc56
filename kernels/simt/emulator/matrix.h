// Tensor-core products and ldmatrix: operations of a whole warp.
#pragma once

#include <cstdint>

#include "simt/emulator/thread.h"

namespace simt {

void mma_bf16(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2], Site site);
void mma_f16(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2], Site site);
void mma_tf32(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2], Site site);
void load_matrix(std::uint32_t* registers, int tiles, bool transposed, const void* row, Site site,
                 void* program_counter);

/// d += a * b for a 16x16 and a 16x8 tile of bfloat16.
SIMT_PRIMITIVE inline void mma_m16n8k16(float (&d)[4], const std::uint32_t (&a)[4],
                                        const std::uint32_t (&b)[2], SIMT_SITE) {
  mma_bf16(d, a, b, simt_site);
}
/// d += a * b for a 16x16 and a 16x8 tile of float16.
SIMT_PRIMITIVE inline void mma_m16n8k16_f16(float (&d)[4], const std::uint32_t (&a)[4],
                                            const std::uint32_t (&b)[2], SIMT_SITE) {
  mma_f16(d, a, b, simt_site);
}
/// d += a * b for a 16x8 and an 8x8 tile of tf32.
SIMT_PRIMITIVE inline void mma_m16n8k8_tf32(float (&d)[4], const std::uint32_t (&a)[4],
                                            const std::uint32_t (&b)[2], SIMT_SITE) {
  mma_tf32(d, a, b, simt_site);
}

/// Loads four (two) 8x8 tiles of 16-bit elements; lane i gives the address of row i % 8 of tile i / 8.
SIMT_PRIMITIVE inline void ldmatrix_x4(std::uint32_t (&r)[4], const void* row, SIMT_SITE) {
  load_matrix(r, 4, false, row, simt_site, __builtin_return_address(0));
}
SIMT_PRIMITIVE inline void ldmatrix_x2(std::uint32_t (&r)[2], const void* row, SIMT_SITE) {
  load_matrix(r, 2, false, row, simt_site, __builtin_return_address(0));
}
/// The same, every tile transposed on the way.
SIMT_PRIMITIVE inline void ldmatrix_x4_trans(std::uint32_t (&r)[4], const void* row, SIMT_SITE) {
  load_matrix(r, 4, true, row, simt_site, __builtin_return_address(0));
}
SIMT_PRIMITIVE inline void ldmatrix_x2_trans(std::uint32_t (&r)[2], const void* row, SIMT_SITE) {
  load_matrix(r, 2, true, row, simt_site, __builtin_return_address(0));
}

}  // namespace simt
