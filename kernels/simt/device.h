// What simt.h stands for under nvcc: the same names on the real instructions. The only inline PTX of the
// project.
#pragma once

#define SIMT_SHARED(type, name, dims) __shared__ type name dims
#define SIMT_DYN_SHARED(name)                                        \
  extern __shared__ __align__(128) unsigned char simt_dyn_shared_[]; \
  unsigned char* name = simt_dyn_shared_

namespace simt {

/// Launches a kernel on a stream; returns the error of the launch itself.
template <class... Params>
inline cudaError_t launch(void (*kernel)(Params...), dim3 grid, dim3 block, std::size_t shared_bytes,
                          cudaStream_t stream, std::type_identity_t<Params>... args) {
  kernel<<<grid, block, shared_bytes, stream>>>(args...);
  return cudaPeekAtLastError();
}

#define SIMT_MMA(name, instruction)                                                   \
  __device__ __forceinline__ void name(float(&d)[4], const std::uint32_t(&a)[4],      \
                                       const std::uint32_t(&b)[2]) {                  \
    asm volatile(instruction " {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};\n"  \
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])                     \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1])); \
  }
/// d += a * b for a 16x16 and a 16x8 tile of bfloat16.
SIMT_MMA(mma_m16n8k16, "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32")
/// d += a * b for a 16x16 and a 16x8 tile of float16.
SIMT_MMA(mma_m16n8k16_f16, "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32")
/// d += a * b for a 16x8 and an 8x8 tile of tf32.
SIMT_MMA(mma_m16n8k8_tf32, "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32")
#undef SIMT_MMA

#define SIMT_LDMATRIX_X4(name, modifier)                                                      \
  __device__ __forceinline__ void name(std::uint32_t(&r)[4], const void* row) {               \
    asm volatile("ldmatrix.sync.aligned.m8n8.x4" modifier ".shared.b16 {%0,%1,%2,%3},[%4];\n" \
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])                             \
                 : "r"(static_cast<std::uint32_t>(__cvta_generic_to_shared(row)))             \
                 : "memory");                                                                 \
  }
#define SIMT_LDMATRIX_X2(name, modifier)                                                \
  __device__ __forceinline__ void name(std::uint32_t(&r)[2], const void* row) {         \
    asm volatile("ldmatrix.sync.aligned.m8n8.x2" modifier ".shared.b16 {%0,%1},[%2];\n" \
                 : "=r"(r[0]), "=r"(r[1])                                               \
                 : "r"(static_cast<std::uint32_t>(__cvta_generic_to_shared(row)))       \
                 : "memory");                                                           \
  }
/// Loads four (two) 8x8 tiles of 16-bit elements; lane i gives the address of row i % 8 of tile i / 8.
SIMT_LDMATRIX_X4(ldmatrix_x4, "")
SIMT_LDMATRIX_X2(ldmatrix_x2, "")
/// The same, every tile transposed on the way.
SIMT_LDMATRIX_X4(ldmatrix_x4_trans, ".trans")
SIMT_LDMATRIX_X2(ldmatrix_x2_trans, ".trans")
#undef SIMT_LDMATRIX_X4
#undef SIMT_LDMATRIX_X2

/// Writes 16 bytes to global memory in one access. For where a compiler takes an assignment apart, as beside
/// a branch that writes the same elements one by one; elsewhere an assignment leaves it more freedom.
template <class T>
__device__ __forceinline__ void store16(void* global, const T& value) {
  static_assert(sizeof(T) == 16 && alignof(T) == 16);
  uint4 words;
  memcpy(&words, &value, sizeof words);
  asm volatile("st.global.v4.b32 [%0],{%1,%2,%3,%4};\n" ::"l"(__cvta_generic_to_global(global)), "r"(words.x),
               "r"(words.y), "r"(words.z), "r"(words.w)
               : "memory");
}

/// Copies 16 bytes from global to shared memory without waiting; when not valid, writes zeros and reads
/// nothing.
__device__ __forceinline__ void cp_async16(void* shared, const void* global, bool valid = true) {
  asm volatile("cp.async.cg.shared.global [%0],[%1],16,%2;\n" ::"r"(
                   static_cast<std::uint32_t>(__cvta_generic_to_shared(shared))),
               "l"(global), "r"(valid ? 16 : 0)
               : "memory");
}
/// Copies 4 bytes from global to shared memory without waiting; when not valid, writes zeros and reads
/// nothing.
__device__ __forceinline__ void cp_async4(void* shared, const void* global, bool valid = true) {
  asm volatile("cp.async.ca.shared.global [%0],[%1],4,%2;\n" ::"r"(
                   static_cast<std::uint32_t>(__cvta_generic_to_shared(shared))),
               "l"(global), "r"(valid ? 4 : 0)
               : "memory");
}
/// Ends a group of this thread's copies.
__device__ __forceinline__ void cp_async_commit() { asm volatile("cp.async.commit_group;\n" ::: "memory"); }
/// Waits until at most N of this thread's groups are still under way.
template <int N>
__device__ __forceinline__ void cp_async_wait() {
  asm volatile("cp.async.wait_group %0;\n" ::"n"(N) : "memory");
}

}  // namespace simt
